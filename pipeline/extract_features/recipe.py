"""How extract-features computes flow where it gets no flow caches."""

from __future__ import annotations

from collections.abc import Sequence

from data.errors import InputError
from data.options import FlowOptions, PlanOptions
from model.tvl1.options import TVL1Options
from pipeline.extract_flow.settings import FlowSettings, choose_engine
from pipeline.shell.console import log


def resolve_engine(engine: str, devices: Sequence[str]) -> str:
    """Return the engine for the networks' devices: on GPUs the CUDA engine, unless it cannot run.

    Raises
    ------
    InputError
        The engine asked for cannot run, or not on these devices.
    """
    from model.tvl1.cuda.runtime import available, interpreted

    on_cuda = all(device.startswith("cuda") for device in devices)
    if engine == "auto" and on_cuda:
        usable, why = available()
        if usable:
            return "cuda"
        log.warning("flow is computed on the CPU, for the CUDA engine cannot run: %s", why)
        return choose_engine("auto", "cpu")
    if engine == "cuda" and not on_cuda and not interpreted():
        raise InputError(
            f"--engine cuda computes flow on the networks' device, which is {', '.join(devices)}; "
            "choose a GPU with --device, or --engine auto"
        )
    return choose_engine(engine, devices[0] if on_cuda else "cpu")


def make_recipe(
    plan: PlanOptions,
    flow: FlowOptions,
    tvl1: TVL1Options,
    engine: str,
    devices: Sequence[str],
    strict: bool,
) -> FlowSettings:
    """Put together how flow is computed, with the parameters that extract-flow would record."""
    return FlowSettings(
        plan=plan,
        flow=flow,
        tvl1=tvl1,
        engine=resolve_engine(engine, devices),
        device=devices[0] if devices[0].startswith("cuda") else "cuda",
        strict=strict,
    )
