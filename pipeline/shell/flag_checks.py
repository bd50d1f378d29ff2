"""Flags that have no effect next to the weights of `extract-features`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from pipeline.shell.console import log
from pipeline.shell.flags import explicit_flags

if TYPE_CHECKING:
    from model.features.options import FusionOptions, TrunkOptions


def check_weights(ctx: click.Context, trunk: TrunkOptions, fusion: FusionOptions) -> None:
    """Warn of flags that the requested weights ignore."""
    from pipeline.stage_one.networks import DRAWN, needs_training_snippets

    unused = {}
    if trunk.rgb_weights is not None:
        unused["weights"] = "--rgb-weights, from which the flow trunk starts too"
    if not needs_training_snippets(trunk, fusion):
        for name in ("training_videos", "training_snippets"):
            unused[name] = "trunks with weights and a fusion that are not fitted"
    if fusion.fusion != "random":
        unused["fusion_hidden"] = f"--fusion {fusion.fusion}"
    if fusion.fusion not in DRAWN:
        unused["fusion_channels"] = f"--fusion {fusion.fusion}, which has its own"
    for name in sorted(unused.keys() & explicit_flags(ctx)):
        log.warning("--%s has no effect beside %s", name.replace("_", "-"), unused[name])
