"""Flow fields as the 8-bit levels that trunks see: computed in batches, kept while needed.

On a GPU nothing leaves the device: grey pictures come in, stacks go on to the flow trunk.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from data.errors import VideoError
from data.options import FlowOptions
from model.memory import is_out_of_memory
from model.tvl1.options import TVL1Options
from pipeline.extract_flow.fields import compute_field
from pipeline.extract_flow.video import clipped_notice
from pipeline.shell.console import log

if TYPE_CHECKING:
    from pipeline.extract_features.direct_flow import Group
    from pipeline.extract_features.flow_keeper import FlowKeeper

#: Frame sizes whose engines are kept: each has buffers for a batch.
_ENGINES = 3

#: Computes the fields (B, 2, H, W) float32 px of some of the pairs (P, 2) of grey pictures
#: (F, H, W), in order, and says which; the name is the video's, for messages.
Flows = Callable[[Tensor, np.ndarray, str], Iterator[tuple[slice, Tensor]]]


def cpu_flows(engine: str, options: TVL1Options, workers: int = 1) -> Flows:
    """Return what computes fields with a CPU engine, in so many threads.

    The engines let other threads run while they compute.
    """

    def field(pair: tuple[np.ndarray, np.ndarray]) -> Tensor:
        flow = compute_field(*pair, engine, options)
        return torch.from_numpy(np.ascontiguousarray(flow.transpose(2, 0, 1)))[None]

    def flows(greys: Tensor, pairs: np.ndarray, name: str) -> Iterator[tuple[slice, Tensor]]:
        pictures = greys.numpy()
        items = [(pictures[first], pictures[second]) for first, second in pairs]
        with ThreadPoolExecutor(workers) as pool:
            fields = map(field, items) if workers == 1 else pool.map(field, items)
            for row, flow in enumerate(fields):
                yield slice(row, row + 1), flow

    return flows


class DeviceFlow:
    """The CUDA engine on one device, whatever the memory allows.

    Out of memory halves the batch for good, names the video, and goes on where it was.

    Parameters
    ----------
    options : TVL1Options
    device : str or torch.device
    make : callable, optional
        Makes the engine of a frame size, as `model.tvl1.cuda.engine.CudaTVL1` does.
    """

    def __init__(
        self,
        options: TVL1Options,
        device: str | torch.device,
        make: Callable[..., Any] | None = None,
    ) -> None:
        self._options = options
        self.device = torch.device(device)
        self._make = make
        # By frame size, the last one used at the end.
        self._engines: OrderedDict[tuple[int, int], Any] = OrderedDict()

    def __call__(
        self, greys: Tensor, pairs: np.ndarray, name: str
    ) -> Iterator[tuple[slice, Tensor]]:
        """Compute the fields of pairs of one video, a batch at a time."""
        done = 0
        while done < len(pairs):
            try:
                begin = done
                engine = self._engine_for((greys.shape[1], greys.shape[2]), name)
                for part, flow in engine.flows(greys, pairs[begin:]):
                    done = begin + part.stop
                    yield slice(begin + part.start, done), flow
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                self._shrink((greys.shape[1], greys.shape[2]), name, error)

    def _engine_for(self, size: tuple[int, int], name: str) -> Any:
        if size not in self._engines:
            while len(self._engines) >= _ENGINES:
                self._engines.popitem(last=False)
            if self._make is None:
                from model.tvl1.cuda.engine import CudaTVL1

                self._make = CudaTVL1
            try:
                self._engines[size] = self._make(*size, self._options, self.device)
            except ValueError as error:  # Not even one pair fits.
                raise VideoError(str(error)) from error
        self._engines.move_to_end(size)
        return self._engines[size]

    def _shrink(self, size: tuple[int, int], name: str, error: Exception) -> None:
        engine = self._engines.get(size)
        if engine is None or engine.batch == 1:
            raise VideoError(
                f"{self.device} has no memory for the flow of a single pair; use a smaller "
                "--short-side or another --device"
            ) from error
        before = engine.batch
        engine.shrink(before // 2)
        log.warning(
            "%s: out of memory on %s with the flow of %d pairs; going on with %d",
            name,
            self.device,
            before,
            engine.batch,
        )


class FieldWindow(AbstractContextManager["FieldWindow"]):
    """The fields of one video as levels: each computed once, kept while a later stack needs it.

    Parameters
    ----------
    name : str
        The video, for messages.
    flows : Flows
    options : FlowOptions
        Bound and type that a cache of this flow has.
    resize : callable, optional
        Makes what is kept from levels (P, 2, H, W).
    keeper : FlowKeeper, optional
        Gets every field too.
    """

    def __init__(
        self,
        name: str,
        flows: Flows,
        options: FlowOptions,
        resize: Callable[[Tensor], Tensor] | None = None,
        keeper: FlowKeeper | None = None,
    ) -> None:
        self._name = name
        self._flows = flows
        self._options = options
        self._resize = resize
        self._keeper = keeper
        self._rows = np.empty(0, np.int64)
        self._kept: Tensor | None = None
        self._clipped: list[Tensor] = []
        self._values = 0

    def stacks(self, group: Group) -> Tensor:
        """Compute the stacks (B, 2L, ·, ·) uint8 of the next snippets: u₁ v₁ u₂ v₂, and so on."""
        if len(group.pairs):
            levels = self._levels(group)
            levels = levels if self._resize is None else self._resize(levels)
            self._kept = levels if self._kept is None else torch.cat([self._kept, levels])
            self._rows = np.concatenate([self._rows, group.pair_rows])
        if self._kept is None:
            raise ValueError(f"{self._name}: expected at least one pair, got none")
        kept = self._kept
        index = torch.from_numpy(np.searchsorted(self._rows, group.fields))
        stacks = kept[index.to(kept.device, non_blocking=True)].flatten(1, 2)
        # Windows never go back: what the last one does not need is not needed any more.
        first = int(np.searchsorted(self._rows, group.fields[-1].min()))
        self._kept, self._rows = kept[first:].clone(), self._rows[first:]
        return stacks

    def _levels(self, group: Group) -> Tensor:
        levels: list[Tensor] = []
        for part, flow in self._flows(group.greys, group.pairs, self._name):
            if self._keeper is not None:
                self._keeper.put(group.pair_rows[part], flow)
            self._clipped.append((flow.abs() > self._options.bound).sum())
            self._values += flow.numel()
            if self._options.dtype == "float16":
                flow = flow.half().float()
            levels.append(quantise(flow, self._options.bound))
        return torch.cat(levels)

    @property
    def clipped(self) -> float:
        """Share of the values so far that lay beyond the bound."""
        return sum(int(count) for count in self._clipped) / max(self._values, 1)

    def close(self) -> None:
        """Finish the video's flow cache, if one is kept; say when much flow was clipped."""
        if self._keeper is not None:
            self._keeper.close()
        for notice in clipped_notice(self.clipped, self._options.bound):
            log.warning("%s: %s", self._name, notice)

    def abort(self) -> None:
        """Leave nothing of the flow cache, unless it was finished."""
        if self._keeper is not None:
            self._keeper.abort()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Drop what was not finished."""
        self.abort()


# Levels between zero motion and the bound, as in flow caches.
_LEVELS_A_SIDE = 127
_LEVEL_OF_ZERO = 128


def quantise(flow: Tensor, bound: float) -> Tensor:
    """Round flow to the 8-bit levels of a flow cache, on the device that it is on.

    Parameters
    ----------
    flow : Tensor (…,) float32
        Displacement in px.
    bound : float
        Displacement in px of the levels 1 and 255.

    Returns
    -------
    Tensor (…,) uint8
        128 + round(flow · 127 / bound), ties to even, within 1 … 255.
    """
    if not bound > 0:
        raise ValueError(f"the bound is a displacement above 0 px, got {bound}")
    # The factor is rounded to float32 first, as `data.cache.flow.quantise` does.
    levels = torch.round(flow * float(np.float32(_LEVELS_A_SIDE / bound)))
    return (levels.clamp(-_LEVELS_A_SIDE, _LEVELS_A_SIDE) + _LEVEL_OF_ZERO).to(torch.uint8)
