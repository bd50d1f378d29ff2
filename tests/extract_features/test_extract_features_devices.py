"""Memory, overflow and devices: what runs out or overflows is told and survived."""

from __future__ import annotations

from pathlib import Path
from threading import Barrier

import numpy as np
import pytest
import torch
from torch import Tensor

from data.errors import InputError
from data.sources import Source
from model.features.stage_one import Maps, StageOne
from pipeline.extract_features.devices import divide
from pipeline.extract_features.forward import Forward
from pipeline.extract_features.share import run_share
from pipeline.runner.devices import torch_threads
from pipeline.runner.jobs import JobOptions
from pipeline.stage_one.networks import Networks
from tests.extract_features.material import (
    FRAMES,
    Extract,
    L,
    maps_of,
    share,
)


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
    networks: Networks,
    sources: list[Source],
    flow: Path,
    made: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A batch too large must cost a warning, not the run, and lose no snippet."""
    scarce = _Scarce(networks.module)
    jobs = share(networks, sources, flow, tmp_path)
    result = run_share(jobs, Forward(networks.module, batch_size=8, compute=scarce))
    assert result.snippets == 6
    assert not result.failures
    # Three snippets do not fit; halved to one at a time, for good.
    assert scarce.sizes == [1] * 6
    for key in FRAMES:
        assert np.allclose(maps_of(tmp_path, key), maps_of(made, key), atol=5e-3)


def test_on_a_cpu_two_batches_run_at_once_on_equal_shares_of_the_threads(
    tmp_path: Path, networks: Networks, sources: list[Source], flow: Path, made: Path
) -> None:
    """One after the other, cores wait for the reader; unequal shares would round unlike."""
    both, threads = Barrier(2), []

    def compute(frames: Tensor, stacks: Tensor) -> Maps:
        both.wait(timeout=60)  # Broken unless the other video's batch runs too.
        threads.append(torch.get_num_threads())
        return networks.module(frames, stacks)

    with torch_threads(5):
        jobs = share(networks, sources, flow, tmp_path)
        result = run_share(jobs, Forward(networks.module, batch_size=8, compute=compute))
    assert not result.failures
    assert threads == [2, 2]
    for key in FRAMES:
        assert np.allclose(maps_of(tmp_path, key), maps_of(made, key), atol=5e-3)


def test_one_thread_and_two_give_the_same_maps(
    tmp_path: Path, networks: Networks, sources: list[Source], flow: Path
) -> None:
    """docs/scaling.md says so; a lane with another number of threads sums in another order."""
    maps = []
    for threads in (1, 2):
        with torch_threads(threads):
            jobs = share(networks, sources, flow, tmp_path / str(threads))
            assert not run_share(jobs, Forward(networks.module, batch_size=2)).failures
        maps.append([maps_of(tmp_path / str(threads), key) for key in FRAMES])
    for one, two in zip(*maps, strict=True):
        assert np.array_equal(one, two)


def test_a_snippet_too_large_for_the_device_fails_its_video(networks: Networks) -> None:
    """Halving ends at one snippet; then only another size or device helps."""

    def full(frames: Tensor, stacks: Tensor) -> Maps:
        raise torch.OutOfMemoryError("CUDA out of memory")

    forward = Forward(networks.module, batch_size=4, compute=full)
    frames = torch.zeros(4, 3, 64, 64, dtype=torch.uint8)
    with pytest.raises(InputError, match="single snippet; use a smaller --input-size"):
        forward.submit(frames, torch.zeros(4, 2 * L, 64, 64, dtype=torch.uint8), "v.avi")


def test_other_errors_are_not_taken_for_a_lack_of_memory(networks: Networks) -> None:
    """A defect must not be retried until it looks like a small batch."""

    def wrong(frames: Tensor, stacks: Tensor) -> Maps:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    forward = Forward(networks.module, batch_size=4, compute=wrong)
    frames = torch.zeros(4, 3, 64, 64, dtype=torch.uint8)
    with pytest.raises(RuntimeError, match="shapes"):
        forward.submit(frames, torch.zeros(4, 2 * L, 64, 64, dtype=torch.uint8), "v.avi")


def test_overflow_of_float16_is_a_clear_error(
    tmp_path: Path, networks: Networks, sources: list[Source], flow: Path
) -> None:
    """An inf in a cache would spoil training without a word."""
    broken = load_stage_one_copy(networks)
    broken.fusion.project.weight.mul_(1e7)
    result = run_share(share(networks, sources, flow, tmp_path), Forward(broken))
    assert len(result.failures) == 2
    for message in result.failures.values():
        assert "fusion project passes 65504" in message
        assert "--weights random" in message
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


def load_stage_one_copy(networks: Networks) -> StageOne:
    import copy

    return copy.deepcopy(networks.module)


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
        outcome = extract(
            output=tmp_path,
            jobs=JobOptions(jobs=1, backend="dask", scheduler=cluster.scheduler_address),
        )
    assert all(result.computed for _, result in outcome.results)
    for key in FRAMES:
        assert np.array_equal(maps_of(tmp_path, key), maps_of(made, key))


def test_devices_are_balanced_by_snippets() -> None:
    """One long video must not keep a device busy while the others wait."""
    from types import SimpleNamespace

    jobs: list = [SimpleNamespace(frame_index=np.arange(n)) for n in (10, 50, 10, 30, 10)]
    shares = divide(jobs, ["cuda:0", "cuda:1"])
    loads = {device: sum(len(job.frame_index) for job in part) for device, part in shares}
    assert loads == {"cuda:0": 60, "cuda:1": 50}


@pytest.mark.parametrize("device", ["cuda:99", "gpu", "cpu,cuda:99"])
def test_devices_that_are_not_there_are_refused(
    device: str, tmp_path: Path, extract: Extract
) -> None:
    """A typo must not fall back to the CPU and run for days."""
    with pytest.raises(InputError, match="--device"):
        extract(output=tmp_path, device=device)
