"""extract-features as users run it: right maps, one video a cache, nothing stale, nothing lost.

Trunks are ResNet101 with random weights at 64 px and stacks of two fields, which keeps one forward
at a few milliseconds; everything else is as in real use.
"""

from __future__ import annotations

import functools
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision import transforms
from torchvision.models import resnet101

from data.cache import cache_path, content_digest, read_header
from data.cache_header import Header
from data.errors import InputError, StaleCacheError
from data.feature_cache import open_features
from data.flow_cache import create_flow, quantise
from data.options import PlanOptions
from data.sampling import plan_snippets
from data.sources import Source, find_sources
from data.video import scan
from model.features.options import FusionOptions, TrunkOptions
from model.features.stage_one import Maps, StageOne
from pipeline import cli
from pipeline.extract_features import FeatureResult, extract_features
from pipeline.feature_plan import FeaturePlan, Settings
from pipeline.feature_workers import FeatureTask, ShareResult, run_share
from pipeline.forward import Forward, torch_threads
from pipeline.jobs import JobOptions, Outcome
from pipeline.stage_one import StageOneSetup, load_stage_one

L = 2
PLAN = PlanOptions(segments=3, candidates=1, stack_length=L)
TRUNK = TrunkOptions(weights="random", input_size=64, training_snippets=8)
FUSION = FusionOptions(fusion_hidden=16, fusion_channels=8)
# The number of threads decides the order of sums, and so the last bits.
ONE = JobOptions(jobs=1)
FRAMES = {"one.avi": 9, "deep/two.avi": 12}
SIZE = (80, 60)
BOUND = 20.0

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


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("stage_one") / "videos"
    for number, (name, frames) in enumerate(FRAMES.items()):
        write_video(root / name, number, frames)
    return root


@pytest.fixture(scope="session")
def sources(videos: Path) -> list[Source]:
    return find_sources([videos])


@pytest.fixture(scope="session")
def flow(videos: Path, sources: list[Source]) -> Path:
    folder = videos.parent / "flow"
    for source in sources:
        write_flow(folder, source)
    return folder


Extract = Callable[..., "Outcome[Source, FeatureResult]"]


@pytest.fixture
def extract(sources: list[Source], flow: Path) -> Extract:
    return functools.partial(
        extract_features,
        sources,
        flow,
        plan=PLAN,
        trunk=TRUNK,
        fusion=FUSION,
        jobs=ONE,
        device="cpu",
    )


@pytest.fixture(scope="session")
def made(videos: Path, sources: list[Source], flow: Path) -> Path:
    """Features of both videos, with stream maps; tests must not change them."""
    output = videos.parent / "features"
    outcome = extract_features(
        sources, flow, output, PLAN, TRUNK, FUSION, ONE, "cpu", keep_streams=True
    )
    assert not outcome.failures
    assert [result.snippets for _, result in outcome.results] == [3, 3]
    return output


@pytest.fixture(scope="session")
def setup(made: Path) -> StageOneSetup:
    return load_stage_one(made)


def share(
    setup: StageOneSetup, sources: list[Source], flow: Path, output: Path, **changes: object
) -> tuple[FeaturePlan, FeatureTask, list]:
    """Plan the work of the whole set into `output`, with the stage one of `made`."""
    settings = Settings(flow, output, PLAN, TRUNK, FUSION, "float32", ["cpu"], False, False, 0)
    planned = FeaturePlan(settings, sources, sources)
    task = planned.task(setup, JobOptions(), None)
    task = FeatureTask(**{**vars(task), **changes})  # type: ignore[arg-type]
    return planned, task, planned.jobs(setup.weights, [s.key for s in sources])


def maps_of(folder: Path, key: str = "one.avi") -> np.ndarray:
    with open_features(cache_path(folder, key)) as cache:
        return cache.read_all()


def datasets(path: Path) -> dict[str, bytes]:
    found = {}
    with h5py.File(path) as file:
        file.visititems(
            lambda name, item: (
                found.update({name: item[()].tobytes()}) if isinstance(item, h5py.Dataset) else None
            )
        )
    return found


# --- the right numbers ---


def plain_trunk(setup: StageOneSetup, stream: str) -> torch.nn.Module:
    trunk = getattr(setup.module, stream)
    net = resnet101(weights=None)
    net.conv1 = torch.nn.Conv2d(trunk.conv1.in_channels, 64, 7, 2, 3, bias=False)
    net.load_state_dict(trunk.state_dict(), strict=False)
    return torch.nn.Sequential(*list(net.eval().children())[:-2])


def plain_inputs(path: Path) -> tuple[Tensor, Tensor]:
    """Make the inputs of the three snippets by torchvision's transforms and Pillow alone."""
    capture = cv2.VideoCapture(str(path))
    frames = []
    while (item := capture.read())[0]:
        frames.append(item[1])
    plan = plan_snippets(np.arange(len(frames)) / 10, PLAN)
    prepare = transforms.Compose(
        [
            transforms.Resize((64, 64), transforms.InterpolationMode.BICUBIC),
            transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    rgb = torch.stack([prepare(Image.fromarray(frames[i][:, :, ::-1].copy())) for i in plan.frame])
    stacks = []
    for fields in plan.fields:
        channels = []
        for field in fields:
            level = quantise(flow_field(int(plan.pairs[field, 0])), BOUND)
            for component in (0, 1):
                picture = Image.fromarray(np.ascontiguousarray(level[:, :, component]))
                resized = picture.resize((64, 64), Image.Resampling.BICUBIC)
                channels.append(torch.from_numpy(np.array(resized)) / 255)
        stacks.append(torch.stack(channels))
    return rgb, torch.stack(stacks)


@pytest.mark.parametrize("key", FRAMES)
def test_caches_hold_what_plain_torchvision_computes(
    key: str, videos: Path, made: Path, setup: StageOneSetup
) -> None:
    """Frames, stacks, preprocessing, trunks and fusion, all recomputed independently."""
    frames, stacks = plain_inputs(videos / key)
    with torch.no_grad():
        rgb = plain_trunk(setup, "rgb")(frames)
        flow = plain_trunk(setup, "flow")(stacks)
        joined = torch.cat([rgb, flow], dim=1)
        weights = setup.module.fusion.state_dict()
        hidden = torch.nn.functional.conv2d(
            joined, weights["reduce.weight"], weights["reduce.bias"], stride=2
        ).relu()
        fused = torch.nn.functional.conv2d(
            hidden, weights["project.weight"], weights["project.bias"]
        )
    with open_features(cache_path(made, key)) as cache:
        assert cache.shape == (3, 8, 1, 1)
        assert cache.stream_shape == (3, 2048, 2, 2)
        streams = [np.stack([cache.read_stream(n, i) for i in range(3)]) for n in ("rgb", "flow")]
        for found, expected in zip((cache.read_all(), *streams), (fused, rgb, flow), strict=True):
            allowed = HALF * expected.abs() + FLOAT * expected.abs().max()
            assert ((torch.from_numpy(found).float() - expected).abs() <= allowed).all()


def test_snippets_carry_their_frames(made: Path, sources: list[Source]) -> None:
    """Stage two places snippets in segments by these numbers."""
    for source in sources:
        times = scan(source.path).times
        plan = plan_snippets(times, PLAN)
        with open_features(cache_path(made, source.key)) as cache:
            assert cache.frame_index.tolist() == plan.frame.tolist()
            assert np.allclose(cache.time, times[plan.frame])


def test_a_moving_square_reaches_the_right_channels(sources: list[Source], flow: Path) -> None:
    """Channel 2k is u and 2k+1 is v of the k-th field in time: swapped or shifted stacks fail."""
    from pipeline.snippets import VideoInput, read_snippets

    source = next(s for s in sources if s.key == "deep/two.avi")
    plan = plan_snippets(scan(source.path).times, PLAN)
    item = VideoInput(
        source.key, source.path, cache_path(flow, source.key), PLAN, 64, resize_flow=False
    )
    for row, _, stack in read_snippets(item, np.arange(3), {}):
        assert stack.shape == (2 * L, SIZE[1], SIZE[0])
        for k in range(L):
            first = int(plan.pairs[plan.fields[row, k], 0])
            x = 5 + 3 * first
            assert stack[2 * k, 30, x + 10] == 128 + round(3 * 127 / BOUND)
            assert stack[2 * k + 1, 30, x + 10] == 128 + round(first / 2 * 127 / BOUND)
            assert stack[2 * k, 5, 5] == stack[2 * k + 1, 5, 5] == 128


def test_float16_flow_gives_the_same_features(
    tmp_path: Path, sources: list[Source], extract: Extract, made: Path
) -> None:
    """The way flow is stored must not show beyond its 8-bit levels."""
    for source in sources:
        write_flow(tmp_path / "flow16", source, dtype="float16")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "stage_one.safetensors").write_bytes(
        (made / "stage_one.safetensors").read_bytes()
    )
    outcome = extract_features(
        sources, tmp_path / "flow16", tmp_path / "out", PLAN, TRUNK, FUSION, ONE, "cpu"
    )
    assert not outcome.failures
    assert np.array_equal(maps_of(tmp_path / "out"), maps_of(made))


@pytest.mark.parametrize(("batch_size", "readers"), [(1, 0), (2, 0), (3, 2)])
def test_batch_size_and_workers_do_not_change_maps(
    batch_size: int,
    readers: int,
    tmp_path: Path,
    setup: StageOneSetup,
    sources: list[Source],
    flow: Path,
    made: Path,
) -> None:
    """Features must not depend on the machine that computed them."""
    _, task, jobs = share(setup, sources, flow, tmp_path, batch_size=batch_size, readers=readers)
    forward = Forward(setup.module, batch_size=batch_size)
    result = run_share(("cpu", jobs), task, forward)
    assert sorted(result.done) == sorted(FRAMES)
    assert result.snippets == 6
    for key in FRAMES:
        found, expected = maps_of(tmp_path, key), maps_of(made, key)
        # Two roundings to half precision, of numbers that float32 order moves by FLOAT.
        allowed = 2 * HALF * np.abs(expected) + FLOAT * np.abs(expected).max()
        assert (np.abs(found.astype(np.float32) - expected) <= allowed).all()


# --- caches ---


def test_resume_keeps_finished_caches_and_repeats_lost_ones_to_the_bit(
    tmp_path: Path, extract: Extract, made: Path
) -> None:
    """A run that was killed goes on; what is finished is not touched, the rest comes out equal."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    kept, lost = cache_path(tmp_path, "one.avi"), cache_path(tmp_path, "deep/two.avi")
    before, stamp = datasets(lost), kept.stat().st_mtime_ns
    stage_one = (tmp_path / "stage_one.safetensors").read_bytes()
    lost.unlink()
    outcome = extract(output=tmp_path, keep_streams=True)
    assert [(s.key, r.computed) for s, r in outcome.results] == [
        ("deep/two.avi", True),
        ("one.avi", False),
    ]
    assert datasets(lost) == before
    assert kept.stat().st_mtime_ns == stamp
    assert (tmp_path / "stage_one.safetensors").read_bytes() == stage_one


def test_changed_options_are_refused_by_name(made: Path, extract: Extract) -> None:
    """Features of other options must never pass for those asked for, nor be rebuilt unasked."""
    before = content_digest(cache_path(made, "one.avi"))
    changed = [
        ({"seed": 1}, "seed 0, you asked 1"),
        ({"fusion": FusionOptions(fusion_hidden=16, fusion_channels=4)}, "fusion channels 8"),
        ({"trunk": TrunkOptions(weights="random", input_size=96, training_snippets=8)}, "size 64"),
        ({"keep_streams": False}, "keep streams"),
    ]
    for change, message in changed:
        with pytest.raises(StaleCacheError, match=message) as caught:
            extract(**{"output": made, "keep_streams": True, **change})
        assert "--overwrite" in str(caught.value)
    assert content_digest(cache_path(made, "one.avi")) == before


def test_changed_flow_is_noticed(
    tmp_path: Path, sources: list[Source], setup: StageOneSetup, made: Path
) -> None:
    """Features of flow that was computed anew with other values are stale."""
    source = next(s for s in sources if s.key == "one.avi")
    path = write_flow(tmp_path, source)
    with h5py.File(path, "r+") as file:
        file.attrs["content_digest"] = "0" * 64
    settings = Settings(tmp_path, made, PLAN, TRUNK, FUSION, "float32", ["cpu"], True, False, 0)
    with pytest.raises(StaleCacheError, match="another flow cache"):
        FeaturePlan(settings, [source], [source]).todo(setup.weights, overwrite=False)


class _StoppedError(Exception):
    """Stands for a kill in the middle of a video."""


def test_an_interrupted_write_leaves_no_cache(
    tmp_path: Path, setup: StageOneSetup, sources: list[Source], flow: Path
) -> None:
    """A half-written file under the final name would be taken for a finished one."""
    _, task, jobs = share(setup, sources, flow, tmp_path, batch_size=1)
    forward = Forward(setup.module, batch_size=1)

    def stop_after_two(snippets: int, seen: list[int] = []) -> None:  # noqa: B006
        seen.append(snippets)
        if len(seen) == 2:
            raise _StoppedError

    with pytest.raises(_StoppedError):
        run_share(("cpu", jobs), task, forward, stop_after_two)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_a_corrupt_cache_is_reported_not_used(tmp_path: Path, extract: Extract, made: Path) -> None:
    """A damaged file must be named; only --overwrite replaces it."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    path = cache_path(tmp_path, "one.avi")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(StaleCacheError, match="damaged"):
        extract(output=tmp_path, keep_streams=True)


# --- what belongs together ---


def test_flow_that_misses_pairs_of_the_plan_names_the_command(
    tmp_path: Path, extract: Extract, sources: list[Source], flow: Path
) -> None:
    """Another plan than extract-flow's must not silently use the wrong fields."""
    outcome = extract(output=tmp_path, plan=PlanOptions(plan="dense", stride=1, stack_length=L))
    assert len(outcome.failures) == 2
    for source, message in outcome.failures:
        assert "pairs of frames are missing" in message
        assert "pipeline extract-flow" in message
        assert str(source.path) in message


def test_one_bad_video_does_not_stop_the_others(
    tmp_path: Path, videos: Path, sources: list[Source], flow: Path
) -> None:
    """Missing flow, and a video that changed since its flow was computed, are listed failures."""
    fresh = tmp_path / "videos"
    for name, number in (("good.avi", 0), ("changed.avi", 0), ("flowless.avi", 1)):
        write_video(fresh / name, number, 9)
    found = find_sources([fresh])
    for source in found:
        if source.key != "flowless.avi":
            write_flow(tmp_path / "flow", source)
    write_video(fresh / "changed.avi", 3, 9)
    outcome = extract_features(
        found, tmp_path / "flow", tmp_path / "out", PLAN, TRUNK, FUSION, ONE, "cpu"
    )
    assert [source.key for source, _ in outcome.results] == ["good.avi"]
    messages = {source.key: message for source, message in outcome.failures}
    assert "other content" in messages["changed.avi"]
    assert "no flow cache" in messages["flowless.avi"]
    assert all("pipeline extract-flow" in message for message in messages.values())


def test_a_video_that_breaks_while_read_leaves_no_cache(
    tmp_path: Path, setup: StageOneSetup, sources: list[Source], flow: Path
) -> None:
    """A failure after the first snippets drops that video's cache and goes on with the next."""
    _, task, jobs = share(setup, sources, flow, tmp_path / "out", batch_size=1)
    broken = jobs[0].input
    content = broken.path.read_bytes()
    copy = tmp_path / "broken.avi"
    copy.write_bytes(content[: len(content) // 2])
    jobs[0] = type(jobs[0])(
        type(broken)(**{**vars(broken), "path": copy}), *list(vars(jobs[0]).values())[1:]
    )
    result = run_share(("cpu", jobs), task, Forward(setup.module, batch_size=1))
    assert list(result.failures) == [broken.key]
    assert result.done == [jobs[1].input.key]
    assert [p.suffix for p in (tmp_path / "out").rglob("*") if p.is_file()] == [".h5"]


def test_weights_of_both_trunks_and_the_fusion_stand_in_every_cache(
    made: Path, setup: StageOneSetup
) -> None:
    """Stage two refuses mixed caches by these digests."""
    headers = [read_header(cache_path(made, key)) for key in FRAMES]
    assert headers[0].weights == headers[1].weights == setup.weights
    assert len(set(setup.weights.values())) == 3


# --- stage one kept beside the caches ---


def test_stage_one_comes_back_from_its_file(made: Path, setup: StageOneSetup, videos: Path) -> None:
    """Scoring a new video later needs exactly these weights, statistics and sizes."""
    again = load_stage_one(made)
    for name, value in setup.module.state_dict().items():
        assert torch.equal(again.module.state_dict()[name], value)
    assert (again.stack_length, again.precision, again.seed) == (L, "float32", 0)
    assert again.map_shape == (8, 1, 1)
    frames, stacks = plain_inputs(videos / "one.avi")
    with torch.no_grad():
        fused = again.module.fusion(again.module.rgb(frames), again.module.flow(stacks)).numpy()
    stored = maps_of(made).astype(np.float32)
    assert (np.abs(fused - stored) <= 2 * HALF * np.abs(fused) + FLOAT * np.abs(fused).max()).all()


def test_random_trunks_do_not_depend_on_the_number_of_threads(
    tmp_path: Path, extract: Extract, setup: StageOneSetup
) -> None:
    """A fusion learnt on them, or the next shard, must find the same digests on other machines."""
    with torch_threads(2):
        extract(output=tmp_path)
    assert load_stage_one(tmp_path).weights == setup.weights


def test_given_weights_are_read_again_and_checked(
    tmp_path: Path, extract: Extract, setup: StageOneSetup
) -> None:
    """A weight file that was exchanged must not pass for the one the features were made with."""
    path = tmp_path / "rgb.pth"
    torch.save({"state_dict": setup.module.rgb.state_dict()}, path)
    trunk = TrunkOptions(rgb_weights=str(path), input_size=64)
    output = tmp_path / "out"
    extract(output=output, trunk=trunk)
    loaded = load_stage_one(output)
    assert loaded.weights["rgb"] == setup.weights["rgb"]
    stem = loaded.module.flow.conv1.weight
    assert torch.equal(stem[:, 0], stem[:, 3])  # The flow trunk starts as the RGB one, inflated.
    state = setup.module.rgb.state_dict()
    state["bn1.bias"] = state["bn1.bias"] + 1
    torch.save(state, path)
    with pytest.raises(StaleCacheError, match="rgb weights"):
        load_stage_one(output)
    with pytest.raises(StaleCacheError, match="rgb weights"):
        extract(output=output, trunk=trunk)


def test_pca_needs_named_training_videos(tmp_path: Path, extract: Extract) -> None:
    """Fitted on all videos, it would have seen the test videos."""
    with pytest.raises(InputError, match="--training-videos"):
        extract(output=tmp_path, fusion=FusionOptions(fusion="pca", fusion_channels=2))


def test_pca_is_fitted_on_the_training_videos_alone(
    tmp_path: Path, extract: Extract, videos: Path
) -> None:
    """White over the training video's snippets; the file records which videos these were."""
    from pipeline.weights import read_safetensors

    trunk = TrunkOptions(
        weights="random",
        input_size=64,
        training_snippets=3,
        training_videos=str(videos / "deep" / "two.avi"),
    )
    extract(output=tmp_path, trunk=trunk, fusion=FusionOptions(fusion="pca", fusion_channels=2))
    maps = maps_of(tmp_path, "deep/two.avi").astype(np.float64)[:, :, 0, 0]
    # Three snippets, all of them training snippets; caches are in half precision.
    np.testing.assert_allclose(maps.mean(axis=0), 0, atol=5e-3)
    np.testing.assert_allclose(maps.T @ maps / 3, np.eye(2), atol=5e-3)
    metadata = read_safetensors(tmp_path / "stage_one.safetensors")[1]
    assert metadata["training_videos"] == ["deep/two.avi"]


def test_too_small_inputs_are_refused_before_any_work(tmp_path: Path, extract: Extract) -> None:
    """A 1×1 stream map cannot be fused; the flag to change must be named."""
    with pytest.raises(InputError, match="--input-size 32 is too small"):
        extract(output=tmp_path, trunk=TrunkOptions(weights="random", input_size=32))
    assert not list(tmp_path.iterdir())


# --- memory, overflow, devices ---


class _Scarce:
    """A device that holds two snippets at a time: the documented seam `Forward(compute=…)`."""

    def __init__(self, stage: StageOne) -> None:
        self.stage = stage
        self.sizes: list[int] = []

    def __call__(self, frames: Tensor, stacks: Tensor) -> Maps:
        if len(frames) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        self.sizes.append(len(frames))
        return self.stage(frames, stacks)


def test_out_of_memory_halves_the_batch_names_the_video_and_goes_on(
    tmp_path: Path,
    setup: StageOneSetup,
    sources: list[Source],
    flow: Path,
    made: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A batch too large must cost a warning, not the run, and lose no snippet."""
    scarce = _Scarce(setup.module)
    _, task, jobs = share(setup, sources, flow, tmp_path, batch_size=8)
    result = run_share(("cpu", jobs), task, Forward(setup.module, batch_size=8, compute=scarce))
    assert result.snippets == 6
    assert not result.failures
    # Three snippets do not fit; halved to one at a time, for good.
    assert scarce.sizes == [1] * 6
    for key in FRAMES:
        assert np.allclose(maps_of(tmp_path, key), maps_of(made, key), atol=5e-3)


def test_a_snippet_too_large_for_the_device_fails_its_video(setup: StageOneSetup) -> None:
    """Halving ends at one snippet; then only another size or device helps."""

    def full(frames: Tensor, stacks: Tensor) -> Maps:
        raise torch.OutOfMemoryError("CUDA out of memory")

    forward = Forward(setup.module, batch_size=4, compute=full)
    frames = torch.zeros(4, 3, 64, 64, dtype=torch.uint8)
    with pytest.raises(InputError, match="single snippet; use a smaller --input-size"):
        forward.submit(frames, torch.zeros(4, 2 * L, 64, 64, dtype=torch.uint8), "v.avi")


def test_other_errors_are_not_taken_for_a_lack_of_memory(setup: StageOneSetup) -> None:
    """A defect must not be retried until it looks like a small batch."""

    def wrong(frames: Tensor, stacks: Tensor) -> Maps:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    forward = Forward(setup.module, batch_size=4, compute=wrong)
    frames = torch.zeros(4, 3, 64, 64, dtype=torch.uint8)
    with pytest.raises(RuntimeError, match="shapes"):
        forward.submit(frames, torch.zeros(4, 2 * L, 64, 64, dtype=torch.uint8), "v.avi")


def test_overflow_of_float16_is_a_clear_error(
    tmp_path: Path, setup: StageOneSetup, sources: list[Source], flow: Path
) -> None:
    """An inf in a cache would spoil training without a word."""
    broken = load_stage_one_copy(setup)
    broken.fusion.project.weight.mul_(1e7)
    _, task, jobs = share(setup, sources, flow, tmp_path)
    result = run_share(("cpu", jobs), task, Forward(broken))
    assert len(result.failures) == 2
    for message in result.failures.values():
        assert "fusion project passes 65504" in message
        assert "--weights random" in message
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


def load_stage_one_copy(setup: StageOneSetup) -> StageOne:
    import copy

    return copy.deepcopy(setup.module)


def test_two_devices_share_the_videos(
    tmp_path: Path, sources: list[Source], flow: Path, made: Path, extract: Extract
) -> None:
    """Every video is done once, on one of the devices, with the same result."""
    (tmp_path / "stage_one.safetensors").write_bytes((made / "stage_one.safetensors").read_bytes())
    outcome = extract(output=tmp_path, device="cpu,cpu")
    assert [(s.key, r.computed) for s, r in outcome.results] == [(s.key, True) for s in sources]
    for key in FRAMES:
        assert np.array_equal(maps_of(tmp_path, key), maps_of(made, key))


def test_dask_workers_do_video_by_video(
    tmp_path: Path, sources: list[Source], made: Path, extract: Extract
) -> None:
    """A cluster must end with the caches of one machine; its workers load stage one themselves."""
    distributed = pytest.importorskip("distributed")
    (tmp_path / "stage_one.safetensors").write_bytes((made / "stage_one.safetensors").read_bytes())
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
    ) as cluster:
        outcome = extract(output=tmp_path, jobs=JobOptions(1, "dask", cluster.scheduler_address))
    assert all(result.computed for _, result in outcome.results)
    for key in FRAMES:
        assert np.array_equal(maps_of(tmp_path, key), maps_of(made, key))


def test_devices_are_balanced_by_snippets(tmp_path: Path, sources: list[Source]) -> None:
    """One long video must not keep a device busy while the others wait."""
    from types import SimpleNamespace

    planned = SimpleNamespace(settings=SimpleNamespace(devices=["cuda:0", "cuda:1"]))
    jobs = [SimpleNamespace(frame_index=np.zeros(n)) for n in (10, 50, 10, 30, 10)]
    shares = FeaturePlan.shares(planned, jobs, one_by_one=False)  # type: ignore[arg-type]
    loads = {device: sum(len(j.frame_index) for j in part) for device, part in shares}
    assert loads == {"cuda:0": 60, "cuda:1": 50}


@pytest.mark.parametrize("device", ["cuda:99", "gpu", "cpu,cuda:99"])
def test_devices_that_are_not_there_are_refused(
    device: str, tmp_path: Path, extract: Extract
) -> None:
    """A typo must not fall back to the CPU and run for days."""
    with pytest.raises(InputError, match="--device"):
        extract(output=tmp_path, device=device)


# --- the command ---


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as caught:
        cli.cli.main([str(a) for a in ("extract-features", *arguments)])
    return int(caught.value.code or 0)


FLAGS = [
    *("--segments", 3, "--candidates", 1, "--stack-length", L, "--device", "cpu", "-j", 1),
    *("--weights", "random", "--input-size", 64, "--training-snippets", 8),
    *("--fusion-hidden", 16, "--fusion-channels", 8),
]


def test_dry_run_says_what_and_writes_nothing(
    videos: Path, flow: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Users plan days of computing and terabytes by these lines."""
    output = tmp_path / "out"
    assert run(videos, "--flow", flow, "-o", output, *FLAGS, "--dry-run") == 0
    fused = capsys.readouterr().out
    assert run(videos, "--flow", flow, "-o", output, *FLAGS, "--keep-streams", "--dry-run") == 0
    streams = capsys.readouterr().out
    assert "snippets  6" in fused
    assert f"{6 * 2 * 8} B" in fused
    # Two maps of 2048×2×2 and one of 8×1×1, two bytes each.
    assert f"{6 * 2 * (2 * 2048 * 4 + 8) / 1000:.1f} KB" in streams
    assert "snippets/s" in fused
    assert not output.exists()


def test_exit_codes_and_summary(
    videos: Path, flow: Path, made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Scripts act on these: 0 done, 1 finished with failures, 2 unusable options or input."""
    again = [videos, "--flow", flow, "-o", made, *FLAGS, "--keep-streams"]
    assert run(*again) == 0
    assert "2 videos, 2 of them there already; 6 snippets" in capsys.readouterr().out
    assert run(*again, "--seed", 5) == 2
    assert "seed 0, you asked 5" in capsys.readouterr().err
    assert run(videos, "--flow", tmp_path / "none", "-o", tmp_path / "x", *FLAGS) == 2
    assert "pipeline extract-flow" in capsys.readouterr().err
    assert run(videos, "--flow", tmp_path, "-o", tmp_path / "x", *FLAGS) == 1
    assert "no flow cache" in capsys.readouterr().err


def test_the_loop_reports_where_its_time_went(
    tmp_path: Path, setup: StageOneSetup, sources: list[Source], flow: Path
) -> None:
    """The shares shown to users must cover the run: nothing slow may hide between them."""
    _, task, jobs = share(setup, sources, flow, tmp_path)
    result: ShareResult = run_share(("cpu", jobs), task, Forward(setup.module))
    parts = sum(result.seconds[name] for name in ("waiting", "trunks", "writing"))
    assert 0.5 * result.seconds["total"] < parts <= result.seconds["total"]
    assert result.seconds["decode"] > 0 < result.seconds["flow"]
    assert os.listdir(tmp_path)
