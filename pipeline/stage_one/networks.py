"""Building stage one: trunks from their weights, calibration, and the three kinds of fusion."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from data.errors import InputError
from model.features.options import FusionOptions, TrunkOptions
from pipeline.runner.files import read_safetensors
from pipeline.shell.console import log
from pipeline.stage_one.weights import imagenet_state, read_state

if TYPE_CHECKING:
    from torch import Tensor, nn

    from model.features.trunk import Trunk

FUSION_FORMAT = "dexterank fusion 1"
DRAWN = ("random", "pca")


def origins(trunk: TrunkOptions) -> dict[str, str]:
    """Where the weights of each trunk come from: "random", "imagenet", or a file."""
    rgb = trunk.rgb_weights or trunk.weights
    return {"rgb": rgb, "flow": trunk.flow_weights or rgb}


def needs_training_snippets(trunk: TrunkOptions, fusion: FusionOptions) -> bool:
    """Whether anything is estimated from training videos."""
    return "random" in origins(trunk).values() or fusion.fusion == "pca"


def trunk_states(trunk: TrunkOptions, stack_length: int, seed: int) -> dict[str, dict[str, Tensor]]:
    """Tensors of both trunks before any calibration."""
    import torch

    from model.features.trunk import random_state

    starts = origins(trunk)
    generator = torch.Generator().manual_seed(seed)
    drawn = {}
    for name, channels in (("rgb", 3), ("flow", 2 * stack_length)):
        if starts[name] == "random":
            drawn[name] = random_state(channels, trunk.trunk_stage, generator)
    read: dict[str, dict[str, Tensor]] = {}
    for origin in sorted({o for o in starts.values() if o != "random"}):
        read[origin] = imagenet_state() if origin == "imagenet" else read_state(origin)
    return {name: drawn[name] if name in drawn else read[starts[name]] for name in starts}


def make(name: str, options: TrunkOptions, stack_length: int, state: Mapping[str, Tensor]) -> Trunk:
    """Build one trunk from whatever form its weights have.

    Raises
    ------
    InputError
        The weights do not fit; lists the keys.
    """
    from model.features.keys import fit_state
    from model.features.trunk import Trunk, make_trunk

    channels = 3 if name == "rgb" else 2 * stack_length
    expected = Trunk(channels, options.trunk_stage).state_dict()
    try:
        fitted = fit_state(state, expected, channels=channels)
    except ValueError as error:
        raise InputError(f"{origins(options)[name]} ({name} trunk): {error}") from error
    return make_trunk(channels, options.trunk_stage, fitted)


def calibrate_random(
    trunks: Mapping[str, Trunk], random: list[str], frames: Tensor, stacks: Tensor, seed: int
) -> None:
    """Set the BatchNorm statistics of random trunks, in a seeded order of the snippets."""
    import torch

    from model.features.calibrate import calibrate
    from model.features.stage_one import StageOne
    from pipeline.runner.devices import torch_threads

    log.warning(
        "RANDOM TRUNKS (%s): for demos and tests only; expect weak scores. Use ImageNet or "
        "two-stream weights for real work",
        " and ".join(random),
    )
    if len(frames) < 2:
        raise InputError("random trunks need at least 2 training snippets to calibrate BatchNorm")
    order = torch.randperm(len(frames), generator=torch.Generator().manual_seed(seed))
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
        for name in random:
            calibrate(trunks[name], (inputs[name](rows) for rows in batches))


def make_fusion(
    trunks: Mapping[str, Trunk],
    trunk: TrunkOptions,
    fusion: FusionOptions,
    seed: int,
    data: tuple[Tensor, Tensor] | None,
) -> nn.Module:
    """Return the fusion asked for; `data` are training frames and stacks, for PCA."""
    from model.features.fusion import random_fusion
    from model.features.trunk import CHANNELS, state_digest

    channels = CHANNELS[trunk.trunk_stage]
    if fusion.fusion == "random":
        return random_fusion(channels, fusion.fusion_hidden, fusion.fusion_channels, seed)
    if fusion.fusion == "pca" and data is not None:
        return _fit_pca(trunks, fusion.fusion_channels, *data)
    digests = {name: state_digest(module.state_dict()) for name, module in trunks.items()}
    return fusion_checkpoint(Path(fusion.fusion), trunk, digests)


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


def fusion_checkpoint(path: Path, trunk: TrunkOptions, digests: Mapping[str, str]) -> nn.Module:
    """Load a checkpoint of fit-fusion, made for exactly these trunks.

    Raises
    ------
    InputError
        Not such a file, damaged, or learnt on other trunks.
    """
    tensors, metadata = read_checkpoint(path)
    learnt_on = metadata.get("trunks")
    for name in ("rgb", "flow"):
        found = learnt_on.get(name, "") if isinstance(learnt_on, dict) else ""
        if found != digests[name]:
            raise InputError(
                f"{path}: this fusion was learnt on other {name} trunk weights ({found[:8]}) than "
                f"those in use ({digests[name][:8]}); use the same weights, seed, --trunk-stage "
                "and --stack-length"
            )
    return fusion_from(path, tensors)


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


def fusion_from(path: Path, tensors: Mapping[str, Tensor]) -> nn.Module:
    """Build a fusion around its tensors: ConvFusion, or PCA's projection where `reduce` is absent.

    Raises
    ------
    InputError
        Tensors are missing or misshapen.
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
