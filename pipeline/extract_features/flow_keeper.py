"""Flow caches written beside features that are computed from the same fields."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data.cache.flow import create_flow
from data.cache.header import Header
from data.options import FlowOptions
from pipeline.extract_features.writing import abandon
from pipeline.runner.files import check_room

if TYPE_CHECKING:
    from torch import Tensor


class FlowKeeper:
    """The flow cache of one video, as extract-flow would write it: whole or not at all.

    Parameters
    ----------
    path : Path
    header : Header
    pairs : ndarray (P, 2) int64
        First and second frame of each pair.
    frame_time : ndarray (F,) float64
        Seconds of every decoded frame.
    options : FlowOptions
    """

    def __init__(
        self,
        path: Path,
        header: Header,
        pairs: np.ndarray,
        frame_time: np.ndarray,
        options: FlowOptions,
    ) -> None:
        self._stack: ExitStack | None = None
        self._open: dict[str, Any] = {
            "path": path,
            "header": header,
            "pairs": pairs,
            "frame_time": frame_time,
            "bound": options.bound,
            "dtype": options.dtype,
        }

    def put(self, rows: np.ndarray, flow: Tensor) -> None:
        """Store fields (B, 2, H, W) float32 px of the given rows of the pairs."""
        fields = flow.permute(0, 2, 3, 1).cpu().numpy()
        check_room(self._open["path"])
        if self._stack is None:
            self._stack = ExitStack()
            height, width = fields.shape[1:3]
            self._writer = self._stack.enter_context(
                create_flow(**self._open, height=height, width=width)
            )
        for row, field in zip(rows, fields, strict=True):
            self._writer.put(int(row), field)

    def close(self) -> None:
        """Finish the file and move it into place."""
        if self._stack is not None:
            stack, self._stack = self._stack, None
            stack.close()

    def abort(self) -> None:
        """Leave nothing of a file that is not finished."""
        if self._stack is not None:
            stack, self._stack = self._stack, None
            abandon(stack)
