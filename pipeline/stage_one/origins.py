"""Where the weights of each trunk come from, what is adapted in them, and what that needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from data.errors import InputError
from model.features.options import AUTO, INFLATED_PARTS, NONE, FusionOptions, TrunkOptions
from pipeline.stage_one.weights import read_state

#: Kinds of fusion that are made here; anything else names a checkpoint of fit-fusion.
OWN_FUSIONS = ("random", "pca")


def origins(trunk: TrunkOptions) -> dict[str, str]:
    """Where the weights of each trunk come from: "random", "imagenet", or a file."""
    rgb = trunk.rgb_weights or trunk.weights
    return {"rgb": rgb, "flow": trunk.flow_weights or rgb}


def adapted_parts(trunk: TrunkOptions) -> tuple[str, ...]:
    """Return what is adapted in the flow trunk, of FLOW_PARTS; nothing in a random one.

    Raises
    ------
    InputError
        The flow trunk's file cannot be read, or has a stem for flow and shall get another.
    """
    if origins(trunk)["flow"] == "random" or trunk.adapt_flow == NONE:
        return ()
    if trunk.adapt_flow == AUTO:
        return INFLATED_PARTS if _is_inflated(trunk) else ()
    parts = tuple(trunk.adapt_flow.split(","))
    if "stem" in parts and not _is_inflated(trunk):
        raise InputError(
            f"--adapt-flow stem: {trunk.flow_weights} has a first convolution of its own for flow; "
            "leave stem out"
        )
    return parts


def resolved(trunk: TrunkOptions) -> TrunkOptions:
    """Return the options with what `adapt_flow` comes to, as caches record it."""
    return replace(trunk, adapt_flow=",".join(adapted_parts(trunk)) or NONE)


def stored_trunk(values: Mapping[str, Any]) -> TrunkOptions:
    """Return the options that a stage-one file records; earlier versions adapted nothing."""
    return TrunkOptions(**{"adapt_flow": NONE, **values})


def needs_training_snippets(trunk: TrunkOptions, fusion: FusionOptions) -> bool:
    """Whether anything is estimated from training videos."""
    fitted = "random" in origins(trunk).values() or fusion.fusion == "pca"
    return fitted or "statistics" in adapted_parts(trunk)


def _is_inflated(trunk: TrunkOptions) -> bool:
    """Whether the flow trunk's weights have a stem for pictures of three colours."""
    if trunk.flow_weights is None:
        return True
    path = Path(trunk.flow_weights)
    if not path.is_file():
        read_state(path)  # Says so.
    state = path.stat()
    return _stem_channels(path, state.st_mtime_ns, state.st_size) == 3


@lru_cache(maxsize=4)
def _stem_channels(path: Path, mtime: int, size: int) -> int:
    """Return the channels that a file's first convolution takes; 0 where it has none."""
    from model.features.keys import rename

    try:
        stem = rename(read_state(path)).get("conv1.weight")
    except ValueError:  # Several networks: refused where the weights are fitted.
        return 0
    return int(stem.shape[1]) if stem is not None and stem.ndim == 4 else 0
