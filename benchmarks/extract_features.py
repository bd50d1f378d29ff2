"""How much of the bare trunks' speed extract-features keeps as a whole.

One run measures, in turn and several times over, on the same snippets:

- plain: torchvision's two networks as they come, on inputs in memory;
- folded: the same with folded BatchNorm and channels_last;
- bare: the two trunks as the command runs them, on a CPU with fused convolutions, inputs in memory;
  with --precision also in other arithmetic than the two before;
- command: reading video and flow, resizing, trunks, fusion and cache writing.

    python benchmarks/extract_features.py                      # a synthetic video
    python benchmarks/extract_features.py VIDEO... --snippets 24 --threads 2
    python benchmarks/extract_features.py --precision bfloat16
    python benchmarks/extract_features.py --device cuda:0 --synthetic 16
"""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import click
import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from data.cache.folder import cache_path
from data.options import FlowOptions, PlanOptions
from data.sources import Source, find_sources
from model.features.options import TrunkOptions
from model.features.stage_one import StageOne, for_inference
from model.features.trunk import fold_batchnorm
from pipeline.extract_features.command import extract_features
from pipeline.extract_features.devices import MOST_READERS, make_forward
from pipeline.extract_features.plan import plan_videos, with_weights
from pipeline.extract_features.settings import FeatureSettings
from pipeline.extract_features.share import run_share
from pipeline.extract_features.snippets import read_snippets
from pipeline.extract_flow.command import extract_flow
from pipeline.extract_flow.settings import FlowSettings
from pipeline.runner.devices import parse_devices
from pipeline.runner.jobs import JobOptions
from pipeline.runner.stage import StageOptions
from pipeline.shell import console
from pipeline.stage_one.file import load_stage_one

# Multiply-adds of one ResNet101 at 448 px: torchvision's 7.8e9 at 224 px, times four.
MACS_A_TRUNK = 4 * 7.8e9


@click.command()
@click.argument("videos", nargs=-1)
@click.option(
    "--synthetic", default=4, show_default=True, help="Synthetic videos if none are given."
)
@click.option("--snippets", default=12, show_default=True, help="Snippets a video.")
@click.option("--input-size", default=448, show_default=True)
@click.option("--batch-size", type=int, help="As extract-features; default: its own choice.")
@click.option("--device", default="auto", show_default=True)
@click.option("--precision", default="auto", show_default=True, help="As extract-features.")
@click.option("--jobs", default=-1, show_default=True)
@click.option("--threads", type=int, help="torch's threads; default: its own choice.")
@click.option("--repeats", default=3, show_default=True)
def main(
    videos: tuple[str, ...],
    synthetic: int,
    snippets: int,
    input_size: int,
    batch_size: int | None,
    device: str,
    precision: Literal["auto", "float32", "bfloat16", "float16"],
    jobs: int,
    threads: int | None,
    repeats: int,
) -> None:
    """Measure, and print a table in Markdown."""
    console.configure(verbosity=-1)
    if threads:
        torch.set_num_threads(threads)
    devices = parse_devices(device)[:1]
    plan = PlanOptions(segments=snippets, candidates=1)
    trunk = TrunkOptions(
        weights="random", input_size=input_size, precision=precision, training_snippets=8
    )
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        sources = find_sources(videos or [_synthetic(root / "videos", synthetic)])
        flow = FlowSettings.resolved(plan=plan, flow=FlowOptions(size="340x256"))
        options = StageOptions(output=root / "whole", jobs=JobOptions(jobs=jobs), device=devices[0])
        extract_flow(sources, flow, StageOptions(output=root / "flow"))
        settings = FeatureSettings(
            flow=root / "flow", plan=plan, trunk=trunk, batch_size=batch_size
        )
        began = time.perf_counter()
        extract_features(sources, settings, options)
        whole = time.perf_counter() - began
        bench = Bench(settings, sources, options)
        rows = bench.measure(repeats, root / "again")
    count = bench.count
    print(
        f"{torch.get_num_threads()} threads, torch {torch.__version__}, {_device(devices[0])}; "
        f"{count} snippets of {len(sources)} videos at {input_size} px, batches of "
        f"{bench.forward.batch_size}\n"
    )
    bare = rows["bare trunks"]
    print("| | snippets/s | of bare | CPU s a snippet | of bare |\n|---|---|---|---|---|")
    for name, (wall, cpu) in rows.items():
        print(
            f"| {name} | {count / wall:.3f} | {bare[0] / wall:.1%} | {cpu / count:.3f} "
            f"| {bare[1] / cpu:.1%} |"
        )
    macs = 2 * MACS_A_TRUNK * (input_size / 448) ** 2
    speed = 2 * macs * count / bare[0]
    peak = matmul_speed(bench.device, getattr(torch, bench.precision))
    print(
        f"\nbare trunks: {speed / 1e9:.0f} GFLOP/s, {speed / peak:.0%} of a large matrix product's "
        f"{peak / 1e9:.0f} ({bench.precision})"
    )
    print("command: " + ", ".join(f"{k} {v:.0%}" for k, v in bench.shares.items()))
    print(f"first call with all set-up (weights drawn, calibrated, folded): {whole:.1f} s")


class Bench:
    """The three things measured, on one set of snippets."""

    def __init__(
        self, settings: FeatureSettings, sources: Sequence[Source], options: StageOptions
    ) -> None:
        jobs, _ = plan_videos(sources, settings, [options.device], options, flow_first=False)
        self.networks = load_stage_one(options.output)
        self.precision = self.networks.settings.precision
        self.videos = list(with_weights(jobs, self.networks.weights).values())
        self.count = sum(len(job.frame_index) for job in self.videos)
        self.device = torch.device(options.device)
        self.readers = options.jobs.workers(MOST_READERS) if self.device.type == "cuda" else 1
        self.forward = make_forward(self.networks, settings, options.device)
        self.shares: dict[str, float] = {}
        dtype = getattr(torch, self.precision)
        self.fast = for_inference(self.networks.module, self.device, dtype)
        self.plain = self.networks.module if self.device.type == "cpu" else None
        self.batches = self._load()

    def _load(self) -> list[tuple[Tensor, Tensor]]:
        """Normalised inputs of all snippets, in the batches that the command makes."""
        batches = []
        for job in self.videos:
            rows = np.arange(len(job.frame_index))
            video = replace(job.input, resize_flow=True)
            items = list(read_snippets(video, rows, {}))
            for part in np.array_split(rows, -(-len(rows) // self.forward.batch_size)):
                frames = torch.from_numpy(np.stack([items[i][1] for i in part])).to(self.device)
                stacks = torch.from_numpy(np.stack([items[i][2] for i in part])).to(self.device)
                normalise = self.fast
                batches.append(
                    (normalise.normalise_frames(frames), normalise.normalise_stacks(stacks))
                )
        return batches

    @cached_property
    def single(self) -> list[tuple[Tensor, Tensor]]:
        """The same inputs in float32."""
        return [(frames.float(), stacks.float()) for frames, stacks in self.batches]

    def measure(self, repeats: int, output: Path) -> dict[str, tuple[float, float]]:
        """Return the median wall and CPU seconds of each, in turn so that drift hits all alike.

        CPU seconds are those of all threads: on a busy machine they are steadier than wall time.
        """
        todo: dict[str, Callable[[], None]] = {
            "bare trunks": lambda: self._trunks(self.fast),
            "whole command": lambda: self._command(output),
        }
        if self.plain is not None:
            plain = self.plain
            only_folded = folded(plain).to(memory_format=torch.channels_last)
            todo = {
                "plain torchvision": lambda: self._trunks(plain),
                "folded": lambda: self._trunks(only_folded),
                **todo,
            }
        seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in todo}
        for warm_up in todo.values():  # Memory, kernels, file cache.
            warm_up()
        for _ in range(repeats):
            for name, run in todo.items():
                began, used = time.perf_counter(), time.process_time()
                run()
                spent = (time.perf_counter() - began, time.process_time() - used)
                seconds[name].append(spent)
        return {
            name: (statistics.median(w for w, _ in each), statistics.median(c for _, c in each))
            for name, each in seconds.items()
        }

    @torch.inference_mode()
    def _trunks(self, stage: StageOne) -> None:
        batches = self.batches if stage is self.fast else self.single
        for frames, stacks in batches:
            if stage is self.plain:
                frames, stacks = frames.contiguous(), stacks.contiguous()
            stage.rgb(frames)
            stage.flow(stacks)
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def _command(self, output: Path) -> None:
        shutil.rmtree(output, ignore_errors=True)
        videos = [replace(job, path=cache_path(output, job.input.key)) for job in self.videos]
        result = run_share(videos, self.forward, self.readers)
        if result.failures:
            raise SystemExit(str(result.failures))
        total = result.seconds["total"]
        self.shares = {k: v / total for k, v in result.seconds.items() if k != "total"}


def folded(stage: StageOne) -> StageOne:
    """Return a copy whose BatchNorms are folded, and nothing more."""
    return StageOne(fold_batchnorm(stage.rgb), fold_batchnorm(stage.flow), torch.nn.Identity())


@torch.inference_mode()
def matmul_speed(device: torch.device, dtype: torch.dtype) -> float:
    """Operations a second of a large square matrix product: what arithmetic can reach here."""
    size, turns = (1536, 1) if device.type == "cpu" else (8192, 20)
    a, b = torch.rand(2, size, size, device=device, dtype=dtype)
    seconds = []
    for _ in range(20):
        if device.type == "cuda":
            torch.cuda.synchronize()
        began = time.perf_counter()
        for _ in range(turns):
            a @ b
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append((time.perf_counter() - began) / turns)
    return 2 * size**3 / min(seconds)


def _synthetic(folder: Path, count: int) -> Path:
    """Write a few videos of the synthetic set."""
    from data.synthetic.writer import generate

    generate(folder, videos=count)
    return folder / "videos"


def _device(name: str) -> str:
    if name == "cpu":
        return "CPU"
    return torch.cuda.get_device_name(name)


if __name__ == "__main__":
    main()
