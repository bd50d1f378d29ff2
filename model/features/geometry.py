"""Where the cells of a map lie in the frame, and how many cells a side has."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

STRIDE = {"conv5": 32, "conv4": 16}  # a trunk halves its input five times, or four


def stream_side(input_size: int, trunk_stage: str) -> int:
    """Return the side of a stream map for a trunk input of `input_size` px."""
    return -(-input_size // STRIDE[trunk_stage])


def fused_side(stream_side: int) -> int:
    """Return the side of the fused map for a stream map's side.

    Raises
    ------
    ValueError
        When the stream map is smaller than ConvFusion's 2×2 window.
    """
    if stream_side < 2:
        raise ValueError(
            f"ConvFusion needs stream maps of 2x2 or more, got {stream_side}x{stream_side}"
        )
    return stream_side // 2


@dataclass(frozen=True, kw_only=True)
class MapGeometry:
    """Where the cells of a map lie in the frame, as shares of its width, and of its height.

    A cell looks at its receptive field and lies at the centre of that field. Each halving of the
    trunk (kernels 7 and 3, padded; 1×1 at the shortcuts) keeps pixel 2i, so cell i of a stream map
    has its centre on pixel stride · i, not in the middle of the i-th tile; ConvFusion's 2×2
    windows, not padded, lie between two of these. Measured on ResNet101 at 448 px: the squared
    gradient of fused cell 3 has its centroid at 204 … 209 px; 208.5 is right, 224 is the middle of
    the tile. Frames are resized to a square whatever their aspect: shares are the same in x and y.

    Attributes
    ----------
    cell : float
        From one cell's centre to the next.
    first : float
        Centre of the first cell.
    edge : float
        Where the last cell ends. The frame beyond it is nearest to cells that were dropped:
        ConvFusion leaves out the last row and column of an odd stream map. 1 where none is dropped.
    """

    cell: float
    first: float
    edge: float = 1.0

    @classmethod
    def of(cls, input_size: int, trunk_stage: str) -> MapGeometry:
        """Return the geometry of fused maps for a trunk input of `input_size` px.

        The convolutions with which `video_lstm` halves stream maps have ConvFusion's windows.

        Parameters
        ----------
        input_size : int
        trunk_stage : {"conv5", "conv4"}
        """
        stride, side = STRIDE[trunk_stage], stream_side(input_size, trunk_stage)
        dropped = side % 2 and (stride * (side - 1.5) + 0.5) / input_size
        first = (stride / 2 + 0.5) / input_size
        return cls(cell=2 * stride / input_size, first=first, edge=dropped or 1.0)

    @classmethod
    def even(cls, count: int) -> MapGeometry:
        """Return the geometry of a map whose `count` cells a side are equal parts of the frame."""
        return cls(cell=1 / count, first=0.5 / count)

    def centres(self, count: int) -> NDArray[np.float64]:
        """Return the centres of `count` cells, (count,)."""
        return self.first + np.arange(count, dtype=np.float64) * self.cell

    def bounds(self, count: int) -> NDArray[np.float64]:
        """Return where `count` cells begin, and where the last one ends, (count + 1,)."""
        return np.array([0.0, *(self.centres(count)[1:] - self.cell / 2), self.edge])
