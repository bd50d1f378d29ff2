"""Feature caches: nothing stale, nothing lost, and only what belongs together."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from data.cache.folder import cache_path, content_digest, read_header
from data.errors import InputError, StaleCacheError
from data.options import PlanOptions
from data.sources import Source, find_sources
from model.features.options import FusionOptions, TrunkOptions
from pipeline.extract_features.forward import Forward
from pipeline.extract_features.share import run_share
from pipeline.runner.jobs import JobOptions
from pipeline.stage_one.file import load_stage_one
from pipeline.stage_one.networks import Networks
from tests.extract_features.material import (
    FRAMES,
    Extract,
    L,
    datasets,
    extract_into,
    maps_of,
    share,
    write_flow,
    write_video,
)

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


def test_changed_flow_is_noticed(tmp_path: Path, sources: list[Source], made: Path) -> None:
    """Features of flow that was computed anew with other values are stale."""
    source = next(s for s in sources if s.key == "one.avi")
    path = write_flow(tmp_path, source)
    with h5py.File(path, "r+") as file:
        file.attrs["content_digest"] = "0" * 64
    with pytest.raises(StaleCacheError, match="another flow cache"):
        extract_into([source], tmp_path, made, keep_streams=True)


class _StoppedError(Exception):
    """Stands for a kill in the middle of a video."""


def test_an_interrupted_write_leaves_no_cache(
    tmp_path: Path, networks: Networks, sources: list[Source], flow: Path
) -> None:
    """A half-written file under the final name would be taken for a finished one."""
    jobs = share(networks, sources, flow, tmp_path)
    forward = Forward(networks.module, batch_size=1)

    def stop_after_two(snippets: int, seen: list[int] = []) -> None:  # noqa: B006
        seen.append(snippets)
        if len(seen) == 2:
            raise _StoppedError

    with pytest.raises(_StoppedError):
        run_share(jobs, forward, advance=stop_after_two)
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
    outcome = extract_into(found, tmp_path / "flow", tmp_path / "out")
    assert [source.key for source, _ in outcome.results] == ["good.avi"]
    messages = {source.key: message for source, message in outcome.failures}
    assert "other content" in messages["changed.avi"]
    assert "no flow cache" in messages["flowless.avi"]
    assert all("pipeline extract-flow" in message for message in messages.values())


def test_a_video_that_breaks_while_read_leaves_no_cache(
    tmp_path: Path, networks: Networks, sources: list[Source], flow: Path
) -> None:
    """A failure after the first snippets drops that video's cache and goes on with the next."""
    jobs = share(networks, sources, flow, tmp_path / "out")
    broken = jobs[0].input
    content = broken.path.read_bytes()
    copy = tmp_path / "broken.avi"
    copy.write_bytes(content[: len(content) // 2])
    jobs[0] = replace(jobs[0], input=replace(broken, path=copy))
    result = run_share(jobs, Forward(networks.module, batch_size=1))
    assert list(result.failures) == [broken.key]
    assert result.done == [jobs[1].input.key]
    assert [p.suffix for p in (tmp_path / "out").rglob("*") if p.is_file()] == [".h5"]


def test_weights_of_both_trunks_and_the_fusion_stand_in_every_cache(
    made: Path, networks: Networks
) -> None:
    """Stage two refuses mixed caches by these digests."""
    headers = [read_header(cache_path(made, key)) for key in FRAMES]
    assert headers[0].weights == headers[1].weights == networks.weights
    assert len(set(networks.weights.values())) == 3


# --- stage one kept beside the caches ---


def test_random_trunks_do_not_depend_on_the_number_of_threads(
    tmp_path: Path, extract: Extract, networks: Networks
) -> None:
    """A fusion learnt on them, or the next shard, must find the same digests on other machines."""
    extract(output=tmp_path, jobs=JobOptions(jobs=2))
    assert load_stage_one(tmp_path).weights == networks.weights


def test_given_weights_are_read_again_and_checked(
    tmp_path: Path, extract: Extract, networks: Networks
) -> None:
    """A weight file that was exchanged must not pass for the one the features were made with."""
    path = tmp_path / "rgb.pth"
    torch.save({"state_dict": networks.module.rgb.state_dict()}, path)
    trunk = TrunkOptions(rgb_weights=str(path), input_size=64, adapt_flow="none")
    output = tmp_path / "out"
    extract(output=output, trunk=trunk)
    loaded = load_stage_one(output)
    assert loaded.weights["rgb"] == networks.weights["rgb"]
    stem = loaded.module.flow.conv1.weight
    assert torch.equal(stem[:, 0], stem[:, 3])  # The flow trunk starts as the RGB one, inflated.
    state = networks.module.rgb.state_dict()
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
    from pipeline.runner.files import read_safetensors

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
