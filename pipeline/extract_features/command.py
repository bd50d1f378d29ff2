"""Stage 1b, `pipeline extract-features`: frozen two-stream features of videos, one cache a video.

Read downwards: the function that does it, its answers to the stage (`pipeline.runner.stage`), the
flags. One video's snippets are read in `snippets.py`; `share.py` computes those of one device.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from data.errors import InputError
from data.options import FlowOptions
from model.tvl1.options import TVL1Options
from pipeline.extract_features.settings import (
    FeatureResult,
    FeatureSettings,
    default_flow_folder,
)
from pipeline.extract_flow.command import check_plan_and_size, refuse_flow_options
from pipeline.runner.jobs import Outcome, in_order, take_shard
from pipeline.runner.stage import StageOptions, run, summarise
from pipeline.shell.common import common_options
from pipeline.shell.console import emit, log
from pipeline.shell.flags import build, dataclass_options, explicit_flags, shared_options
from pipeline.stage_one.networks import OWN_FUSIONS, check_weights, needs_training_snippets

if TYPE_CHECKING:
    from data.cache.header import Header
    from data.sources import Source
    from model.features.options import FusionOptions, TrunkOptions
    from pipeline.extract_features.snippets import VideoJob
    from pipeline.extract_flow.settings import FlowSettings
    from pipeline.stage_one.networks import Networks


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
    from pipeline.extract_features import plan, prepare
    from pipeline.runner.devices import parse_devices

    devices = parse_devices(options.device)
    _ = settings.networks(devices).map_shape  # Refuse an input that is too small.
    flow_first = flow is not None
    plan.check_folders(settings, options, flow_first=flow_first)
    chosen = take_shard(sources, options.jobs.shard)
    options = replace(options, jobs=replace(options.jobs, shard=None))
    networks = None
    # Wrong weights are refused before hours of flow.
    if options.dry_run or not prepare.can_prepare_networks(settings, options):
        check_weights(settings.networks(devices), download=not options.dry_run)
    elif flow_first:
        networks = prepare.prepare_networks(sources, chosen, settings, devices, options, flow)
    flow_outcome = prepare.prepare_flow(chosen, settings, options, flow)
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
        networks = networks or prepare.prepare_networks(
            sources, chosen, settings, devices, options, flow
        )
        jobs = plan.with_weights(jobs, networks.weights)
    outcome = run(FeatureStage(settings, devices, jobs, networks), usable, options)
    notes = {source: result.warnings for source, result in flow_outcome.results}
    outcome.results = [
        (source, replace(result, warnings=notes.get(source, result.warnings)))
        for source, result in outcome.results
    ]
    outcome.failures += failures.items()
    return in_order(outcome, sources)


@dataclass(frozen=True)
class FeatureStage:
    """Videos and flow caches to feature caches.

    Attributes
    ----------
    settings : FeatureSettings
    devices : list of str
    jobs : mapping of str to VideoJob
        By key.
    networks : Networks, optional
        Stage one; a dry run needs none.
    """

    settings: FeatureSettings
    devices: list[str]
    jobs: Mapping[str, VideoJob]
    networks: Networks | None = None
    name: str = "extract-features"
    rows: str = "snippets"

    def digest(self, source: Source) -> str:
        """Digest of a video, which was compared with its flow cache's."""
        return self.jobs[source.key].header.source_digest

    def header(self, source: Source, digest: str) -> Header:
        """Header of a valid cache of this video."""
        return self.jobs[source.key].header

    def describe(self, path: Path) -> FeatureResult:
        """Return what is known of a valid cache that already exists."""
        from data.cache.features import open_features

        with open_features(path) as cache:
            return FeatureResult(path, len(cache), False, cache.header.warnings)

    def forecast(self, sources: Sequence[Source]) -> list[str]:
        """Return how many snippets these videos have, and how large their caches will be."""
        from pipeline.extract_features.plan import forecast

        jobs = [self.jobs[source.key] for source in sources]
        return forecast(jobs, self.settings, self.settings.networks(self.devices))

    def compute(
        self, sources: Sequence[Source], options: StageOptions
    ) -> Outcome[Source, FeatureResult]:
        """Compute videos on all devices."""
        from pipeline.extract_features.devices import compute_features

        if self.networks is None:
            raise ValueError("expected networks, got None")
        jobs = {source: self.jobs[source.key] for source in sources}
        failures = compute_features(
            list(jobs.values()), self.networks, self.settings, self.devices, options
        )
        results = [
            (source, FeatureResult(job.path, len(job.frame_index), True, job.header.warnings))
            for source, job in jobs.items()
            if source.key not in failures
        ]
        return Outcome(results, [(s, failures[s.key]) for s in sources if s.key in failures])


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


def _check_weights(ctx: click.Context, trunk: TrunkOptions, fusion: FusionOptions) -> None:
    """Warn of flags that the requested weights ignore."""
    unused = {}
    if trunk.rgb_weights is not None:
        unused["weights"] = "--rgb-weights, from which the flow trunk starts too"
    if not needs_training_snippets(trunk, fusion):
        for name in ("training_videos", "training_snippets"):
            unused[name] = "trunks with weights and a fusion that are not fitted"
    if fusion.fusion != "random":
        unused["fusion_hidden"] = f"--fusion {fusion.fusion}"
    if fusion.fusion not in OWN_FUSIONS:
        unused["fusion_channels"] = f"--fusion {fusion.fusion}, which has its own"
    for name in sorted(unused.keys() & explicit_flags(ctx)):
        log.warning("--%s has no effect with %s", name.replace("_", "-"), unused[name])


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
@shared_options("engine")
@click.option(
    "--batch-size",
    default="auto",
    show_default=True,
    metavar="N|auto",
    callback=_batch_size,
    help="Snippets a batch; halved when memory runs out.",
)
@dataclass_options(FeatureSettings, without=("flow", "batch_size"))
@dataclass_options(FlowOptions)
@dataclass_options(TVL1Options)
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
    from pipeline.extract_flow.settings import FlowSettings

    options = build(StageOptions, params)
    folder, kept = params["flow"], params["save_flow"]
    flow = None
    if folder is not None:
        refuse_flow_options(ctx)
        if kept is not None:
            raise InputError("--save-flow is for flow computed here; give it without --flow")
    check_plan_and_size(ctx)
    settings = build(
        FeatureSettings, {**params, "flow": folder or kept or default_flow_folder(options.output)}
    )
    _check_weights(ctx, settings.trunk, settings.fusion)
    if folder is None:
        flow = FlowSettings.resolved(
            plan=settings.plan,
            flow=build(FlowOptions, params),
            tvl1=build(TVL1Options, params),
            engine=params["engine"],
            device=options.device,
            strict=options.strict,
        )
    outcome = extract_features(find_sources(videos, options.exclude), settings, options, flow)
    ctx.exit(summarise(FeatureStage(settings, [], {}), outcome, options))
