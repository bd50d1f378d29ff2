"""Building stage one: trunks from their weights, calibration, and the three kinds of fusion."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from data.errors import InputError
from model.features.options import FusionOptions, TrunkOptions
from pipeline.runner.devices import torch_threads
from pipeline.shell.console import log
from pipeline.stage_one.origins import adapted_parts, origins
from pipeline.stage_one.weights import imagenet_path, imagenet_state, read_state

if TYPE_CHECKING:
    from torch import Tensor, nn

    from model.features.stage_one import StageOne
    from model.features.trunk import Trunk

_KEEP = ", or keep the statistics of trunks with weights: --adapt-flow none"


@dataclass(frozen=True, kw_only=True)
class NetworkSettings:
    """All that decides stage one's networks and the arithmetic they run in.

    Attributes
    ----------
    trunk, fusion : options
    stack_length : int
        Flow fields in a stack, L.
    precision : {"float32", "bfloat16", "float16"}
        Arithmetic in which the caches were or will be computed.
    seed : int
        Of random trunks and fusion.
    """

    trunk: TrunkOptions
    fusion: FusionOptions
    stack_length: int
    precision: str
    seed: int = 0

    @property
    def channels(self) -> dict[str, int]:
        """Input channels of each trunk."""
        return {"rgb": 3, "flow": 2 * self.stack_length}

    @property
    def random_trunks(self) -> list[str]:
        """Trunks that start from random weights."""
        return [name for name, origin in origins(self.trunk).items() if origin == "random"]

    @property
    def calibrated_trunks(self) -> list[str]:
        """Trunks whose BatchNorm statistics are those of training snippets."""
        adapted = ["flow"] if "statistics" in adapted_parts(self.trunk) else []
        return self.random_trunks + adapted

    @property
    def stream_shape(self) -> tuple[int, int, int]:
        """(2048, h, w) of a stream map."""
        from model.features.geometry import stream_side
        from model.features.trunk import CHANNELS

        side = stream_side(self.trunk.input_size, self.trunk.trunk_stage)
        return CHANNELS[self.trunk.trunk_stage], side, side

    @property
    def map_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of a fused map; InputError where the input is too small for ConvFusion."""
        try:
            from model.features.geometry import fused_side

            side = fused_side(self.stream_shape[1])
        except ValueError as error:
            raise InputError(
                f"{error}; --input-size {self.trunk.input_size} is too small"
            ) from error
        return self.fusion.fusion_channels, side, side


@dataclass(frozen=True)
class Networks:
    """Stage one, ready to run.

    Attributes
    ----------
    module : StageOne
        On the CPU, float32, not folded.
    settings : NetworkSettings
    weights : dict
        Digests of "rgb", "flow" and "fusion".
    """

    module: StageOne
    settings: NetworkSettings
    weights: dict[str, str]


def assemble(trunks: Mapping[str, Trunk], fusion: nn.Module, settings: NetworkSettings) -> Networks:
    """Put trunks and fusion together, and compute their digests."""
    from model.features.stage_one import StageOne
    from model.features.trunk import state_digest

    module = StageOne(trunks["rgb"], trunks["flow"], fusion)
    parts = {"rgb": module.rgb, "flow": module.flow, "fusion": module.fusion}
    digests = {name: state_digest(part.state_dict()) for name, part in parts.items()}
    # A checkpoint of fit-fusion has its own number of channels.
    channels = int(module.fusion.project.weight.shape[0])  # type: ignore[union-attr,index]
    options = replace(settings.fusion, fusion_channels=channels)
    return Networks(module, replace(settings, fusion=options), digests)


def trunk_states(settings: NetworkSettings) -> dict[str, dict[str, Tensor]]:
    """Tensors of both trunks before any calibration."""
    import torch

    from model.features.trunk import random_state

    generator = torch.Generator().manual_seed(settings.seed)
    files: dict[str, dict[str, Tensor]] = {}
    states = {}
    for name, origin in origins(settings.trunk).items():
        if origin == "random":
            stage = settings.trunk.trunk_stage
            states[name] = random_state(settings.channels[name], stage, generator)
            continue
        if origin not in files:
            files[origin] = imagenet_state() if origin == "imagenet" else read_state(origin)
        states[name] = files[origin]
    return states


def make_trunks(
    states: Mapping[str, Mapping[str, Tensor]],
    settings: NetworkSettings,
    statistics: Mapping[str, Tensor] | None = None,
) -> dict[str, Trunk]:
    """Build both trunks from whatever form their weights have.

    Parameters
    ----------
    states, settings
    statistics : mapping of str to Tensor, optional
        BatchNorm statistics that take the place of the weights' own: "flow.bn1.running_mean" …

    Raises
    ------
    InputError
        The weights do not fit; lists the keys.
    """
    from model.features.trunk import make_trunk

    stage, parts = settings.trunk.trunk_stage, adapted_parts(settings.trunk)
    trunks = {}
    for name, state in states.items():
        fitted = _fitted(name, state, settings) | part_of(f"{name}.", statistics or {})
        centred = name == "flow" and "input" in parts
        trunks[name] = make_trunk(settings.channels[name], stage, fitted, centred=centred)
    return trunks


def part_of(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose names start with a prefix, under the rest of their names."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def check_weights(settings: NetworkSettings, *, download: bool = True) -> None:
    """Refuse trunk weights that cannot be used, before anything is computed.

    `download` fetches ImageNet weights that are not in torch's cache; otherwise a line says so.

    Raises
    ------
    InputError
        Weights are missing, damaged, or do not fit.
    """
    if not download and "imagenet" in origins(settings.trunk).values() and _absent():
        log.info("%s: no ImageNet weights here, they would be downloaded first", imagenet_path())
    files: dict[str, dict[str, Tensor]] = {}
    for name, origin in origins(settings.trunk).items():
        if origin == "random" or (origin == "imagenet" and not download and _absent()):
            continue
        if origin not in files:
            files[origin] = imagenet_state() if origin == "imagenet" else read_state(origin)
        _fitted(name, files[origin], settings)


def _absent() -> bool:
    return not imagenet_path().exists()


def _fitted(name: str, state: Mapping[str, Tensor], settings: NetworkSettings) -> dict[str, Tensor]:
    """Fit tensors to the trunk `name`; InputError, with the file, where they do not."""
    import torch

    from model.features.keys import fit_state, left_out
    from model.features.stems import directional_stem, mean_stem
    from model.features.trunk import Trunk

    origin, channels = origins(settings.trunk)[name], settings.channels[name]
    inflate = directional_stem if "stem" in adapted_parts(settings.trunk) else mean_stem
    with torch.device("meta"):  # Only the shapes count.
        expected = Trunk(channels, settings.trunk.trunk_stage).state_dict()
    try:
        fitted = fit_state(state, expected, channels=channels, inflate=inflate)
        dropped = left_out(state)
    except ValueError as error:
        raise InputError(f"{origin} ({name} trunk): {error}") from error
    if dropped:
        more = f" and {len(dropped) - 5} more" if len(dropped) > 5 else ""
        log.info("%s (%s trunk): left out %s%s", origin, name, ", ".join(dropped[:5]), more)
    return fitted


def calibrate_trunks(
    trunks: Mapping[str, Trunk], settings: NetworkSettings, frames: Tensor, stacks: Tensor
) -> None:
    """Set BatchNorm statistics from training snippets, in a seeded order of the snippets.

    Raises
    ------
    InputError
        Too few snippets, or flow in which nothing moves.
    """
    import torch

    from model.features.stage_one import StageOne
    from model.features.trunk import calibrate

    if settings.random_trunks:
        log.warning(
            "RANDOM TRUNKS (%s): for demos and tests only; expect weak scores. Use ImageNet or "
            "two-stream weights for real work",
            " and ".join(settings.random_trunks),
        )
    _check_snippets(settings, stacks)
    generator = torch.Generator().manual_seed(settings.seed)
    order = torch.randperm(len(frames), generator=generator)
    # Whole batches of 8; fewer snippets than that make one batch.
    size = min(8, len(order))
    batches = list(order.split(size))[: len(order) // size]
    view = StageOne(trunks["rgb"], trunks["flow"], torch.nn.Identity())
    inputs = {
        "rgb": lambda rows: view.normalise_frames(frames[rows]),
        "flow": lambda rows: view.normalise_stacks(stacks[rows]),
    }

    def adapt(name: str) -> None:
        # One thread a trunk: the number of threads decides the last bits, and so the digest.
        torch.set_num_threads(1)
        calibrate(trunks[name], (inputs[name](rows) for rows in batches))

    names = settings.calibrated_trunks
    workers = min(len(names), torch.get_num_threads())
    with torch_threads(1), ThreadPoolExecutor(workers) as pool:
        list(pool.map(adapt, names))


def _check_snippets(settings: NetworkSettings, stacks: Tensor) -> None:
    """Refuse snippets from which no statistics can be estimated."""
    if len(stacks) < 2:
        who = "random trunks need" if settings.random_trunks else "the flow trunk needs"
        raise InputError(f"{who} at least 2 training snippets to calibrate BatchNorm{_KEEP}")
    if not settings.random_trunks and bool(stacks.amin() == stacks.amax()):
        raise InputError(
            "nothing moves in the training snippets, from whose flow BatchNorm is calibrated; name "
            f"others with --training-videos{_KEEP}"
        )
