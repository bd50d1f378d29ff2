"""What workers of extract-flow are told, what they hand back, and what caches record of it."""

from __future__ import annotations

import importlib.metadata
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from data.errors import InputError
from data.options import FlowOptions, PlanOptions
from model.tvl1.options import TVL1Options
from pipeline.shell.console import log, log_if_slow

_DEVICES = re.compile(r"auto|(cpu|cuda)(:\d+)?( *, *(cpu|cuda)(:\d+)?)*")
#: Present where a GPU may be: only then is PyTorch, which takes seconds to import, asked for one.
NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")
#: How `pipeline.extract_flow.frames.prepare` works, as recorded in the caches.
PREPARATION = "grey, then area (shrinking) or linear"
#: Share of clipped flow values from which a larger bound is suggested.
CLIPPED_NOTICE = 0.01
_COMPILING = (
    "loading the TV-L1 engine; the first time on a machine it is compiled, which takes about"
    " a quarter of a minute"
)


@dataclass(frozen=True)
class FlowTask:
    """What a worker needs to know beside the video; small and picklable.

    Attributes
    ----------
    output : Path
        Root of the caches.
    plan, flow, tvl1
        The options.
    engine : str
        Name of a TV-L1 engine that is available.
    device : str
        Where the CUDA engine runs.
    parameters, versions : dict
        As recorded in the header of each cache.
    strict : bool
        Whether damaged videos fail.
    """

    output: Path
    plan: PlanOptions
    flow: FlowOptions
    tvl1: TVL1Options
    engine: str
    device: str
    parameters: dict[str, object]
    versions: dict[str, str]
    strict: bool = False


@dataclass(frozen=True)
class FlowResult:
    """What became of one video.

    Attributes
    ----------
    path : Path
        Its cache.
    frames, pairs : int
        Decoded frames and stored fields.
    computed : bool
        False when a valid cache was there already.
    clipped : float
        Share of the flow values beyond the bound.
    warnings : tuple of str
        What was odd about the video.
    scan_s, flow_s : float
        Wall time of scanning, and of reading, computing and writing, in seconds.
    """

    path: Path
    frames: int
    pairs: int
    computed: bool
    clipped: float
    warnings: tuple[str, ...]
    scan_s: float = 0.0
    flow_s: float = 0.0


def choose_engine(engine: str, device: str) -> str:
    """Resolve ``auto``; InputError when the engine is not available here.

    ``auto`` is the CUDA engine where `device` is a GPU, or is itself ``auto`` and there is one;
    where it cannot run there, a warning says why and a CPU engine is taken.
    """
    from model.tvl1 import engines

    if not _DEVICES.fullmatch(device):
        raise InputError(f"--device {device}: expected auto, cpu, cuda or cuda:N")
    looks = device.startswith("cuda") or (device == "auto" and NVIDIA_DRIVER.exists())
    if engine == "cuda" or (engine == "auto" and looks):
        from model.tvl1.cuda.runtime import available, interpreted

        usable, why = available()
        if usable:
            if device.startswith("cuda") and not interpreted():
                from pipeline.runner.devices import parse_devices

                parse_devices(device)  # a GPU that is not there is told before anything is done
            return "cuda"
        if engine == "cuda":
            raise InputError(f"TV-L1 on a GPU: {why}; use --engine auto --device cpu")
        log.warning("flow is computed on the CPU, for the CUDA engine cannot run: %s", why)
    try:
        return engines.choose(engine)
    except ValueError as error:
        raise InputError(str(error)) from error


def make_task(
    output: Path,
    plan: PlanOptions,
    flow: FlowOptions,
    tvl1: TVL1Options,
    engine: str,
    device: str,
    strict: bool,
) -> FlowTask:
    """Put together what workers need, with what every header will record."""
    from model.tvl1 import engines

    with log_if_slow(_COMPILING):
        identity = engines.identity(engine)
    versions = dict(identity)
    for package in ("h5py", "numpy"):
        versions[package] = importlib.metadata.version(package)
    return FlowTask(
        output=output,
        plan=plan,
        flow=flow,
        tvl1=tvl1,
        engine=engine,
        device=device.partition(",")[0] if device.startswith("cuda") else "cuda",
        parameters=flow_parameters(plan, flow, tvl1, identity),
        versions=versions,
        strict=strict,
    )


def flow_parameters(
    plan: PlanOptions, flow: FlowOptions, tvl1: TVL1Options, identity: dict[str, str]
) -> dict[str, object]:
    """Parameters recorded in a flow cache: those that the arrays depend on, and no others.

    ``PlanOptions(**parameters["plan"])`` gives the plan back, and so on for ``flow`` and
    ``tvl1``. Engines whose results are equal to the bit record the same ``engine``.
    """
    planned = asdict(plan)
    for name in ("stride",) if plan.plan == "segments" else ("segments", "candidates"):
        del planned[name]
    stored = asdict(flow)
    if flow.size is not None:
        del stored["short_side"]
    major = identity["opencv"].partition(".")[0]
    exact = identity["guarantee"] == "bit-identical"
    return {
        "plan": planned,
        "flow": stored,
        "tvl1": asdict(tvl1),
        "preparation": PREPARATION,
        "engine": f"OpenCV {major}" if exact else f"{identity['engine']} for OpenCV {major}",
    }


def clipped_notice(share: float, bound: float) -> str | None:
    """Say so where much of a video's flow lies beyond the bound."""
    if share <= CLIPPED_NOTICE:
        return None
    return (
        f"{100 * share:.1f} % of the flow lies beyond the bound of {bound:g} px; a larger --bound"
        " keeps it"
    )
