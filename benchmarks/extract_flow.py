"""Throughput of extract-flow with one and two workers, its peak memory, and its time besides flow.

Every run is the command itself, from its start to its exit, on videos that this benchmark draws:
many short ones, which run side by side, and a long one, which is split over its pairs. Runs with
one worker, with two workers, and of two commands at once alternate, so a busy machine slows all of
them. A ratio is meaningful only if two cores were idle; the table shows what other programs took.
The benchmark takes three quarters of an hour on two idle cores. Fewer ``--rounds`` are faster, but
less certain if the machine's speed varies. Example::

    python benchmarks/extract_flow.py --work /tmp/extract_flow_benchmark --json extract_flow.json
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from data.cache.flow import create_flow, dequantise, open_flow
from data.options import PlanOptions
from data.sampling import plan_snippets
from data.video.reading import file_digest, scan
from model.tvl1 import engines
from pipeline.extract_flow.fields import read_pairs

REPOSITORY = Path(__file__).resolve().parent.parent
SIZE, RATE = (340, 256), 25
#: What is compared: commands at the same time, each on all videos, and workers of each. Two
#: independent commands show the most that the machine gives.
KINDS = {"1 worker": (1, 1), "2 workers": (1, 2), "2 commands": (2, 1)}
#: Seconds between two checks of a process; the kernel records its peak of memory.
LOOK_S = 0.1
#: Few iterations: memory does not depend on how many there are, and the runs stay short.
FEW_ITERATIONS = ("--warps", "1", "--outer", "1", "--inner", "3")
TICK = os.sysconf("SC_CLK_TCK")


@dataclass
class Run:
    """One run of the command, or of several at the same time."""

    wall_s: float
    cpu_s: float
    #: Time on the cores that other programs took during the run, in cores.
    others: float
    pairs: int
    #: Bytes of memory at most, of the command itself.
    peak: int


def draw_video(path: Path, seconds: float, seed: int) -> Path:
    """Write a texture that drifts and turns before a still one; kept if it already exists."""
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    noise = rng.uniform(0, 255, (512, 512, 3)).astype(np.float32)
    layers = [cv2.GaussianBlur(noise, (0, 0), sigma) * sigma for sigma in (1.5, 4.0, 12.0)]
    texture = cv2.normalize(sum(layers), None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    still = texture[-SIZE[1] :, -SIZE[0] :]
    disc = np.zeros((SIZE[1], SIZE[0]), np.uint8)
    cv2.circle(disc, (SIZE[0] // 2, SIZE[1] // 2), 100, 255, -1)
    unfinished = path.with_name("." + path.name)
    writer = cv2.VideoWriter(str(unfinished), cv2.VideoWriter.fourcc(*"mp4v"), RATE, SIZE)
    for number in range(round(seconds * RATE)):
        t = number / RATE
        turn = cv2.getRotationMatrix2D((256, 256), 20 * np.sin(t), 1)
        turn[:, 2] += (-86 + 40 * np.sin(1.3 * t + seed), -128 + 40 * np.cos(0.9 * t))
        moved = cv2.warpAffine(texture, turn, SIZE, borderMode=cv2.BORDER_WRAP)
        writer.write(np.where(disc[..., None] > 0, moved, still))
    writer.release()
    unfinished.rename(path)
    return path


def run(
    videos: Sequence[Path], output: Path, workers: int, options: Sequence[str], commands: int = 1
) -> Run:
    """Run the command, or several of it at the same time, and watch."""
    shutil.rmtree(output, ignore_errors=True)
    cores, start = busy_cores(), time.perf_counter()
    command = ["extract-flow", *map(str, videos), "-q", "-j", str(workers), *options]
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "pipeline", *command, "-o", str(output / str(number))],
            cwd=REPOSITORY,
            stdout=subprocess.DEVNULL,
        )
        for number in range(commands)
    ]
    cpu, peak = 0.0, 0
    for process in processes:
        status, used, high = watched(process.pid)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"extract-flow ended with code {process.returncode}")
        # Processes that the command waits for are in its own figures.
        cpu += used.ru_utime + used.ru_stime
        peak = max(peak, high)
    wall = time.perf_counter() - start
    return Run(
        wall_s=wall,
        cpu_s=cpu,
        others=max(0.0, (busy_cores() - cores - cpu) / wall),
        pairs=stored_pairs(output),
        peak=peak,
    )


def watched(process: int) -> tuple[int, resource.struct_rusage, int]:
    """Wait for a process; return its status, what it used, and its peak memory in bytes.

    The peak of ``wait4`` will not do: it begins with that of the process that starts another.
    """
    peak = 0
    while True:
        ended, status, used = os.wait4(process, os.WNOHANG)
        if ended:
            return status, used, peak
        for line in Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                peak = int(line.split()[1]) * 1024
        time.sleep(LOOK_S)


def busy_cores() -> float:
    """Seconds of work that all cores of the machine have done since it started."""
    ticks = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    user, nice, system, _idle, _wait, irq, softirq = map(int, ticks[:7])
    return (user + nice + system + irq + softirq) / TICK


def stored_pairs(output: Path) -> int:
    """Fields in all caches of a folder."""
    total = 0
    for path in output.rglob("*.h5"):
        with open_flow(path) as cache:
            total += len(cache)
    return total


def compare(
    name: str, videos: Sequence[Path], work: Path, rounds: int, options: Sequence[str]
) -> dict[str, object]:
    """Alternate runs of all kinds; the throughput of each round relative to one worker's."""
    runs: dict[str, list[Run]] = {kind: [] for kind in KINDS}
    for number in range(rounds):
        for kind in list(KINDS)[:: 1 if number % 2 == 0 else -1]:
            commands, workers = KINDS[kind]
            done = run(videos, work / "flow", workers, options, commands)
            runs[kind].append(done)
            print(
                f"  {name}, {kind}: {done.pairs} pairs in {done.wall_s:.1f} s, {done.cpu_s:.1f} s"
                f" of CPU; others {done.others:.2f} cores",
                flush=True,
            )
    speeds = {kind: [each.pairs / each.wall_s for each in done] for kind, done in runs.items()}
    costs = {kind: [each.cpu_s / each.pairs for each in done] for kind, done in runs.items()}
    return {
        "name": name,
        "pairs_per_s": {kind: statistics.median(each) for kind, each in speeds.items()},
        "cpu_ms_per_pair": {kind: 1e3 * statistics.median(each) for kind, each in costs.items()},
        "ratios": {
            kind: [speed / one for speed, one in zip(each, speeds["1 worker"], strict=True)]
            for kind, each in speeds.items()
        },
        "runs": {kind: [asdict(each) for each in done] for kind, done in runs.items()},
    }


def memory(name: str, video: Path, work: Path, stride: int) -> dict[str, object]:
    """Run two workers on one video with a plan of many pairs, for the peaks of memory."""
    plan = ("--plan", "dense", "--stride", str(stride), "--stack-length", "1")
    done = run([video], work / "flow", 2, (*plan, *FEW_ITERATIONS))
    print(f"  memory, {name}: {done.pairs} pairs in {done.wall_s:.1f} s", flush=True)
    return {"name": name, **asdict(done)}


def overheads(video: Path, work: Path, plan: PlanOptions, runs: Sequence[dict]) -> dict[str, float]:
    """Share of one worker's CPU time that goes into what is not flow."""
    seconds: dict[str, float] = {}
    start = time.process_time()
    file_digest(video)
    seconds["hashing"] = time.process_time() - start
    info = scan(video)
    seconds["first pass (decoding)"] = time.process_time() - start - 2 * seconds["hashing"]
    pairs = plan_snippets(info.times, plan).pairs
    start = time.process_time()
    for _ in read_pairs(video, pairs, SIZE):
        pass
    seconds["second pass (decoding, grey)"] = time.process_time() - start
    seconds["writing"] = writing(next((work / "flow").rglob("*.h5")), work / "written.h5")
    total = statistics.median(each["cpu_s"] for each in runs)
    return {name: value / total for name, value in seconds.items()}


def writing(stored: Path, path: Path) -> float:
    """CPU time of writing a cache's fields again."""
    with open_flow(stored) as cache:
        fields = [
            dequantise(cache.read(row).transpose(1, 2, 0), cache.scale, cache.offset)
            for row in range(len(cache))
        ]
        pairs = np.stack([cache.frame_index, cache.next_index], axis=1)
        header, times = cache.header, cache.frame_time
    start = time.process_time()
    with create_flow(
        path, header, pairs=pairs, frame_time=times, height=SIZE[1], width=SIZE[0], bound=20.0
    ) as writer:
        for row, each in enumerate(fields):
            writer.put(row, each)
    return time.process_time() - start


def report(
    compared: Sequence[dict], peaks: Sequence[dict], shares: dict[str, float]
) -> Iterator[str]:
    """Lines of the tables."""
    yield "| throughput | pairs/s | relative to one worker: median (each round) | CPU ms a pair |"
    yield "|---|---|---|---|"
    for each in compared:
        for kind, speed in each["pairs_per_s"].items():
            ratios = each["ratios"][kind]
            rounds = ", ".join(f"{ratio:.2f}" for ratio in ratios)
            yield (
                f"| {each['name']}, {kind} | {speed:.1f} | {statistics.median(ratios):.2f}"
                f" ({rounds}) | {each['cpu_ms_per_pair'][kind]:.1f} |"
            )
    yield ""
    yield "| peak memory, 2 workers | pairs | MB |"
    yield "|---|---|---|"
    for each in peaks:
        yield f"| {each['name']} | {each['pairs']} | {each['peak'] / 1e6:.0f} |"
    yield ""
    parts = "; ".join(f"{name} {100 * share:.1f} %" for name, share in shares.items())
    yield f"Share of one worker's CPU time on the long video: {parts}."
    others = [run["others"] for each in compared for runs in each["runs"].values() for run in runs]
    yield f"Other programs took {min(others):.2f} to {max(others):.2f} cores meanwhile."


def main() -> None:
    """Parse the command line, draw what is missing, measure, print tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--work", type=Path, required=True, help="folder for videos and caches")
    parser.add_argument("--rounds", type=int, default=4, help="runs with each number of workers")
    parser.add_argument("--videos", type=int, default=40, help="short videos, of 2 s each")
    parser.add_argument("--segments", type=int, default=80, help="of the long video")
    parser.add_argument("--minutes", type=float, nargs=2, default=[2, 20], help="for memory")
    parser.add_argument("--stride", type=int, default=5, help="frames from pair to pair, memory")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write everything")
    arguments = parser.parse_args()
    work: Path = arguments.work
    short = [draw_video(work / f"videos/short_{n}.mp4", 2, n) for n in range(arguments.videos)]
    long = [draw_video(work / f"videos/{m:g}_min.mp4", 60 * m, 99) for m in arguments.minutes]
    plan = PlanOptions(segments=arguments.segments)
    flags = ("--segments", str(plan.segments), "--candidates", str(plan.candidates))
    run(short[:1], work / "flow", 1, ())  # the engine is compiled, and files are cached
    many = compare(f"{len(short)} videos", short, work, arguments.rounds, ())
    one = compare(
        f"one video of {arguments.minutes[0]:g} min", long[:1], work, arguments.rounds, flags
    )
    shares = overheads(long[0], work, plan, one["runs"]["1 worker"])
    peaks = [
        memory(f"{minutes:g} min", video, work, arguments.stride)
        for minutes, video in zip(arguments.minutes, long, strict=True)
    ]
    identity = " · ".join(f"{k} {v}" for k, v in engines.identity(engines.choose("auto")).items())
    print(identity, *report([many, one], peaks, shares), sep="\n")
    if arguments.json:
        content = {"identity": identity, "throughput": [many, one], "memory": peaks}
        arguments.json.write_text(json.dumps({**content, "shares": shares}, indent=1) + "\n")


if __name__ == "__main__":
    main()
