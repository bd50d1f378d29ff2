"""Cost as work grows: time and peak memory of each stage for 1 to 1,000 small videos.

Every stage is the command itself, with one worker and one thread, on clips that this benchmark
writes. Two measures are printed for each number of videos: seconds of processor time, and the peak
of the resident memory. The last columns say what a video costs between the two largest numbers, and
what memory each video adds: time is linear where the former stays, memory is flat where the latter
is a few kB. Example::

    python benchmarks/growth.py --work /tmp/growth --counts 1 10 100 1000
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from data.video.film import encode

ROOT = Path(__file__).resolve().parent.parent
SIDE, FRAMES, RATE = 48, 24, 25
SEGMENTS = "1"
#: Judgements of each video, on average; training needs at least this many videos.
PAIRS_A_VIDEO, FEWEST = 4, 10
PLAN = ["--segments", SEGMENTS, "--candidates", "2"]
FLOW = [*PLAN, "--engine", "numba", "--short-side", "32"]
FEATURES = [*PLAN, "--weights", "random", "--trunk-stage", "conv4", "--input-size", "32"]
FEATURES += ["--fusion-hidden", "8", "--fusion-channels", "16", "--device", "cpu"]
RANKER = ["--segments", SEGMENTS, "--epochs", "20", "--device", "cpu"]


def write_videos(folder: Path, count: int) -> None:
    """Write clips of a texture that drifts, each in a direction of its own; old ones are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        path = folder / f"v{number:05}.mp4"
        if path.exists():
            continue
        rng = np.random.default_rng(number)
        texture = rng.integers(0, 256, (8, 8, 3), np.uint8).repeat(12, 0).repeat(12, 1)
        step = rng.integers(-2, 3, 2)
        shown = (np.roll(texture, tuple(step * t), (0, 1))[:SIDE, :SIDE] for t in range(FRAMES))
        encode(path, shown, RATE, {"preset": "ultrafast", "threads": "1"})


def write_pairs(path: Path, count: int) -> None:
    """Write judgements between neighbours at several distances: the number grows with videos."""
    lines = ["better,worse"]
    for number in range(count):
        for distance in range(1, PAIRS_A_VIDEO + 1):
            if number + distance < count:
                lines.append(f"v{number:05}.mp4,v{number + distance:05}.mp4")
    path.write_text("\n".join(lines) + "\n")


def stages(work: Path, count: int) -> dict[str, list[str]]:
    """Arguments of each stage for the first `count` videos."""
    place = work / str(count)
    videos = place / "videos.txt"
    flow, features, run, folds = (str(place / name) for name in ("flow", "maps", "run", "folds"))
    pairs = str(place / "pairs.csv")
    found = {
        "extract-flow": [f"@{videos}", "-o", flow, "-j", "1", *FLOW],
        "extract-features": [f"@{videos}", "--flow", flow, "-o", features, "-j", "1", *FEATURES],
    }
    if count < FEWEST:
        return found
    judged = ["--features", features, "--pairs", pairs]
    evaluation = [*judged, "-o", folds, "-j", "1", "--seeds", "1", "--draws", "200", *RANKER]
    return found | {
        "train-ranker": [*judged, "-o", run, "--threads", "1", *RANKER],
        "evaluate": evaluation,
        "report": [run, "--evaluation", folds, "-o", str(place / "report.html"), "-j", "1"],
        "score": [run, f"@{videos}", "--features", features, "-o", str(place / "scores")],
    }


def measure(work: Path, count: int) -> dict[str, tuple[float, float]]:
    """Run all stages on the first `count` videos: processor time and peak memory of each."""
    place = work / str(count)
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    names = [f"../videos/v{number:05}.mp4" for number in range(count)]
    (place / "videos.txt").write_text("\n".join(names) + "\n")
    write_pairs(place / "pairs.csv", count)
    costs = {}
    for stage, words in stages(work, count).items():
        costs[stage] = measured([stage, *words], place / f"{stage}.log")
        seconds, peak = costs[stage]
        print(f"{count} videos, {stage}: {seconds:.1f} s, {peak:.0f} MB", flush=True)
    return costs


def measured(arguments: Sequence[str], log: Path) -> tuple[float, float]:
    """Run a command: processor time in seconds, and peak memory in MB, of it and its children."""
    command = [sys.executable, "-m", "pipeline", *arguments, "-q"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with log.open("w") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
        _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{arguments[0]} ended with code {process.returncode}; see {log}")
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1000


def show(results: dict[str, dict[int, tuple[float, float]]]) -> None:
    """Print the table."""
    counts = sorted({count for costs in results.values() for count in costs})
    print(f"\n{'stage':17}" + "".join(f"{f'{count} videos':>18}" for count in counts), end="")
    print(f"{'ms a video':>12}{'kB a video':>12}")
    for stage, costs in results.items():
        cells = [f"{costs[n][0]:9.1f} s{costs[n][1]:5.0f} MB" if n in costs else "" for n in counts]
        print(f"{stage:17}" + "".join(f"{cell:>18}" for cell in cells), end="")
        if len(costs) > 1:
            low, high = sorted(costs)[-2:]
            time, memory = (
                1000 * (costs[high][k] - costs[low][k]) / (high - low) for k in range(2)
            )
            print(f"{time:12.1f}{memory:12.0f}", end="")
        print()


def main() -> None:
    """Run every stage for every number of videos."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="folder for videos and results")
    parser.add_argument("--counts", type=int, nargs="+", default=[1, 10, 100, 1000])
    parser.add_argument("--json", type=Path, help="write all numbers here as well")
    arguments = parser.parse_args()
    work = arguments.work.resolve()
    write_videos(work / "videos", max(arguments.counts))
    measure(work, 1)  # TV-L1 is compiled.
    results: dict[str, dict[int, tuple[float, float]]] = {}
    for count in sorted(arguments.counts):
        for stage, cost in measure(work, count).items():
            results.setdefault(stage, {})[count] = cost
        if arguments.json:
            arguments.json.write_text(json.dumps(results, indent=1))
    print(f"\n{platform.processor() or platform.machine()}, one worker, one thread")
    show(results)


if __name__ == "__main__":
    main()
