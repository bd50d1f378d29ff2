"""Building stage one: trunks from their weights, calibration, and the three kinds of fusion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from data.errors import InputError
from model.features.options import FusionOptions, TrunkOptions
from pipeline.runner.devices import torch_threads
from pipeline.runner.files import read_safetensors
from pipeline.shell.console import log
from pipeline.stage_one.weights import imagenet_path, imagenet_state, read_state

if TYPE_CHECKING:
    from torch import Tensor, nn

    from model.features.stage_one import StageOne
    from model.features.trunk import Trunk

FUSION_FORMAT = "dexterank fusion 1"
#: Kinds of fusion that are made here; anything else names a checkpoint of fit-fusion.
OWN_FUSIONS = ("random", "pca")


def origins(trunk: TrunkOptions) -> dict[str, str]:
    """Where the weights of each trunk come from: "random", "imagenet", or a file."""
    rgb = trunk.rgb_weights or trunk.weights
    return {"rgb": rgb, "flow": trunk.flow_weights or rgb}


def needs_training_snippets(trunk: TrunkOptions, fusion: FusionOptions) -> bool:
    """Whether anything is estimated from training videos."""
    return "random" in origins(trunk).values() or fusion.fusion == "pca"


@dataclass(frozen=True, kw_only=True)
class NetworkSettings:
    """All that decides stage one's networks and the arithmetic they run in.

    Attributes
    ----------
    trunk, fusion : options
    stack_length : int
        Flow fields in a stack, L.
    precision : {"float32", "float16"}
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
    states: Mapping[str, Mapping[str, Tensor]], settings: NetworkSettings
) -> dict[str, Trunk]:
    """Build both trunks from whatever form their weights have.

    Raises
    ------
    InputError
        The weights do not fit; lists the keys.
    """
    from model.features.trunk import make_trunk

    stage = settings.trunk.trunk_stage
    return {
        name: make_trunk(settings.channels[name], stage, _fitted(name, state, settings))
        for name, state in states.items()
    }


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


def check_fusion(settings: NetworkSettings) -> None:
    """Refuse a fusion without its checkpoint, or without the videos that it is fitted on."""
    fusion, videos = settings.fusion.fusion, settings.trunk.training_videos
    if fusion == "pca" and videos is None:
        raise InputError(
            "--fusion pca is fitted on training videos only; name them with --training-videos"
        )
    if fusion not in OWN_FUSIONS:
        read_checkpoint(Path(fusion))


def _absent() -> bool:
    return not imagenet_path().exists()


def _fitted(name: str, state: Mapping[str, Tensor], settings: NetworkSettings) -> dict[str, Tensor]:
    """Fit tensors to the trunk `name`; InputError, with the file, where they do not."""
    import torch

    from model.features.keys import fit_state, left_out
    from model.features.trunk import Trunk

    origin, channels = origins(settings.trunk)[name], settings.channels[name]
    with torch.device("meta"):  # Only the shapes count.
        expected = Trunk(channels, settings.trunk.trunk_stage).state_dict()
    try:
        fitted = fit_state(state, expected, channels=channels)
        dropped = left_out(state)
    except ValueError as error:
        raise InputError(f"{origin} ({name} trunk): {error}") from error
    if dropped:
        more = f" and {len(dropped) - 5} more" if len(dropped) > 5 else ""
        log.info("%s (%s trunk): left out %s%s", origin, name, ", ".join(dropped[:5]), more)
    return fitted


def calibrate_random(
    trunks: Mapping[str, Trunk], settings: NetworkSettings, frames: Tensor, stacks: Tensor
) -> None:
    """Set the BatchNorm statistics of random trunks, in a seeded order of the snippets."""
    import torch

    from model.features.stage_one import StageOne
    from model.features.trunk import calibrate

    log.warning(
        "RANDOM TRUNKS (%s): for demos and tests only; expect weak scores. Use ImageNet or "
        "two-stream weights for real work",
        " and ".join(settings.random_trunks),
    )
    if len(frames) < 2:
        raise InputError("random trunks need at least 2 training snippets to calibrate BatchNorm")
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
    # One thread, because the number of threads decides the last bits, and so the digest.
    with torch_threads(1):
        for name in settings.random_trunks:
            calibrate(trunks[name], (inputs[name](rows) for rows in batches))


def make_fusion(
    trunks: Mapping[str, Trunk], settings: NetworkSettings, snippets: tuple[Tensor, Tensor] | None
) -> nn.Module:
    """Build the fusion; `snippets` are training frames and stacks, for PCA."""
    from model.features.fusion import random_fusion
    from model.features.trunk import CHANNELS, state_digest

    options = settings.fusion
    if options.fusion == "random":
        channels = CHANNELS[settings.trunk.trunk_stage]
        return random_fusion(
            channels, options.fusion_hidden, options.fusion_channels, settings.seed
        )
    if options.fusion == "pca" and snippets is not None:
        return _fit_pca(trunks, options.fusion_channels, *snippets)
    digests = {name: state_digest(module.state_dict()) for name, module in trunks.items()}
    return fusion_checkpoint(Path(options.fusion), digests)


def _fit_pca(
    trunks: Mapping[str, Trunk], channels: int, frames: Tensor, stacks: Tensor
) -> nn.Module:
    import torch

    from model.features.pca import fit_pca, stream_vectors
    from model.features.stage_one import StageOne, for_inference

    stage = StageOne(trunks["rgb"], trunks["flow"], torch.nn.Identity())
    fast = for_inference(stage, torch.device("cpu"), torch.float32)
    vectors = []
    with torch.inference_mode():
        for some, others in zip(frames.split(4), stacks.split(4), strict=True):
            rgb = fast.rgb(fast.normalise_frames(some))
            flow = fast.flow(fast.normalise_stacks(others))
            vectors.append(stream_vectors(rgb, flow))
    try:
        return fit_pca(torch.cat(vectors), channels)
    except ValueError as error:
        raise InputError(f"--fusion pca: {error}") from error


def fusion_checkpoint(path: Path, digests: Mapping[str, str]) -> nn.Module:
    """Load a checkpoint of fit-fusion that was learnt on trunks with these digests.

    Raises
    ------
    InputError
        Not such a file, damaged, or learnt on other trunks.
    """
    tensors, metadata = read_checkpoint(path)
    trunks = metadata.get("trunks")
    for name in ("rgb", "flow"):
        digest = trunks.get(name, "") if isinstance(trunks, dict) else ""
        if digest != digests[name]:
            raise InputError(
                f"{path}: this fusion was learnt on other {name} trunk weights ({digest[:8]}) than "
                f"those in use ({digests[name][:8]}); use the same weights, seed, --trunk-stage "
                "and --stack-length"
            )
    return restore_fusion(path, tensors)


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, object]]:
    """Read a checkpoint of fit-fusion: tensors and metadata.

    Raises
    ------
    InputError
        Not such a file, or damaged.
    """
    if not path.is_file():
        raise InputError(f"--fusion {path}: expected random, pca, or a checkpoint; no such file")
    tensors, metadata = read_safetensors(path)
    if metadata.get("format") != FUSION_FORMAT:
        raise InputError(f"{path}: not a fusion checkpoint; `pipeline fit-fusion` makes one")
    return tensors, metadata


def restore_fusion(path: Path, tensors: Mapping[str, Tensor]) -> nn.Module:
    """Build a fusion around its tensors: ConvFusion, or PCA's projection without `reduce`.

    Raises
    ------
    InputError
        Tensors are missing or misshapen; names the file `path`.
    """
    from model.features.fusion import ConvFusion
    from model.features.pca import PcaFusion

    fusion: nn.Module
    try:
        project = tensors["project.weight"]
        if "reduce.weight" in tensors:
            reduce = tensors["reduce.weight"]
            fusion = ConvFusion(reduce.shape[1] // 2, reduce.shape[0], project.shape[0])
        else:
            fusion = PcaFusion(project.shape[1] // 2, project.shape[0])
        fusion.load_state_dict(dict(tensors))
    except (KeyError, IndexError, RuntimeError) as error:
        raise InputError(f"{path}: the fusion's tensors are damaged ({error})") from error
    return fusion.requires_grad_(False)
