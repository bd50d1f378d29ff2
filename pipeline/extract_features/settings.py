"""What features are computed from and with, and what caches record of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from data.errors import InputError
from data.options import PlanOptions
from model.features.options import NONE, FusionOptions, TrunkOptions
from pipeline.shell.flags import option, shared
from pipeline.stage_one.networks import NetworkSettings
from pipeline.stage_one.origins import (
    OWN_FUSIONS,
    adapted_parts,
    needs_training_snippets,
    origins,
)

STACK_ORDER = "u1 v1 u2 v2"


@dataclass(frozen=True, kw_only=True)
class FeatureSettings:
    """All that decides a video's features, but for the devices.

    Attributes
    ----------
    flow : Path
        Folder of the flow caches.
    plan, trunk, fusion : options
        Which snippets, which trunks, and which frozen fusion.
    seed : int
        Of random trunks and fusion.
    batch_size : int, optional
        Snippets a batch at most; None chooses by device and input size.
    keep_streams : bool
        Whether both stream maps are kept too.
    """

    flow: Path
    plan: PlanOptions = field(default_factory=PlanOptions)
    trunk: TrunkOptions = field(default_factory=TrunkOptions)
    fusion: FusionOptions = field(default_factory=FusionOptions)
    seed: int = shared("seed")
    batch_size: int | None = None
    keep_streams: bool = option(
        "Keep both trunks' maps too, 64 times the size (for fit-fusion and video_lstm).",
        default=False,
    )

    def networks(self, devices: Sequence[str]) -> NetworkSettings:
        """Return the settings of stage one on these devices."""
        return NetworkSettings(
            trunk=self.trunk,
            fusion=self.fusion,
            stack_length=self.plan.stack_length,
            precision=resolve_precision(self.trunk.precision, devices),
            seed=self.seed,
        )

    def ignored_options(self) -> dict[str, str]:
        """Return the options that have no effect, and what makes them so."""
        trunk, fusion = self.trunk, self.fusion.fusion
        ignored = {}
        if trunk.rgb_weights is not None:
            ignored["weights"] = "--rgb-weights, from which the flow trunk starts too"
        if origins(trunk)["flow"] == "random" and trunk.adapt_flow != NONE:
            ignored["adapt_flow"] = "a random flow trunk, which is calibrated as a whole"
        if not needs_training_snippets(trunk, self.fusion):
            for name in ("training_videos", "training_snippets"):
                ignored[name] = "trunks that are not calibrated and a fusion that is not fitted"
        if fusion != "random":
            ignored["fusion_hidden"] = f"--fusion {fusion}"
        if fusion not in OWN_FUSIONS:
            ignored["fusion_channels"] = f"--fusion {fusion}, which has its own"
        return ignored

    def parameters(self, devices: Sequence[str]) -> dict[str, object]:
        """Return the parameters recorded in a feature cache, without those of its flow.

        They are all options that the arrays depend on and that no digest of weights covers.
        """
        parts = adapted_parts(self.trunk)
        # Nothing adapted is not recorded, so that caches of earlier versions stay valid.
        adapted: dict[str, object] = {"adapt_flow": ",".join(parts)} if parts else {}
        return adapted | {
            "plan": self.plan.recorded(),
            "trunk_stage": self.trunk.trunk_stage,
            "input_size": self.trunk.input_size,
            "precision": resolve_precision(self.trunk.precision, devices),
            "flow_resize": "torch" if all_cuda(devices) else "Pillow",
            "stack_order": STACK_ORDER,
            "keep_streams": self.keep_streams,
        }


@dataclass(frozen=True)
class FeatureResult:
    """What became of one video."""

    path: Path  # Its cache.
    rows: int  # Snippets.
    computed: bool  # False when a valid cache already existed.
    warnings: tuple[str, ...]  # What was odd about the video.


def default_flow_folder(output: Path) -> Path:
    """Folder of the flow caches where the user named none: next to the output, `<output>-flow`."""
    output = output if output.name not in ("", "..") else output.resolve()
    return output.with_name(f"{output.name}-flow")


def all_cuda(devices: Sequence[str]) -> bool:
    """Whether all devices are GPUs."""
    return all(device.startswith("cuda") for device in devices)


@cache
def has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 itself, and PyTorch has what the trunks need."""
    import llvmlite.binding  # type: ignore[import-untyped]

    from model.features.fused import can_fuse

    present = llvmlite.binding.get_host_cpu_features()
    return can_fuse() and bool(present.get("avx512bf16") or present.get("amx-bf16"))


def resolve_precision(precision: str, devices: Sequence[str]) -> str:
    """Return float16 for `auto` where all devices are GPUs, else float32.

    Raises
    ------
    InputError
        float16 on a CPU, where it gains nothing and loses accuracy; bfloat16 on a GPU or on a
        CPU that has to imitate it.
    """
    if precision == "float16" and not all_cuda(devices):
        raise InputError("--precision float16 needs a CUDA device; leave it out on a CPU")
    if precision == "bfloat16" and any(device.startswith("cuda") for device in devices):
        raise InputError("--precision bfloat16 is for CPUs; on CUDA devices use float16")
    if precision == "bfloat16" and not has_bfloat16():
        raise InputError(
            "--precision bfloat16 needs a processor with AVX512_BF16 or AMX, which this one does "
            "not have; leave it out"
        )
    if precision == "auto":
        return "float16" if all_cuda(devices) else "float32"
    return precision


def nearest_precision(trained: str, devices: Sequence[str]) -> str:
    """Return the arithmetic of training features where these devices have it, else float32."""
    try:
        return resolve_precision(trained, devices)
    except InputError:
        return "float32"
