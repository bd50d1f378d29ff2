"""How a run's training features were made, so that a new video's can be made in the same way."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.cache.header import canonical_json
from data.errors import InputError, StaleCacheError
from data.options import FlowOptions, PlanOptions
from model.features.options import FusionOptions, TrunkOptions
from model.tvl1.options import TVL1Options

if TYPE_CHECKING:
    from pipeline.runs.folder import Run
    from pipeline.score.options import Making


@dataclass(frozen=True)
class Recipe:
    """All that decides a video's maps.

    Attributes
    ----------
    stage_one : Path
        The run's copy of stage one's weights.
    plan, flow, tvl1 : options
        Of the flow.
    flow_parameters : dict
        As the training flow recorded them, without its plan.
    trunk, fusion : options
        With the places of weight files as they are now.
    seed : int
        Of random trunks.
    parameters : dict
        As the training features recorded them.
    weights : dict of str to str
        Digests.
    """

    stage_one: Path
    plan: PlanOptions
    flow: FlowOptions
    tvl1: TVL1Options
    flow_parameters: dict[str, Any]
    trunk: TrunkOptions
    fusion: FusionOptions
    seed: int
    parameters: dict[str, Any]
    weights: dict[str, str]

    def name(self, *more: object) -> str:
        """Name of the folder for what is made like this: other options, other folder."""
        content = [self.parameters, self.flow_parameters, self.weights, *more]
        return hashlib.sha256(canonical_json(content).encode()).hexdigest()[:12]


def find_recipe(run: Run, folder: Path, making: Making, stage_one: Path | None = None) -> Recipe:
    """Find out how a run's features were made.

    Parameters
    ----------
    run : Run
    folder : Path
        Its folder, or its checkpoint.
    making : Making
        May name moved weights.
    stage_one : Path, optional
        The file of stage one's weights; by default that in the folder.

    Raises
    ------
    InputError
        Something is not recorded, or weight files are missing or others than those used.
    """
    from pipeline.runner.files import read_safetensors
    from pipeline.stage_one.file import FILE_NAME

    folder = folder if folder.is_dir() else folder.parent
    path = stage_one or folder / FILE_NAME
    if not path.is_file():
        raise InputError(
            f"{path}: not found; it is what makes features of new videos: copy it there from the "
            "folder of the training features"
        )
    known = read_safetensors(path)[1]
    trunk_now, fusion_now = known.get("trunk"), known.get("fusion")
    if not isinstance(trunk_now, dict) or not isinstance(fusion_now, dict):
        raise InputError(f"{path}: not a stage-one file of this version")
    if known.get("weights") != run.weights:
        raise InputError(f"{path}: holds other weights than the training features were made with")
    trunk = _located(TrunkOptions(**trunk_now), path, run, making)
    made = run.parameters.get("flow")
    if not isinstance(made, dict):
        raise InputError(
            f"{folder}: does not say with which options its flow was made, being older than this "
            "version; extract its features and train it again"
        )
    return Recipe(
        path,
        PlanOptions(**run.parameters["plan"]),
        FlowOptions(**made["flow"]),
        TVL1Options(**made["tvl1"]),
        made,
        replace(trunk, precision=str(known["precision"])),  # type: ignore[arg-type]
        FusionOptions(**fusion_now),
        int(known["seed"]),
        run.parameters,
        run.weights,
    )


def _located(trunk: TrunkOptions, path: Path, run: Run, making: Making) -> TrunkOptions:
    """Return the options with weight files that are there and are the ones used in training."""
    from pipeline.stage_one.file import load_stage_one
    from pipeline.stage_one.networks import origins

    found = replace(
        trunk,
        rgb_weights=making.rgb_weights or trunk.rgb_weights,
        flow_weights=making.flow_weights or trunk.flow_weights,
    )
    files = {k: v for k, v in origins(found).items() if v not in ("random", "imagenet")}
    for name, file in files.items():
        if not Path(file).is_file():
            raise InputError(
                f"{path}: the {name} trunk's weights came from {file}, which is not there; say "
                f"where the file is now with --{name}-weights (digest {run.weights[name][:8]})"
            )
    if files:
        try:
            load_stage_one(
                path.parent,
                rgb_weights=making.rgb_weights,
                flow_weights=making.flow_weights,
            )
        except StaleCacheError as error:
            told = str(error).partition("; pass")[0]
            flags = " and ".join(f"--{name}-weights" for name in files)
            raise InputError(f"{told}; give the files used in training with {flags}") from error
    return found


def feature_digests(folder: Path) -> dict[str, str]:
    """Content digest of a run's training features -> key of the video."""
    from pipeline.runner.files import read_safetensors
    from pipeline.runs.folder import CHECKPOINT

    path = folder / CHECKPOINT if folder.is_dir() else folder
    about = read_safetensors(path)[1].get("dexterank")
    if not isinstance(about, dict):
        return {}
    return dict(zip(about.get("feature_digests", ()), about["keys"], strict=False))


def planned(options: PlanOptions) -> dict[str, Any]:
    """Return a plan's options as caches record them."""
    unused = ("stride",) if options.plan == "segments" else ("segments", "candidates")
    return {name: value for name, value in asdict(options).items() if name not in unused}
