"""Features of videos that a run has not seen: found where they are there, otherwise made."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from data.cache.folder import cache_path, content_digest, read_header
from data.errors import InputError, VideoError
from data.files import temporary_name
from data.sources import Source
from data.video.reading import file_digest
from pipeline.extract_features.command import extract_features
from pipeline.extract_features.settings import FeatureSettings
from pipeline.extract_flow.command import extract_flow
from pipeline.extract_flow.settings import FlowSettings
from pipeline.runner.devices import parse_devices
from pipeline.runner.jobs import Outcome, in_order
from pipeline.runner.stage import StageOptions
from pipeline.score.options import Making, make_folder
from pipeline.score.recipe import Recipe, planned
from pipeline.score.search import Made, Search, find_kept
from pipeline.shell.console import log


def make_features(
    sources: Sequence[Source], recipe: Recipe, making: Making, *, with_flow: bool = False
) -> Outcome[Source, Made]:
    """Return the features of some videos, made as the recipe says.

    Caches in the user's folders are recognised by the content of the videos, whatever the videos
    are called. Those that do not fit the recipe are left alone, and the log says so.

    Parameters
    ----------
    with_flow : bool
        Make flow even where features are there already, for pictures.
    """
    found = Search(recipe, making)
    outcome: Outcome[Source, Made] = Outcome()
    todo: dict[str, Source] = {}
    of: dict[str, list[Source]] = {}
    made: dict[str, Made] = {}
    for source in sources:
        try:
            digest = file_digest(source.path)
        except VideoError as error:
            outcome.failures.append((source, str(error)))
            continue
        of.setdefault(digest, []).append(source)
        ready = found.features(source, digest)
        if ready is None or (with_flow and ready.flow is None):
            todo[digest] = Source(source.path, f"{source.path.name}-{digest[:12]}")
        if ready is not None:
            made[digest] = ready
    failures = _make(todo, made, recipe, making, found, with_flow)
    for digest, wanted in of.items():
        for source in wanted:
            if digest in failures:
                outcome.failures.append((source, failures[digest]))
            else:
                outcome.results.append((source, replace(made[digest], source=source)))
    return in_order(outcome, sources)


def _make(
    todo: Mapping[str, Source],
    made: dict[str, Made],
    recipe: Recipe,
    making: Making,
    found: Search,
    with_flow: bool,
) -> dict[str, str]:
    """Make what is missing; add it to `made`, and return failures by digest."""
    if not todo:
        return {}
    recipe = _for_here(recipe, making)
    if making.cache is None:
        raise ValueError("making: expected a cache folder (see with_cache)")
    folder = making.cache / recipe.name(_engine_record(recipe, making), recipe.trunk.precision)
    _told(folder, recipe, making)
    todo = _without_kept(todo, made, folder, recipe, with_flow)
    linked = {digest: path for digest in todo if (path := found.flow(digest)) is not None}
    fresh = {digest: source for digest, source in todo.items() if digest not in linked}
    failures = _make_flow(fresh, folder / "flow", recipe, making)
    for digest, path in linked.items():
        _link(path, cache_path(folder / "given", todo[digest].key))
    without = {digest for digest in todo if digest not in made}
    if without:
        _stage_one(folder / "features", recipe)
    for chosen, flow in ((fresh, folder / "flow"), (linked, folder / "given")):
        wanted = {
            todo[digest].key: digest
            for digest in chosen
            if digest in without and digest not in failures
        }
        failures |= _extract(wanted, todo, flow, folder / "features", recipe, making)
    for digest, source in todo.items():
        if digest in failures:
            continue
        flow_path = cache_path(folder / ("given" if digest in linked else "flow"), source.key)
        if digest in made:
            made[digest] = replace(made[digest], flow=flow_path)
            continue
        path = cache_path(folder / "features", source.key)
        header, content = read_header(path), content_digest(path)
        made[digest] = Made(source, folder / "features", source.key, flow_path, header, content)
    # Features that are there do not fail for want of a picture of their flow.
    return {digest: message for digest, message in failures.items() if digest not in made}


def _without_kept(
    todo: Mapping[str, Source],
    made: dict[str, Made],
    folder: Path,
    recipe: Recipe,
    with_flow: bool,
) -> dict[str, Source]:
    """Add what an earlier call has kept to `made`; return what still lacks something."""
    rest = {}
    for digest, source in todo.items():
        if digest not in made and (kept := find_kept(folder, source, digest, recipe)):
            made[digest] = kept
        if digest not in made or (with_flow and made[digest].flow is None):
            rest[digest] = source
    return rest


def _make_flow(
    fresh: Mapping[str, Source], folder: Path, recipe: Recipe, making: Making
) -> dict[str, str]:
    if not fresh:
        return {}
    digests = {source.key: digest for digest, source in fresh.items()}
    outcome = extract_flow(
        list(fresh.values()),
        _flow_settings(recipe, making),
        StageOptions(output=folder, jobs=making.jobs, strict=making.strict),
    )
    return {digests[source.key]: message for source, message in outcome.failures}


def _extract(
    wanted: Mapping[str, str],
    todo: Mapping[str, Source],
    flow: Path,
    folder: Path,
    recipe: Recipe,
    making: Making,
) -> dict[str, str]:
    if not wanted:
        return {}
    outcome = extract_features(
        [todo[digest] for digest in wanted.values()],
        FeatureSettings(
            flow=flow,
            plan=recipe.plan,
            trunk=recipe.trunk,
            fusion=recipe.fusion,
            seed=recipe.seed,
            batch_size=making.batch_size,
            keep_streams=bool(recipe.parameters["keep_streams"]),
        ),
        StageOptions(output=folder, jobs=making.jobs, device=making.device, strict=making.strict),
    )
    return {wanted[source.key]: message for source, message in outcome.failures}


def _for_here(recipe: Recipe, making: Making) -> Recipe:
    """Compute in float32 where there is no GPU, whatever training did."""
    on_cuda = all(device.startswith("cuda") for device in parse_devices(making.device))
    if recipe.trunk.precision == "float16" and not on_cuda:
        log.warning(
            "the training features were computed in float16 on a GPU, these are in float32 on the "
            "CPU: scores may differ in the third digit"
        )
        return replace(recipe, trunk=replace(recipe.trunk, precision="float32"))
    resized = "torch" if on_cuda else "Pillow"
    if recipe.parameters["flow_resize"] != resized:
        log.warning(
            "the training flow was resized by %s, this by %s: levels may differ by 1",
            recipe.parameters["flow_resize"],
            resized,
        )
    return recipe


def _engine_record(recipe: Recipe, making: Making) -> dict[str, Any]:
    """Return the flow parameters that caches made here will have."""
    return _flow_settings(recipe, making).parameters


def _flow_settings(recipe: Recipe, making: Making) -> FlowSettings:
    return FlowSettings.resolved(
        plan=recipe.plan,
        flow=recipe.flow,
        tvl1=recipe.tvl1,
        engine=making.engine,
        device=making.device,
        strict=making.strict,
    )


def _told(folder: Path, recipe: Recipe, making: Making) -> None:
    """Make the folder, say where it is, and what differs from training here."""
    make_folder(folder, "--cache")
    log.info("flow and features go to %s", folder)
    here = _engine_record(recipe, making)
    for name in ("engine", "preparation"):
        trained = recipe.flow_parameters.get(name)
        if trained != here[name]:
            log.warning(
                "the training flow was made by %s %s, this is made by %s: scores may differ a "
                "little",
                name,
                trained,
                here[name],
            )
    if planned(recipe.plan) != recipe.parameters["plan"]:
        raise InputError(
            f"{recipe.stage_one}: the run's sampling plan is not one that this version knows"
        )


def _stage_one(folder: Path, recipe: Recipe) -> None:
    """Put the run's stage one where extract-features looks for it; it is checked by digest."""
    from pipeline.runner.files import read_safetensors, write_safetensors
    from pipeline.stage_one.file import FILE_NAME

    if (folder / FILE_NAME).exists():
        return
    folder.mkdir(exist_ok=True)
    tensors, known = read_safetensors(recipe.stage_one)
    # Another process may have been faster, with the same content.
    with suppress(FileExistsError):
        write_safetensors(
            folder / FILE_NAME,
            tensors,
            known | {"precision": recipe.trunk.precision},
            replace=False,
        )


def _link(path: Path, to: Path) -> None:
    """Make a cache known under another key, without a copy where links are possible."""
    to.parent.mkdir(parents=True, exist_ok=True)
    temporary = to.parent / temporary_name()
    try:
        temporary.symlink_to(path.resolve())
    except OSError:
        shutil.copyfile(path, temporary)
    temporary.replace(to)
