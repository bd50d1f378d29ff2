"""The CUDA engine as a whole: against the CPU engine, and batches against their pairs.

Runs where test_cuda_tvl1_kernels.py does.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

# First: it skips this file where the kernels cannot run, before Triton is imported.
from tests.model.tvl1.cuda_material import (  # isort: skip
    DEVICE,
    GPU,
    needs_opencv5,
    on_device,
    texture,
    three_pairs,
    view,
)

from data.cache.flow import quantise
from model.tvl1.cpu.calc import calc as numba_calc
from model.tvl1.cuda.calc import calc, calc_batch, calc_stream
from model.tvl1.cuda.engine import CudaTVL1
from model.tvl1.cuda.layout import Shape
from model.tvl1.options import TVL1Options

SMALL = TVL1Options(scales=2, warps=1, inner=5, outer=2)


@pytest.fixture(scope="module")
def pairs():
    """Three pairs: moving, not moving, moving little; (3, H, W) uint8 twice."""
    return three_pairs()


@pytest.fixture(scope="module")
def solved(pairs):
    engine = CudaTVL1(20, 34, SMALL, DEVICE, batch=3)
    flow = engine.calc_batch(on_device(pairs[0]), on_device(pairs[1]))
    return flow, engine.counts.cpu().numpy()


@needs_opencv5
def test_whole_engine_agrees_with_the_cpu_engine(pairs, solved):
    """The parts may be right and their order wrong: buffers, warps, medians, levels, stops."""
    for i, (first, second) in enumerate(zip(*pairs, strict=True)):
        expected = numba_calc(first, second, SMALL)
        result = solved[0][i].permute(1, 2, 0).cpu().numpy()
        # A few dozen iterations with roundings that differ in the last bit; no stop is near.
        np.testing.assert_allclose(result, expected, atol=2e-3)
        assert np.abs(result - expected).mean() < 2e-4


def test_identical_frames_have_exactly_no_motion(solved):
    """Still pixels must be 128 in the cache, and the pair must cost one iteration a warp."""
    flow, counts = solved
    assert (flow[1] == 0).all()
    assert (counts[1, :, :, 0] == 1).all()


def test_each_pair_stops_by_itself(solved):
    """A batch that waits for its slowest pair iterates the others too far."""
    counts = solved[1]
    assert (counts[0, ..., 0] == SMALL.inner * SMALL.outer).all()
    assert (counts[2, ..., 0] < counts[0, ..., 0]).any()
    assert (counts[..., 1] >= 1).all()


def test_a_batch_equals_its_pairs_one_by_one(pairs, solved):
    """A field that depends on its neighbours in the batch could not be reproduced."""
    engine = CudaTVL1(20, 34, SMALL, DEVICE, batch=1)
    alone = engine.calc_batch(on_device(pairs[0][1:]), on_device(pairs[1][1:]))
    assert torch.equal(alone, solved[0][1:])


def test_flows_of_a_videos_pairs(pairs, solved):
    """Pairs must come back in order though batches share and reorder frames."""
    frames = np.concatenate([pairs[0][:1], pairs[1]])
    index = np.array([[0, 3], [0, 2], [0, 2]])
    frames.flags.writeable = False  # As arrays from other processes are.
    engine = CudaTVL1(20, 34, SMALL, DEVICE, batch=2)
    parts = list(engine.flows(frames, index))
    assert [(p.start, p.stop) for p, _ in parts] == [(0, 2), (2, 3)]
    flow = torch.cat([f for _, f in parts])
    assert torch.equal(flow, solved[0][[2, 1, 1]])


def test_a_smaller_batch_gives_the_same_fields(pairs, solved):
    """After a lack of memory the engine goes on with smaller buffers: no field may change."""
    frames = np.concatenate([pairs[0][:1], pairs[1]])
    engine = CudaTVL1(20, 34, SMALL, DEVICE, batch=3)
    next(engine.flows(frames, np.array([[0, 2]] * 3)))
    engine.shrink(1)
    parts = list(engine.flows(frames, np.array([[0, 2], [0, 3]])))
    assert [(p.start, p.stop) for p, _ in parts] == [(0, 1), (1, 2)]
    assert torch.equal(torch.cat([f for _, f in parts]), solved[0][[1, 2]])
    with pytest.raises(ValueError, match="expected 1 to 1 pairs, got 2"):
        engine.shrink(2)


def test_pairs_from_a_reader_come_back_in_order(pairs, solved):
    """Batches are queued one ahead: a field under another pair's name would not be noticed."""
    first, still, little = pairs[0][0], pairs[1][1], pairs[1][2]
    read = iter([(first, still), (first, still), (first, little)])
    fields = list(calc_stream(read, SMALL, DEVICE, batch=2))
    expected = solved[0][[1, 1, 2]].permute(0, 2, 3, 1).cpu().numpy()
    np.testing.assert_array_equal(np.stack(fields), expected)
    assert list(calc_stream([], SMALL, DEVICE)) == []
    with pytest.raises(ValueError, match="expected one size"):
        list(calc_stream([(first, little), (first[:18], little[:18])], SMALL, DEVICE, 2))


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("Triton Error [CUDA]: out of memory"),
    ],
)
def test_a_reader_survives_a_lack_of_memory(pairs, solved, monkeypatch, error):
    """A long video must not be lost for a batch too large; the caller can name it."""
    solve = CudaTVL1._solve
    room = 1

    def scarce(self, frames, index, *rest):
        if len(index) > room:
            raise error
        solve(self, frames, index, *rest)

    monkeypatch.setattr(CudaTVL1, "_solve", scarce)
    first, still, little = pairs[0][0], pairs[1][1], pairs[1][2]
    read = [(first, still), (first, little), (first, still)]
    shrunk = []
    fields = calc_stream(read, SMALL, DEVICE, 3, lambda *sizes: shrunk.append(sizes))
    expected = solved[0][[1, 2, 1]].permute(0, 2, 3, 1).cpu().numpy()
    np.testing.assert_array_equal(np.stack(list(fields)), expected)
    assert shrunk == [(3, 1)]
    room = 0
    with pytest.raises(ValueError, match="no memory for the flow of a single pair of 34x20"):
        list(calc_stream(read, SMALL, DEVICE, 3))
    error = RuntimeError("another failure")
    with pytest.raises(RuntimeError, match="another failure"):
        list(calc_stream(read, SMALL, DEVICE, 3))


def test_a_stop_within_a_pass_is_kept(pairs):
    """Iterations beyond the stop, done before its error was known, must leave no trace."""
    options = TVL1Options(scales=1, warps=1, inner=6, outer=2, epsilon=0.05, median=1)
    result = []
    for stages in (1, 4):
        shape = Shape(warps=8, stages=stages)
        engine = CudaTVL1(20, 34, options, DEVICE, batch=2, shape=shape)
        flow = engine.calc_batch(on_device(pairs[0][[0, 2]]), on_device(pairs[1][[0, 2]]))
        result.append((flow.cpu(), engine.counts.cpu()[..., :2]))
    assert torch.equal(result[0][1], result[1][1])
    iterations = result[0][1][..., 0].flatten()
    assert ((iterations % 6) % 4 > 0).any(), "no pair stopped within a pass"
    # The same operations; only their contraction may differ between two compiled kernels.
    torch.testing.assert_close(result[0][0], result[1][0], atol=1e-4, rtol=0)


@needs_opencv5
def test_options_reach_the_on_device(pairs):
    """An option that the kernels ignore would silently give the default's flow."""
    options = TVL1Options(
        tau=0.2, lam=0.1, theta=0.4, scales=2, scale_step=0.85, warps=1, inner=3, outer=1, median=3
    )
    expected = numba_calc(pairs[0][0], pairs[1][0], options)
    result = calc(pairs[0][0], pairs[1][0], options)
    assert result.shape == (20, 34, 2)
    np.testing.assert_allclose(result, expected, atol=2e-3)  # as for the whole engine


def test_wrong_frames_are_refused():
    """Wrong types or sizes would be read as another image, or beyond the buffer."""
    engine = CudaTVL1(20, 34, SMALL, DEVICE, batch=2)
    grey = torch.zeros((2, 20, 34), dtype=torch.uint8)
    with pytest.raises(ValueError, match=r"expected uint8 \(B, 20, 34\), got float32"):
        engine.calc_batch(grey.float(), grey)
    with pytest.raises(ValueError, match=r"got uint8 \(2, 34, 20\)"):
        engine.calc_batch(grey, grey.transpose(1, 2))
    with pytest.raises(ValueError, match="as many second frames"):
        engine.calc_batch(grey, grey[:1])
    with pytest.raises(ValueError, match="frame numbers in 0 … 1, got 0 … 2"):
        next(engine.flows(grey, [[0, 2]]))
    with pytest.raises(ValueError, match="2x2"):
        CudaTVL1(1, 34, SMALL, DEVICE)
    with pytest.raises(ValueError, match="power of 2"):
        CudaTVL1(20, 34, SMALL, DEVICE, shape=Shape(warps=3))


def test_no_pairs_give_no_flow():
    """A video whose flow already exists asks for nothing."""
    engine = CudaTVL1(20, 34, SMALL, DEVICE, batch=2)
    none = torch.zeros((0, 20, 34), dtype=torch.uint8)
    assert engine.calc_batch(none, none).shape == (0, 2, 20, 34)
    assert list(engine.flows(none, np.zeros((0, 2), int))) == []


@needs_opencv5
@pytest.mark.skipif(not GPU, reason="needs a GPU: minutes a pair under the interpreter")
def test_full_size_is_within_the_gate():
    """The project's promise for paths that are not bit-identical, at the size it is used at."""
    height, width = 256, 340
    image = texture(height + 16, width + 16, 11)
    moves = [(0.5, -0.25), (3.0, 1.0), (-6.0, 2.5), (0.0, 0.0)]
    first = np.stack([view(image, 0, 0, height, width)] * len(moves))
    second = np.stack([view(image, dx, dy, height, width) for dx, dy in moves])
    result = calc_batch(on_device(first), on_device(second)).permute(0, 2, 3, 1).cpu().numpy()
    expected = np.stack([numba_calc(a, b) for a, b in zip(first, second, strict=True)])
    assert np.linalg.norm(result - expected, axis=-1).mean() <= 0.03
    levels = [quantise(f, 20.0).astype(int) for f in (result, expected)]
    assert (abs(levels[0] - levels[1]) <= 1).mean() >= 0.99


@pytest.mark.skipif(not GPU, reason="needs a GPU: measures its memory")
def test_memory_stays_within_what_was_shrunk():
    """A batch chosen from a figure that is too small would run out of memory."""
    engine = CudaTVL1(120, 160, TVL1Options(warps=1, inner=2, outer=1), DEVICE, batch=32)
    frames = torch.zeros((32, 120, 160), dtype=torch.uint8, device=DEVICE)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    engine.calc_batch(frames, frames)
    # Tables and indices are not counted: under a megabyte, and the allocator's rounding.
    assert torch.cuda.max_memory_allocated() - before <= engine.memory_bytes + (4 << 20)
