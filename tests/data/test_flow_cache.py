"""Flow caches: what is stored is what was computed, and any missing pair is named."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.cache import flow as flow_cache
from data.cache.folder import cache_problems, content_digest, create_cache
from data.cache.header import Header
from data.errors import CacheError

PAIRS = np.array([[0, 1], [1, 2], [2, 3], [5, 6]])
TIMES = np.array([0.0, 0.04, 0.1, 0.14, 0.2, 0.24, 0.3])


def write(
    path: Path,
    fields: np.ndarray,
    dtype: Literal["uint8", "float16"] = "uint8",
    rows: Sequence[int] = range(4),
) -> None:
    height, width = fields.shape[1:3]
    with flow_cache.create_flow(
        path,
        Header("flow", source="/videos/a.mp4"),
        pairs=PAIRS,
        frame_time=TIMES,
        height=height,
        width=width,
        bound=20.0,
        dtype=dtype,
    ) as writer:
        for row in rows:
            writer.put(row, fields[row])


def some_fields() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 8, (4, 6, 9, 2)).astype(np.float32)


@given(st.floats(-200, 200, width=32), st.sampled_from([5.0, 15.0, 20.0, 33.3]))
def test_quantised_flow_is_within_half_a_level(value: float, bound: float) -> None:
    """Stored motion is off by more than rounding, or clips on one side only."""
    level = flow_cache.quantise(np.array([value], np.float32), bound)
    assert 1 <= level[0] <= 255
    back = flow_cache.dequantise(level, bound / 127, 128.0)[0]
    # Half a level, and float32 rounding of products of about `bound`.
    assert abs(back - np.clip(value, -bound, bound)) <= bound / 254 + 1e-5 * bound
    mirrored = flow_cache.quantise(np.array([-value], np.float32), bound)
    assert int(mirrored[0]) + int(level[0]) == 256


def test_zero_is_exact_and_bound_positive() -> None:
    """Still pixels read as moving (OpenCV's 127.5 offset), or a nonsense bound passes."""
    assert flow_cache.quantise(np.zeros(3, np.float32), 20).tolist() == [128] * 3
    assert flow_cache.dequantise(np.array([128], np.uint8), 20 / 127, 128)[0] == 0
    with pytest.raises(ValueError, match="bound"):
        flow_cache.quantise(np.zeros(3, np.float32), 0)


@pytest.mark.parametrize("dtype", ["uint8", "float16"])
def test_layout_is_the_published_one(tmp_path: Path, dtype: Literal["uint8", "float16"]) -> None:
    """Another program that follows the documented layout reads other values."""
    fields = some_fields()
    write(tmp_path / "a.h5", fields, dtype)
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["flow"].shape == (4, 2, 6, 9)
        assert file["flow"].dtype == dtype
        assert file["flow"].chunks == (1, 2, 6, 9)
        assert (file["flow"].compression, file["flow"].compression_opts) == ("gzip", 1)
        assert file["frame_index"][()].tolist() == [0, 1, 2, 5]
        assert file["next_index"][()].tolist() == [1, 2, 3, 6]
        assert file["frame_index"].dtype == np.int64
        assert file["time"][()].tolist() == [0.0, 0.04, 0.1, 0.24]
        assert file["frame_time"][()].tolist() == TIMES.tolist()
        assert file.attrs["complete"]
        for place in (file, file["flow"]):
            px = (file["flow"][()].astype(float) - place.attrs["offset"]) * place.attrs["scale"]
            # uint8: half a level of 20/127 px; float16: 11 bits of a value below 32.
            tolerance = 20 / 254 + 1e-4 if dtype == "uint8" else 2**-7
            expected = fields.transpose(0, 3, 1, 2)
            if dtype == "uint8":
                expected = np.clip(expected, -20, 20)
            np.testing.assert_allclose(px, expected, rtol=0, atol=tolerance)


def test_reading_gives_rows_fields_and_times(tmp_path: Path) -> None:
    """Stacks are filled with the fields of other pairs."""
    fields = some_fields()
    write(tmp_path / "a.h5", fields)
    with flow_cache.open_flow(tmp_path / "a.h5") as opened:
        assert len(opened) == 4
        wanted = np.array([[[5, 6], [0, 1]], [[2, 3], [2, 3]]])
        assert opened.rows(wanted).tolist() == [[3, 0], [2, 2]]
        stored = flow_cache.quantise(fields[3].transpose(2, 0, 1), 20.0)
        np.testing.assert_array_equal(opened.read(3), stored)
        np.testing.assert_array_equal(
            opened.read_px(3), flow_cache.dequantise(stored, opened.scale, opened.offset)
        )
        with pytest.raises(CacheError, match=r"2 of 3 pairs.*3 → 4.*extract-flow.*/videos/a\.mp4"):
            opened.rows(np.array([[0, 1], [3, 4], [4, 5]]))


@pytest.mark.parametrize(
    "options", [{}, {"compression": "gzip", "shuffle": True}, {"chunks": True}]
)
def test_repacked_fields_are_read(tmp_path: Path, options: dict[str, Any]) -> None:
    """A cache whose chunks another program wrote comes out as noise."""
    write(tmp_path / "a.h5", some_fields())
    with flow_cache.open_flow(tmp_path / "a.h5") as opened:
        expected = [opened.read(row) for row in range(4)]
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        values, attributes = file["flow"][()], dict(file["flow"].attrs)
        del file["flow"]
        file.create_dataset("flow", data=values, **options).attrs.update(attributes)
    with flow_cache.open_flow(tmp_path / "a.h5") as opened:
        for row in range(4):
            np.testing.assert_array_equal(opened.read(row), expected[row])


def test_a_damaged_field_is_named(tmp_path: Path) -> None:
    """A bit that fell over ends a run without saying in which file."""
    write(tmp_path / "a.h5", some_fields())
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file["flow"].id.write_direct_chunk((2, 0, 0, 0), b"damaged")
    with flow_cache.open_flow(tmp_path / "a.h5") as opened:
        with pytest.raises(CacheError, match=r"a\.h5: field 2 cannot be read"):
            opened.read(2)
        opened.read(3)


def test_missing_field_or_wrong_shape_leaves_no_file(tmp_path: Path) -> None:
    """A stage that forgot a field leaves a cache with zeros that looks complete."""
    with pytest.raises(CacheError, match="1 fields were never written"):
        write(tmp_path / "a.h5", some_fields(), rows=range(3))
    with pytest.raises(ValueError, match="expected a flow field of shape"):
        write(tmp_path / "a.h5", some_fields()[..., :1])
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("rows", [(0, 1, 2, 3), (0, 1, 3, 2), (1, 0, 2, 3), (0, 1, 1, 2, 3)])
@pytest.mark.parametrize("dtype", ["uint8", "float16"])
def test_digest_is_that_of_what_can_be_read(
    tmp_path: Path, rows: tuple[int, ...], dtype: Literal["uint8", "float16"]
) -> None:
    """A digest taken while writing is another than `inspect --verify` and later stages find."""
    write(tmp_path / "a.h5", some_fields(), dtype, rows)
    assert cache_problems(tmp_path / "a.h5") == []
    write(tmp_path / "b.h5", some_fields(), dtype)
    assert content_digest(tmp_path / "a.h5") == content_digest(tmp_path / "b.h5")


def test_clipped_share_is_recorded(tmp_path: Path) -> None:
    """A bound too small for fast hands goes unnoticed."""
    fields = np.zeros((4, 6, 9, 2), np.float32)
    fields[1, :, :, 0] = 25
    write(tmp_path / "a.h5", fields)
    with flow_cache.open_flow(tmp_path / "a.h5") as opened:
        assert opened.clipped == pytest.approx(1 / 8)


def test_feature_caches_are_refused(tmp_path: Path) -> None:
    """Features are read as flow when two folders are confused."""
    with create_cache(tmp_path / "a.h5", Header("features")) as file:
        file["maps"] = np.zeros(3)
    with (
        pytest.raises(CacheError, match="expected a flow cache, found features"),
        flow_cache.open_flow(tmp_path / "a.h5"),
    ):
        pass
