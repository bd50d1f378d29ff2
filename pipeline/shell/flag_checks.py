"""Flags that contradict each other or do nothing beside others: told before any work is done."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from data.errors import InputError
from data.options import FlowOptions
from model.tvl1.options import TVL1Options
from pipeline.shell.console import log

if TYPE_CHECKING:
    from model.features.options import FusionOptions, TrunkOptions

#: Flags that one plan looks at and the other does not.
_PLAN_FLAGS = {"segments": ("segments", "candidates"), "dense": ("stride",)}


def given_flags(ctx: click.Context) -> set[str]:
    """Names of the parameters that stand on the command line."""
    return {
        name for name in ctx.params if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }


def check_plan_and_size(ctx: click.Context) -> None:
    """Refuse two sizes of flow; tell of flags that the plan does not look at."""
    given = given_flags(ctx)
    if {"size", "short_side"} <= given:
        raise InputError("--size and --short-side exclude each other: give one of them")
    plan = ctx.params["plan"]
    other = "dense" if plan == "segments" else "segments"
    for name in sorted(given.intersection(_PLAN_FLAGS[other])):
        log.warning("--%s has no effect on --plan %s; add --plan %s to use it", name, plan, other)


def refuse_flow_options(ctx: click.Context) -> None:
    """Refuse options of flow beside --flow, where they would do nothing."""
    fields = (*dataclasses.fields(FlowOptions), *dataclasses.fields(TVL1Options))
    names = {"engine", *(field.name for field in fields)} & given_flags(ctx)
    for param in ctx.command.params:
        if param.name in names:
            raise InputError(
                f"{param.opts[0]} has no effect on flow that was computed before; give it to "
                "extract-flow, or leave --flow out"
            )


def check_weights(ctx: click.Context, trunk: TrunkOptions, fusion: FusionOptions) -> None:
    """Tell of flags that the weights asked for do not look at."""
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
    for name in sorted(unused.keys() & given_flags(ctx)):
        log.warning("--%s has no effect beside %s", name.replace("_", "-"), unused[name])
