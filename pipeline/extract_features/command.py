"""Stage 1b, `pipeline extract-features`: frozen two-stream features of videos, one cache a video.

Read downwards: the function that does it, the flags. `plan.py` checks, `prepare.py` has flow and
networks made, `stage.py` answers the stage (`pipeline.runner.stage`); `snippets.py` reads one
video's snippets, and `share.py` computes those of one device.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from data.errors import InputError
from pipeline.extract_features.settings import (
    FeatureResult,
    FeatureSettings,
    default_flow_folder,
)
from pipeline.extract_features.stage import FeatureStage
from pipeline.extract_flow.command import check_plan_and_size, refuse_flow_options
from pipeline.extract_flow.settings import FlowComputation
from pipeline.runner.jobs import Outcome, in_order, take_shard
from pipeline.runner.stage import StageOptions, run, summarise
from pipeline.shell.common import common_options
from pipeline.shell.console import emit, log
from pipeline.shell.flags import build, dataclass_options, explicit_flags
from pipeline.stage_one.fusion import check_fusion
from pipeline.stage_one.networks import check_weights

if TYPE_CHECKING:
    from data.sources import Source
    from pipeline.extract_flow.settings import FlowSettings


def extract_features(
    sources: Sequence[Source],
    settings: FeatureSettings,
    options: StageOptions,
    flow: FlowSettings | None = None,
) -> Outcome[Source, FeatureResult]:
    """Compute the feature caches of some videos; caches that exist and are valid are kept.

    Parameters
    ----------
    sources, settings, options
    flow : FlowSettings, optional
        Run extract-flow first, into `settings.flow`; None expects the flow caches there.

    Returns
    -------
    Outcome
        Results and failures, in the order of the sources; empty after a dry run.

    Raises
    ------
    InputError
        Weights, options or devices that cannot be used; caches made with other options are in the
        way.
    """
    from pipeline.extract_features import plan
    from pipeline.extract_features.prepare import Preparation
    from pipeline.runner.devices import parse_devices

    devices = parse_devices(options.device)
    _ = settings.networks(devices).map_shape  # Refuse an input that is too small.
    flow_first = flow is not None
    plan.check_folders(settings, options, flow_first=flow_first)
    chosen = take_shard(sources, options.jobs.shard)
    options = replace(options, jobs=replace(options.jobs, shard=None))
    preparation = Preparation(
        sources=sources, chosen=chosen, settings=settings, options=options, flow=flow
    )
    networks = None
    # Wrong weights and missing training videos are refused before hours of flow.
    if preparation.builds_networks:
        check_fusion(settings.networks(devices))
        preparation.check_training_videos()
    if options.dry_run or preparation.fits_networks:
        check_weights(settings.networks(devices), download=not options.dry_run)
    elif flow_first:
        networks = preparation.networks(devices)
    flow_outcome = preparation.compute_flow(chosen)
    failures = dict(flow_outcome.failures)
    usable = [source for source in chosen if source not in failures]
    jobs, unusable = plan.plan_videos(usable, settings, devices, options, flow_first=flow_first)
    failures |= unusable
    usable = [source for source in usable if source not in failures]
    if options.dry_run:
        emit(f"features  {options.output}")
        for source, message in failures.items():
            emit(f"cannot    {source.key}: {message}")
        jobs = plan.with_weights(jobs, plan.stored_weights(options, usable))
        return run(FeatureStage(settings, devices, jobs), usable, options)
    if usable:
        networks = networks or preparation.networks(devices)
        jobs = plan.with_weights(jobs, networks.weights)
    outcome = run(FeatureStage(settings, devices, jobs, networks), usable, options)
    notes = {source: result.warnings for source, result in flow_outcome.results}
    outcome.results = [
        (source, replace(result, warnings=notes.get(source, result.warnings)))
        for source, result in outcome.results
    ]
    outcome.failures += failures.items()
    return in_order(outcome, sources)


EPILOG = """\b
Examples:
  pipeline extract-features videos/ -o features/
  pipeline extract-features videos/ -o features/ --save-flow flow/ --device cuda:0,cuda:1
  pipeline extract-features videos/ --flow flow/ -o features/ --rgb-weights resnet101.pth
  pipeline extract-features videos/ --flow flow/ -o streams/ --keep-streams --dry-run

\b
With --flow, give the sampling options that extract-flow was given, and no options of flow itself.
Run the same command again to continue after an interruption: finished caches are kept.
"""


def _batch_size(ctx: click.Context, param: click.Parameter, value: str) -> int | None:
    if value == "auto":
        return None
    if not value.isdecimal() or int(value) < 1:
        raise click.BadParameter("expected auto or a whole number of at least 1")
    return int(value)


@click.command("extract-features", epilog=EPILOG)
@click.argument("videos", nargs=-1, required=True, metavar="VIDEOS...")
@click.option(
    "--flow",
    type=click.Path(path_type=Path),
    help="Output of extract-flow for the same videos; without it extract-flow runs first.",
)
@click.option(
    "--save-flow",
    type=click.Path(path_type=Path),
    show_default="OUTPUT-flow",
    help="Folder for the flow of extract-flow where it runs first; later runs find it there.",
)
@dataclass_options(FlowComputation)
@click.option(
    "--batch-size",
    default="auto",
    show_default=True,
    metavar="N|auto",
    callback=_batch_size,
    help="Snippets a batch; halved when memory runs out.",
)
@dataclass_options(FeatureSettings, without=("flow", "batch_size"))
@dataclass_options(StageOptions)
@common_options()
@click.pass_context
def command(ctx: click.Context, /, videos: tuple[str, ...], **params: Any) -> None:
    """Compute frozen two-stream features of VIDEOS, one HDF5 cache a video.

    VIDEOS are folders, files, @list.txt with a path a line, or a CSV with a column `video` or
    `path`. Two ResNet101s see each snippet's frame and flow stack; ConvFusion joins their maps.
    Flow comes from --flow; without it extract-flow runs first. --device may name several GPUs
    (cuda:0,cuda:1), which share the videos; --jobs is then the number of threads that read for
    them, and on a CPU that of the networks.
    """
    from data.sources import find_sources

    options = build(StageOptions, params)
    folder, save_to = params["flow"], params["save_flow"]
    flow = None
    if folder is not None:
        refuse_flow_options(ctx)
        if save_to is not None:
            raise InputError("--save-flow is for flow computed here; give it without --flow")
    check_plan_and_size(ctx)
    settings = build(
        FeatureSettings,
        {**params, "flow": folder or save_to or default_flow_folder(options.output)},
    )
    ignored = settings.ignored_options()
    for name in sorted(ignored.keys() & explicit_flags(ctx)):
        log.warning("--%s has no effect with %s", name.replace("_", "-"), ignored[name])
    if folder is None:
        flow = build(FlowComputation, params).settings(settings.plan, options)
    outcome = extract_features(find_sources(videos, options.exclude), settings, options, flow)
    ctx.exit(summarise(FeatureStage(settings, [], {}), outcome, options))
