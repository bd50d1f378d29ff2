"""Two small videos, their flow and their features, for the tests of extract-features.

Trunks are ResNet101 with random weights at 64 px and stacks of two fields, which keeps one forward
at a few milliseconds; everything else is as in real use. All of it is made once a test run.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
import pytest

from data.cache.features import open_features
from data.cache.flow import create_flow
from data.cache.folder import cache_path
from data.cache.header import Header
from data.options import FlowOptions, PlanOptions
from data.sampling import plan_snippets
from data.sources import Source, find_sources
from data.video.reading import scan
from model.features.options import FusionOptions, TrunkOptions
from model.tvl1.options import TVL1Options
from pipeline.extract_features.command import extract_features
from pipeline.extract_features.plan import plan_videos, with_weights
from pipeline.extract_features.settings import FeatureResult, FeatureSettings
from pipeline.extract_features.snippets import VideoJob
from pipeline.extract_flow.command import extract_flow
from pipeline.extract_flow.settings import FlowSettings
from pipeline.extract_flow.video import FlowResult
from pipeline.runner.jobs import JobOptions, Outcome
from pipeline.runner.stage import StageOptions
from pipeline.stage_one.file import load_stage_one
from pipeline.stage_one.networks import Networks

L = 2
PLAN = PlanOptions(segments=3, candidates=1, stack_length=L)
TRUNK = TrunkOptions(weights="random", input_size=64, training_snippets=8)
FUSION = FusionOptions(fusion_hidden=16, fusion_channels=8)
# The number of threads decides the order of sums, and so the last bits.
ONE = JobOptions(jobs=1)
FRAMES = {"one.avi": 9, "deep/two.avi": 12}
SIZE = (80, 60)
BOUND = 20.0
# Flow that is really computed: few iterations, for what matters is that both ways do the same.
QUICK = TVL1Options(scales=2, warps=1, inner=3, outer=1)
FLOW = FlowOptions(short_side=32, bound=4.0)

# Half precision has 11 significant bits: a stored map is off by 2⁻¹¹ of its value at most.
HALF = 2.0**-11
# Float32 in another order of operations, through a calibrated random ResNet101 (see
# test_trunk.py).
FLOAT = 1e-4


def draw(number: int, frame: int) -> np.ndarray:
    """Frame with a square that moves 3 px right a frame, over a textured still background."""
    rng = np.random.default_rng(number)
    small = rng.integers(0, 200, (6, 8, 3), dtype=np.uint8)
    picture = cv2.resize(small, SIZE, interpolation=cv2.INTER_CUBIC)
    x = 5 + 3 * frame
    picture[20:40, x : x + 20] = 255
    return picture


def quick_flow(
    sources: list[Source], output: Path, flow: FlowOptions = FLOW, strict: bool = False
) -> Outcome[Source, FlowResult]:
    """Compute flow as extract-flow does, with few iterations."""
    settings = FlowSettings(plan=PLAN, flow=flow, tvl1=QUICK, engine="opencv", strict=strict)
    return extract_flow(sources, settings, StageOptions(output=output, jobs=ONE, strict=strict))


def write_video(path: Path, number: int, frames: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, SIZE)
    assert writer.isOpened()
    for frame in range(frames):
        writer.write(draw(number, frame))
    writer.release()


def flow_field(frame: int) -> np.ndarray:
    """Flow of the square: 3 px right and, so that frames can be told apart, frame/2 px down.

    The background sways, but for a still strip at the top: BatchNorm of all but constant stacks
    would divide by next to nothing, and blow rounding up.
    """
    rng = np.random.default_rng(frame)
    flow = cv2.resize(rng.normal(0, 4, (6, 8, 2)), SIZE, interpolation=cv2.INTER_CUBIC)
    flow = flow.astype(np.float32)
    flow[:10] = 0
    x = 5 + 3 * frame
    flow[20:40, x : x + 20] = (3, frame / 2)
    # Exact in either way of storing, so that a rounding on a tie cannot tell them apart.
    return flow.astype(np.float16).astype(np.float32)


def write_flow(
    folder: Path, source: Source, plan: PlanOptions = PLAN, dtype: str = "uint8"
) -> Path:
    """Write a flow cache as extract-flow does, with known fields."""
    info = scan(source.path)
    pairs = plan_snippets(info.times, plan).pairs
    header = Header(
        "flow",
        source=str(source.path),
        source_size=info.size,
        source_digest=info.digest,
        decoded_frames=info.frames,
        claimed_frames=info.claimed_frames,
        parameters={"flow": {"bound": BOUND}},
    )
    path = cache_path(folder, source.key)
    with create_flow(
        path,
        header,
        pairs=pairs,
        frame_time=info.times,
        height=SIZE[1],
        width=SIZE[0],
        bound=BOUND,
        dtype=dtype,  # type: ignore[arg-type]
    ) as writer:
        for row, (first, _) in enumerate(pairs):
            writer.put(row, flow_field(int(first)))
    return path


Extract = Callable[..., "Outcome[Source, FeatureResult]"]


def extract_into(
    sources: list[Source],
    flow_folder: Path,
    output: Path,
    flow: FlowSettings | None = None,
    **changes: Any,
) -> Outcome[Source, FeatureResult]:
    """Call the command's function with the small networks; `changes` to settings or options."""
    values: dict[str, Any] = {"plan": PLAN, "trunk": TRUNK, "fusion": FUSION, "flow": flow_folder}
    values |= {"jobs": ONE, "device": "cpu", "output": output} | changes
    named = ("plan", "trunk", "fusion", "flow", "keep_streams", "seed", "batch_size")
    settings = FeatureSettings(**{name: values.pop(name) for name in named if name in values})
    options = StageOptions(**values)
    return extract_features(sources, settings, options, flow)


class Material:
    """What the tests read and must not change, each made when it is first asked for."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @functools.cached_property
    def videos(self) -> Path:
        for number, (name, frames) in enumerate(FRAMES.items()):
            write_video(self.root / "videos" / name, number, frames)
        return self.root / "videos"

    @functools.cached_property
    def sources(self) -> list[Source]:
        return find_sources([self.videos])

    @functools.cached_property
    def flow(self) -> Path:
        for source in self.sources:
            write_flow(self.root / "flow", source)
        return self.root / "flow"

    @functools.cached_property
    def made(self) -> Path:
        """Features of both videos, with stream maps."""
        output = self.root / "features"
        outcome = extract_into(self.sources, self.flow, output, keep_streams=True)
        assert not outcome.failures
        assert [result.rows for _, result in outcome.results] == [3, 3]
        return output

    @functools.cached_property
    def networks(self) -> Networks:
        return load_stage_one(self.made)

    @functools.cached_property
    def quick_flow(self) -> Path:
        """Flow caches as extract-flow writes them, of few iterations."""
        outcome = quick_flow(self.sources, self.root / "quick")
        assert not outcome.failures
        return self.root / "quick"

    @property
    def extract(self) -> Extract:
        """The command's function with this material and these options."""
        return functools.partial(extract_into, self.sources, self.flow)


@functools.cache
def _material(root: Path) -> Material:
    return Material(root / "stage_one")


def material(factory: pytest.TempPathFactory) -> Material:
    """Return the material of this test run."""
    return _material(factory.getbasetemp())


def share(networks: Networks, sources: list[Source], flow: Path, output: Path) -> list[VideoJob]:
    """Plan the work of the whole set into `output`, with the stage one of `made`."""
    settings = FeatureSettings(flow=flow, plan=PLAN, trunk=TRUNK, fusion=FUSION)
    options = StageOptions(output=output)
    jobs, failures = plan_videos(sources, settings, ["cpu"], options, flow_first=False)
    assert not failures
    return list(with_weights(jobs, networks.weights).values())


def maps_of(folder: Path, key: str = "one.avi") -> np.ndarray:
    with open_features(cache_path(folder, key)) as cache:
        return np.stack([cache.read(row) for row in range(len(cache))])


def datasets(path: Path) -> dict[str, bytes]:
    found = {}
    with h5py.File(path) as file:
        file.visititems(
            lambda name, item: (
                found.update({name: item[()].tobytes()}) if isinstance(item, h5py.Dataset) else None
            )
        )
    return found
