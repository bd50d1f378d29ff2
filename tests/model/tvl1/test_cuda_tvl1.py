"""The CUDA TV-L1 engine where no GPU is needed: layout, memory, messages.

Its kernels are tested in test_cuda_tvl1_kernels.py and test_cuda_tvl1_engine.py, which run as
they are on a machine with a GPU, and in a child process under Triton's interpreter otherwise.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.tvl1.cuda.calc import calc
from model.tvl1.cuda.engine import CudaTVL1
from model.tvl1.cuda.layout import LANES, cut, layout_of, memory_bytes, resize_table
from model.tvl1.cuda.runtime import available
from model.tvl1.options import TVL1Options

KERNELS = [
    str(Path(__file__).with_name(f"test_cuda_tvl1_{part}.py")) for part in ("kernels", "engine")
]


@pytest.mark.skipif(torch.cuda.is_available(), reason="the kernel tests run on the GPU itself")
def test_kernels_under_the_interpreter():
    """Without a GPU the kernels would go untested: the interpreter must be set before Triton."""
    triton = pytest.importorskip("triton")
    if tuple(int(part) for part in triton.__version__.split(".")[:2]) < (3, 9):
        # Its compiler takes them: see the compilation test.
        pytest.skip(f"the interpreter of Triton {triton.__version__} has no tuples of tensors")
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *KERNELS],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert result.returncode == 0, result.stdout[-6000:] + result.stderr[-2000:]
    assert "passed" in result.stdout


@given(
    height=st.integers(2, 700),
    width=st.integers(2, 700),
    halo=st.integers(0, 4),
    slots=st.sampled_from([1, 2, 8, 16, 32]),
)
def test_cut_covers_every_pixel_once(height, width, halo, slots):
    """A gap would leave pixels without flow; a chunk of nothing would waste a warp."""
    parts = cut(height, width, halo, slots)
    own = LANES - 2 * halo
    assert (parts.strips - 1) * own < width <= parts.strips * own
    assert (parts.chunks - 1) * parts.chunk_rows < height <= parts.chunks * parts.chunk_rows


def test_small_levels_are_cut_into_chunks_so_that_no_warp_idles():
    """A coarse level has fewer strips than a block has warps; whole strips would idle half."""
    assert cut(131, 174, 2, 16).chunks > 1


@settings(max_examples=30, deadline=None)
@given(
    height=st.integers(16, 90),
    width=st.integers(16, 90),
    step=st.sampled_from([0.5, 0.7, 0.8, 0.9]),
)
def test_resize_tables_are_those_of_opencv(height, width, step):
    """Other positions would shift the pyramid, and every flow with it."""
    image = np.random.default_rng(height).random((height, width)).astype(np.float32) * 255
    smaller = cv2.resize(image, None, fx=step, fy=step, interpolation=cv2.INTER_LINEAR)
    back = cv2.resize(smaller, (width, height), interpolation=cv2.INTER_LINEAR)
    # float32 sums of four products of up to 255, in another order.
    np.testing.assert_allclose(_resize(image, smaller.shape, (1 / step,) * 2), smaller, atol=2e-4)
    scale = (smaller.shape[0] / height, smaller.shape[1] / width)
    np.testing.assert_allclose(_resize(smaller, image.shape, scale), back, atol=2e-4)


def _resize(image, shape, scale):
    for axis in (0, 1):
        source = image.shape[axis]
        place, weight = resize_table(source, shape[axis], scale[axis])
        weight = weight[:, None] if axis == 0 else weight
        after = np.minimum(place + 1, source - 1)
        image = np.take(image, place, axis) * (1 - weight) + np.take(image, after, axis) * weight
    return image


def test_layout_has_opencvs_levels_and_thresholds():
    """A level more or less, or another stopping threshold, is another method."""
    layout = layout_of(256, 340, TVL1Options())
    assert layout.sizes == ((256, 340), (205, 272), (164, 218), (131, 174), (105, 139))
    np.testing.assert_allclose(layout.thresholds, [1e-4 * h * w for h, w in layout.sizes])
    small = layout_of(20, 24, TVL1Options())
    assert small.sizes == ((20, 24), (16, 19))


def test_layout_keeps_levels_and_tables_apart():
    """Overlapping levels would overwrite each other on the device."""
    layout = layout_of(64, 80, TVL1Options())
    ends = [start + 3 * h * w for start, (h, w) in zip(layout.starts, layout.sizes, strict=True)]
    assert list(layout.starts[1:]) == ends[:-1]
    assert ends[-1] == layout.frame_stride
    for (h, w), row in zip(layout.sizes[:-1], layout.levels[:-1], strict=True):
        for start, target, source in ((row[9], h, round(h * 0.8)), (row[10], w, round(w * 0.8))):
            place, weight = resize_table(source, target, source / target)
            np.testing.assert_array_equal(layout.places[start : start + target], place)
            np.testing.assert_array_equal(layout.weights[start : start + target], weight)


def test_memory_grows_with_the_batch_and_counts_every_buffer():
    """A figure under the true one would run out of device memory; see the engine's buffers."""
    one = memory_bytes(256, 340, None, 1)
    assert memory_bytes(256, 340, None, 64) == 64 * one
    pixels = 256 * 340
    pyramid = sum(h * w for h, w in layout_of(256, 340, TVL1Options()).sizes)
    # 15 planes of 11 x 8192 numbers, flow; two frames with gradients.
    assert one == 90112 * 15 * 4 + pixels * 2 * 4 + 2 * (pixels + pyramid * 3 * 4)


@pytest.fixture
def fresh():
    available.cache_clear()
    yield
    available.cache_clear()


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_a_gpu_one_line_says_so(fresh, monkeypatch):
    """A user without a GPU must read the reason and what to use instead, not a traceback."""
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    pytest.importorskip("triton")
    assert available() == (False, "PyTorch sees no CUDA device")
    with pytest.raises(ValueError, match="no CUDA device; use engine numba or opencv") as error:
        CudaTVL1(24, 24)
    assert "\n" not in str(error.value)
    grey = np.zeros((24, 24), np.uint8)
    with pytest.raises(ValueError, match="no CUDA device"):
        calc(grey, grey)


def test_cuda_without_triton_falls_back_with_one_line(fresh, monkeypatch):
    """A machine with CUDA but no Triton must name Triton and how to get it."""
    monkeypatch.setitem(sys.modules, "triton", None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    runs, reason = available()
    assert not runs
    assert "Triton cannot be imported" in reason
    assert "pip install triton" in reason
    with pytest.raises(ValueError, match="use engine numba or opencv"):
        CudaTVL1(24, 24)


def test_triton_that_cannot_start_is_told(fresh, monkeypatch):
    """Older Triton needs a C compiler; its own failure would come at the first launch."""
    triton = pytest.importorskip("triton")
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *device: (9, 0))
    monkeypatch.setattr("model.tvl1.cuda.runtime.why_unusable", lambda device: None)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)

    def fails():
        raise RuntimeError("Failed to find C compiler.\nmore lines")

    class Driver:
        get_current_target = staticmethod(fails)

    monkeypatch.setattr(triton.runtime.driver, "_active", Driver(), raising=False)
    runs, reason = available()
    assert not runs
    assert "Failed to find C compiler." in reason
    assert "\n" not in reason


def test_old_triton_and_old_gpus_are_told(fresh, monkeypatch):
    """Both would fail later, inside a kernel's compilation."""
    language = pytest.importorskip("triton.language")
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (6, 1))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "GTX 1080")
    assert "GTX 1080" in available()[1]
    available.cache_clear()
    monkeypatch.delattr(language, "gather")
    assert "too old" in available()[1]
