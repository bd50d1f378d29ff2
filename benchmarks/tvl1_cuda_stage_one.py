"""Stage one with the CUDA engine: flow into trunks on the device, and the whole command."""

from __future__ import annotations

import importlib.util
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tvl1_cuda_common import BOUND, DEVICE, INTERPRET, Sizes, seconds, table

from model.tvl1.cuda.engine import CudaTVL1
from model.tvl1.options import TVL1Options

#: What the whole command needs beside PyTorch.
PACKAGES = ("cv2", "h5py", "torchvision", "PIL", "click", "tqdm", "joblib", "safetensors")


def left_out(packages: tuple[str, ...]) -> dict[str, str] | None:
    """Say which packages a part misses; None where all are there."""
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if not missing:
        return None
    print(f"\nstage one: left out, not installed: {', '.join(missing)}")
    return {"left_out": f"not installed: {', '.join(missing)}"}


def measure_on_device(
    first: Tensor, second: Tensor, sizes: Sizes, options: TVL1Options
) -> dict[str, Any]:
    """Time the flow of each snippet straight into the trunks, and both alone."""
    missing = left_out(("torchvision",))
    if missing is not None:
        return missing
    from model.features.fusion import random_fusion
    from model.features.stage_one import StageOne, for_inference
    from model.features.trunk import make_trunk, random_state

    generator = torch.Generator().manual_seed(0)
    trunks = [
        make_trunk(channels, "conv5", random_state(channels, "conv5", generator))
        for channels in (3, 2 * sizes.fields)
    ]
    stage = StageOne(*trunks, random_fusion(2048, 512, 256, 0))
    dtype = torch.float32 if INTERPRET else torch.float16
    fast = for_inference(stage, torch.device(DEVICE), dtype)
    frames = torch.cat([first, second])
    count = len(first)
    pairs = np.array([(i % count, count + i % count) for i in range(sizes.fields * sizes.snippets)])
    engine = CudaTVL1(*first.shape[1:], options, DEVICE, batch=min(len(pairs), 512))
    square = (sizes.input_size, sizes.input_size)
    rgb = torch.randint(0, 256, (sizes.snippets, 3, *square), dtype=torch.uint8, device=DEVICE)

    def flow() -> Tensor:
        return engine.levels(frames, pairs, BOUND)

    @torch.inference_mode()
    def trunk(levels: Tensor) -> None:
        stacks = levels.view(sizes.snippets, 2 * sizes.fields, *levels.shape[2:])
        for part in range(0, sizes.snippets, 16):
            large = torch.nn.functional.interpolate(
                stacks[part : part + 16].float(), square, mode="bicubic"
            )
            fast(rgb[part : part + 16], large.round().clamp(0, 255).to(torch.uint8))

    levels = flow()
    alone = {
        "flow": seconds(flow, sizes.repeats),
        "trunks": seconds(lambda: trunk(levels), sizes.repeats),
        "both": seconds(lambda: trunk(flow()), sizes.repeats),
    }
    table(
        f"Stage one on the device, {sizes.snippets} snippets of {sizes.fields} distinct fields,"
        f" {sizes.input_size} px, {str(dtype).removeprefix('torch.')}",
        ("part", "ms", "snippets/s", "of both"),
        [
            (n, f"{1e3 * t:.0f}", f"{sizes.snippets / t:.1f}", f"{t / alone['both']:.0%}")
            for n, t in alone.items()
        ],
    )
    return {name: sizes.snippets / value for name, value in alone.items()}


def measure_command(sizes: Sizes, options: TVL1Options) -> dict[str, Any]:
    """Time decode → flow → trunks → cache, as extract-features does it without flow caches.

    Twice: the first run compiles, captures and draws the weights. The device is taken to wait
    while the loop that feeds it waits for snippets.
    """
    missing = left_out(PACKAGES)
    if missing is not None:
        return missing
    from data.options import FlowOptions, PlanOptions
    from data.sources import find_sources
    from model.features.options import FusionOptions, TrunkOptions
    from pipeline.extract_features import share as feature_workers
    from pipeline.extract_features.command import extract_features
    from pipeline.runner.jobs import JobOptions

    plan = PlanOptions(
        segments=25 if not INTERPRET else 2, candidates=2 if not INTERPRET else 1,
        stack_length=sizes.fields,
    )  # fmt: skip
    trunk = TrunkOptions(weights="random", input_size=sizes.input_size, training_snippets=8)
    flow = FlowOptions(size=f"{sizes.width}x{sizes.height}")
    spent: list[dict[str, float]] = []
    original = feature_workers.run_share

    def watched(*arguments: Any) -> Any:
        found = original(*arguments)
        spent.append({**found.seconds, "snippets": found.snippets})
        return found

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for number in range(sizes.videos):
            _write_video(root / "videos" / f"{number}.avi", number, sizes)
        sources = find_sources([root / "videos"])
        walls = []
        feature_workers.run_share = watched
        try:
            for run in ("warm", "timed"):
                began = time.perf_counter()
                done = extract_features(
                    sources, None, root / "features", plan, trunk, FusionOptions(), JobOptions(),
                    "cuda:0" if DEVICE == "cuda" else "cpu", overwrite=run == "timed",
                    flow=flow, tvl1=options, engine="cuda",
                )  # fmt: skip
                walls.append(time.perf_counter() - began)
                if done.failures:
                    raise RuntimeError(f"{len(done.failures)} failed: {done.failures[0][1]}")
        finally:
            feature_workers.run_share = original
    return _tell(spent[-1], walls, sizes)


def _tell(spent: dict[str, float], walls: list[float], sizes: Sizes) -> dict[str, Any]:
    total, snippets = spent["total"], spent["snippets"]
    names = ("waiting", "flow on the device", "trunks", "writing")
    table(
        f"extract-features without flow caches, {sizes.videos} videos of {sizes.frames} frames,"
        f" {snippets:.0f} snippets, {sizes.input_size} px",
        ("", "s", "share"),
        [(name, f"{spent.get(name, 0):.2f}", f"{spent.get(name, 0) / total:.0%}") for name in names]
        + [("loop", f"{total:.2f}", f"{snippets / total:.1f} snippets/s"),
           ("whole command", f"{walls[1]:.2f}", f"{snippets / walls[1]:.1f} snippets/s"),
           ("first run", f"{walls[0]:.2f}", "with all set-up")],
    )  # fmt: skip
    return {
        "snippets_per_second": snippets / total,
        "pairs_per_second": snippets * sizes.fields / total,
        "share_waiting": spent.get("waiting", 0.0) / total,
        "seconds": spent,
        "whole_command_seconds": walls[1],
        "first_run_seconds": walls[0],
    }


def _write_video(path: Path, number: int, sizes: Sizes) -> None:
    """Write a textured scene in which a patch moves, as Motion JPEG."""
    import cv2

    path.parent.mkdir(parents=True, exist_ok=True)
    size = (2 * sizes.width, 2 * sizes.height)
    rng = np.random.default_rng(number)
    coarse = rng.integers(0, 256, (24, 32, 3), np.uint8)
    scene = cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC)
    patch = rng.integers(0, 256, (size[1] // 4, size[0] // 4, 3), np.uint8)
    patch = cv2.GaussianBlur(patch, (0, 0), 3)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, size)
    if not writer.isOpened():
        raise RuntimeError("OpenCV cannot write Motion JPEG here")
    for frame in range(sizes.frames):
        picture = scene.copy()
        x = int((size[0] - patch.shape[1]) * (0.5 + 0.4 * np.sin(frame / 15)))
        y = int((size[1] - patch.shape[0]) * (0.5 + 0.4 * np.cos(frame / 22)))
        picture[y : y + patch.shape[0], x : x + patch.shape[1]] = patch
        writer.write(picture)
    writer.release()
