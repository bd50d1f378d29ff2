"""What stage one is once it is ready to run: networks, options, digests and map sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from data.errors import InputError
from model.features.geometry import fused_side, stream_side
from model.features.options import FusionOptions, TrunkOptions

if TYPE_CHECKING:
    from torch import nn

    from model.features.stage_one import StageOne
    from model.features.trunk import Trunk


@dataclass(frozen=True)
class StageOneSetup:
    """Stage one ready to run, with all that makes it what it is.

    Attributes
    ----------
    module : StageOne
        On the CPU, float32, not folded.
    trunk, fusion : options
    stack_length : int
        Flow fields in a stack, L.
    precision : {"float32", "float16"}
        Arithmetic in which the caches were or will be computed.
    seed : int
    weights : dict
        Digests of "rgb", "flow" and "fusion".
    """

    module: StageOne
    trunk: TrunkOptions
    fusion: FusionOptions
    stack_length: int
    precision: str
    seed: int
    weights: dict[str, str]

    @property
    def stream_shape(self) -> tuple[int, int, int]:
        """(2048, h, w) of a stream map."""
        return stream_shape(self.trunk)

    @property
    def map_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of a fused map."""
        return map_shape(self.trunk, self.fusion)


def stream_shape(trunk: TrunkOptions) -> tuple[int, int, int]:
    """(2048, h, w) of a stream map under some options."""
    from model.features.trunk import CHANNELS

    side = stream_side(trunk.input_size, trunk.trunk_stage)
    return CHANNELS[trunk.trunk_stage], side, side


def map_shape(trunk: TrunkOptions, fusion: FusionOptions) -> tuple[int, int, int]:
    """(C, H, W) of a fused map under some options.

    Raises
    ------
    InputError
        The input is too small for ConvFusion.
    """
    try:
        side = fused_side(stream_shape(trunk)[1])
    except ValueError as error:
        raise InputError(f"{error}; --input-size {trunk.input_size} is too small") from error
    return fusion.fusion_channels, side, side


def assemble(
    trunks: Mapping[str, Trunk],
    fusion_module: nn.Module,
    trunk: TrunkOptions,
    fusion: FusionOptions,
    stack_length: int,
    precision: str,
    seed: int,
) -> StageOneSetup:
    """Put trunks and fusion together, and take their digests."""
    from model.features.stage_one import StageOne
    from model.features.trunk import state_digest

    module = StageOne(trunks["rgb"], trunks["flow"], fusion_module)
    parts = {"rgb": module.rgb, "flow": module.flow, "fusion": module.fusion}
    digests = {name: state_digest(part.state_dict()) for name, part in parts.items()}
    channels = int(module.fusion.project.weight.shape[0])  # type: ignore[union-attr,index]
    fusion = replace(fusion, fusion_channels=channels)  # A checkpoint brings its own.
    return StageOneSetup(module, trunk, fusion, stack_length, precision, seed, digests)
