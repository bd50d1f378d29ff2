"""What flow is computed with: the options, the engine, and what caches record of them."""

from __future__ import annotations

import importlib.metadata
import re
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path

from data.errors import InputError
from data.options import FlowOptions, PlanOptions
from model.tvl1.options import TVL1Options
from pipeline.runner.stage import StageOptions
from pipeline.shell.console import log, log_if_slow
from pipeline.shell.flags import shared

_DEVICES = re.compile(r"auto|(cpu|cuda)(:\d+)?( *, *(cpu|cuda)(:\d+)?)*")
#: Present where a GPU may be: only then is PyTorch, which takes seconds to import, asked for one.
NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")
#: How `pipeline.extract_flow.fields.prepare` works, as recorded in the caches.
PREPARATION = "grey, then area (shrinking) or linear"
_COMPILING = (
    "loading the TV-L1 engine; the first time on a machine it is compiled, which takes about"
    " a quarter of a minute"
)


@dataclass(frozen=True, kw_only=True)
class FlowSettings:
    """All that decides a video's flow fields; picklable.

    Attributes
    ----------
    plan, flow, tvl1 : options
    engine : str
        A TV-L1 engine that is available here.
    device : str
        Where the CUDA engine runs.
    strict : bool
        Whether damaged videos fail.
    """

    plan: PlanOptions = field(default_factory=PlanOptions)
    flow: FlowOptions = field(default_factory=FlowOptions)
    tvl1: TVL1Options = field(default_factory=TVL1Options)
    engine: str = "numba"
    device: str = "cuda"
    strict: bool = False

    @classmethod
    def resolved(
        cls,
        *,
        engine: str = "auto",
        device: str = "auto",
        strict: bool = False,
        plan: PlanOptions | None = None,
        flow: FlowOptions | None = None,
        tvl1: TVL1Options | None = None,
    ) -> FlowSettings:
        """Return settings with the engine and the device that `--engine` and `--device` stand for.

        Raises
        ------
        InputError
            The engine is not available here.
        """
        first = device.partition(",")[0]
        return cls(
            plan=plan or PlanOptions(),
            flow=flow or FlowOptions(),
            tvl1=tvl1 or TVL1Options(),
            engine=choose_engine(engine, device),
            device=first if first.startswith("cuda") else "cuda",
            strict=strict,
        )

    @cached_property
    def identity(self) -> dict[str, str]:
        """Name, versions and exactness of the engine."""
        from model.tvl1 import engines

        with log_if_slow(_COMPILING):
            return engines.identity(self.engine)

    @property
    def versions(self) -> dict[str, str]:
        """Libraries, as recorded in each header."""
        more = {name: importlib.metadata.version(name) for name in ("h5py", "numpy")}
        return dict(self.identity) | more

    @property
    def parameters(self) -> dict[str, object]:
        """Parameters recorded in a flow cache: those that the arrays depend on, and no others.

        Engines whose results are equal to the bit record the same ``engine``.
        """
        stored = asdict(self.flow)
        if self.flow.size is not None:
            del stored["short_side"]
        major = self.identity["opencv"].partition(".")[0]
        exact = self.identity["guarantee"] == "bit-identical"
        name = f"OpenCV {major}"
        return {
            "plan": self.plan.recorded(),
            "flow": stored,
            "tvl1": asdict(self.tvl1),
            "preparation": PREPARATION,
            "engine": name if exact else f"{self.identity['engine']} for {name}",
        }


@dataclass(frozen=True, kw_only=True)
class FlowComputation:
    """How flow is computed, as the user asks for it."""

    engine: str = shared("engine")
    flow: FlowOptions = field(default_factory=FlowOptions)
    tvl1: TVL1Options = field(default_factory=TVL1Options)

    def settings(self, plan: PlanOptions, stage: StageOptions) -> FlowSettings:
        """Return the settings of extract-flow; InputError as `FlowSettings.resolved`."""
        return FlowSettings.resolved(
            engine=self.engine,
            device=stage.device,
            strict=stage.strict,
            plan=plan,
            flow=self.flow,
            tvl1=self.tvl1,
        )


def choose_engine(engine: str, device: str) -> str:
    """Resolve ``auto``: the CUDA engine where `device` is a GPU and it can run, else a CPU engine.

    Raises
    ------
    InputError
        The engine asked for is not available here.
    """
    from model.tvl1 import engines

    if not _DEVICES.fullmatch(device):
        raise InputError(f"--device {device}: expected auto, cpu, cuda:N, or several with commas")
    on_gpu = device.startswith("cuda") or (device == "auto" and NVIDIA_DRIVER.exists())
    if engine == "cuda" or (engine == "auto" and on_gpu):
        from model.tvl1.cuda.runtime import available, interpreted

        usable, reason = available()
        if usable:
            if device.startswith("cuda") and not interpreted():
                from pipeline.runner.devices import parse_devices

                parse_devices(device)  # Refuse a missing GPU before anything is computed.
            return "cuda"
        if engine == "cuda":
            raise InputError(f"TV-L1 on a GPU: {reason}; use --engine auto --device cpu")
        log.warning("flow is computed on the CPU: the CUDA engine cannot run (%s)", reason)
    try:
        return engines.choose(engine)
    except ValueError as error:
        raise InputError(str(error)) from error
