"""How a run's training features were made, so that a new video's can be made in the same way."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.cache_header import canonical_json
from data.errors import CacheError, InputError, StaleCacheError
from data.options import FlowOptions, PlanOptions
from model.features.options import FusionOptions, TrunkOptions
from model.tvl1.options import TVL1Options
from pipeline.console import log

if TYPE_CHECKING:
    from pipeline.run_folder import Run
    from pipeline.score_options import Making


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
        May name folders of the training caches, and moved weights.
    stage_one : Path, optional
        The file of stage one's weights; by default that in the folder.

    Raises
    ------
    InputError
        Something is not recorded, or weight files are missing or others than those used.
    """
    from pipeline.stage_one import FILE_NAME
    from pipeline.weights import read_safetensors

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
    made = flow_parameters(run, folder, making)
    return Recipe(
        path,
        PlanOptions(**run.parameters["plan"]),
        FlowOptions(**made["flow"]),
        TVL1Options(**made["tvl1"]),
        made,
        replace(trunk, precision=str(known["precision"])),  # type: ignore[arg-type]
        FusionOptions(**fusion_now),
        int(known["seed"]),  # type: ignore[call-overload]
        run.parameters,
        run.weights,
    )


def _located(trunk: TrunkOptions, path: Path, run: Run, making: Making) -> TrunkOptions:
    """Return the options with weight files that are there and are the ones used in training."""
    from pipeline.stage_one import load_stage_one
    from pipeline.stage_one_build import origins

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


def flow_parameters(run: Run, folder: Path, making: Making) -> dict[str, Any]:
    """Find the options of the training flow.

    Where the features do not record them they are read from the training caches: through the
    digests that lead from the run to its features and from these to their flow, in the folders
    named by the user or in ``features`` and ``flow`` beside the run or above; or, without that
    chain, from the flow caches that the user names.

    Raises
    ------
    InputError
        They cannot be found.
    """
    recorded = run.parameters.get("flow")
    if isinstance(recorded, dict):
        return recorded
    above = list(folder.resolve().parents)[:3]
    for features in (making.features, *(place / "features" for place in above)):
        for flow in (making.flow, *(place / "flow" for place in above)):
            if features is not None and flow is not None and features.is_dir() and flow.is_dir():
                found = _through_digests(folder, features, flow)
                if found is not None:
                    return found
    if making.flow is not None:
        return _any_in(making.flow)
    raise InputError(
        f"{folder}: does not say with which options its flow was made; give the caches that it was "
        "trained on, --features FEATURES --flow FLOW, or --flow with flow made in the same way"
    )


def feature_digests(folder: Path) -> dict[str, str]:
    """Content digest of a run's training features -> key of the video."""
    from pipeline.run_folder import CHECKPOINT
    from pipeline.weights import read_safetensors

    path = folder / CHECKPOINT if folder.is_dir() else folder
    about = read_safetensors(path)[1].get("dexterank")
    if not isinstance(about, dict):
        return {}
    return dict(zip(about.get("feature_digests", ()), about["keys"], strict=False))


def _through_digests(folder: Path, features: Path, flow: Path) -> dict[str, Any] | None:
    from data.cache import cache_path, content_digest, read_header

    for digest, key in feature_digests(folder).items():
        made, source = cache_path(features, key), cache_path(flow, key)
        if not (made.is_file() and source.is_file()):
            continue
        try:
            fits = content_digest(made) == digest
            if fits and content_digest(source) == read_header(made).upstream:
                return _without_plan(read_header(source).parameters)
        except CacheError:
            continue
    return None


def _any_in(flow: Path) -> dict[str, Any]:
    """Return the options that all caches of a folder share."""
    from data.cache import find_caches, read_header

    kinds: list[dict[str, Any]] = []
    for path in find_caches(flow, "flow").values():
        options = _without_plan(read_header(path).parameters)
        if options not in kinds:
            kinds.append(options)
    if len(kinds) != 1:
        held = "no flow caches" if not kinds else f"flow of {len(kinds)} different options"
        raise InputError(
            f"{flow}: holds {held}; expected flow made with the options of the run's training"
        )
    log.warning(
        "%s: its options are taken for those of the training, which the run does not record", flow
    )
    return kinds[0]


def _without_plan(parameters: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in parameters.items() if name != "plan"}


def planned(options: PlanOptions) -> dict[str, Any]:
    """Return a plan's options as caches record them."""
    unused = ("stride",) if options.plan == "segments" else ("segments", "candidates")
    return {name: value for name, value in asdict(options).items() if name not in unused}
