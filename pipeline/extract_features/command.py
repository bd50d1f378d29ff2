"""Stage 1b: frozen two-stream features of videos, one cache a video."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from data.errors import InputError
from data.options import FlowOptions, PlanOptions
from model.features.options import FusionOptions, TrunkOptions
from model.tvl1.options import TVL1Options
from pipeline.extract_features.run import (
    FeatureResult,
    enter_results,
    keep_missing_flow,
    run,
    summarise,
)
from pipeline.runner.jobs import JobOptions, Outcome, finish, in_order, take_shard
from pipeline.runner.stage import StageOptions
from pipeline.shell.console import log
from pipeline.shell.flags import (
    build,
    check_plan_and_size,
    common_options,
    dataclass_options,
    explicit_flags,
    refuse_flow_options,
    shared_options,
)

if TYPE_CHECKING:
    from data.sources import Source

__all__ = ["FeatureResult", "command", "extract_features"]


def extract_features(
    sources: Sequence[Source],
    flow_folder: str | Path | None,
    output: str | Path,
    plan: PlanOptions | None = None,
    trunk: TrunkOptions | None = None,
    fusion: FusionOptions | None = None,
    jobs: JobOptions | None = None,
    device: str = "auto",
    batch_size: int | None = None,
    overwrite: bool = False,
    strict: bool = False,
    dry_run: bool = False,
    seed: int = 0,
    keep_streams: bool = False,
    flow: FlowOptions | None = None,
    tvl1: TVL1Options | None = None,
    engine: str = "auto",
    save_flow: str | Path | None = None,
) -> Outcome[Source, FeatureResult]:
    """Compute the feature caches of some videos; those that are there and valid are kept.

    Parameters
    ----------
    sources : sequence of Source
        As `data.sources.find_sources` gives them.
    flow_folder : path or None
        Output of `extract_flow` for these videos, made with a plan that covers this one; None
        computes the flow on the way, the same as `extract_flow` would.
    output : path
        Root of the caches, ``<output>/<key>.h5``, and of `stage_one.safetensors`.
    plan, trunk, fusion : options
        Which snippets, which trunks, and which frozen fusion.
    jobs : JobOptions
        On CUDA, the processes that read frames and flow. On a CPU, the threads of the trunks,
        beside which one more thread reads.
    device : str
        "auto", "cpu", "cuda:0", or several with commas, which share the videos.
    batch_size : int, optional
        Snippets a batch at most; None chooses by device and input size.
    overwrite, strict, dry_run : bool
        Compute all again; fail on videos that warned; only say what would be done.
    seed : int
        Of random trunks and fusion.
    keep_streams : bool
        Keep both stream maps too.
    flow, tvl1 : options
        Of flow that is computed on the way.
    engine : {"auto", "numba", "opencv", "cuda"}
        For that; "auto" is the CUDA engine where the networks run on GPUs.
    save_flow : path, optional
        Folder that gets the flow caches which `extract_flow` would write.

    Returns
    -------
    Outcome
        One `FeatureResult` a video, in the order of the sources, and the failures. Empty after a
        dry run.

    Raises
    ------
    InputError
        Weights, options or devices that cannot be used; caches made otherwise are in the way.
    """
    from pipeline.extract_features.forward import resolve_precision
    from pipeline.extract_features.plan import FeaturePlan, Settings
    from pipeline.extract_features.recipe import make_recipe
    from pipeline.runner.devices import parse_devices

    jobs = jobs or JobOptions()
    devices = parse_devices(device)
    plan, trunk = plan or PlanOptions(), trunk or TrunkOptions()
    flow, tvl1 = flow or FlowOptions(), tvl1 or TVL1Options()
    _check_folders(Path(output), flow_folder, save_flow)
    direct = flow_folder is None
    settings = Settings(
        None if flow_folder is None else Path(flow_folder),
        Path(output),
        plan,
        trunk,
        fusion or FusionOptions(),
        resolve_precision(trunk.precision, devices),
        devices,
        keep_streams,
        strict,
        seed,
        make_recipe(plan, flow, tvl1, engine, devices, strict) if direct else None,
        _flow_threads(jobs, devices),
        None if save_flow is None else Path(save_flow),
        overwrite,
    )
    planned = FeaturePlan(settings, sources, take_shard(sources, jobs.shard))
    if dry_run:
        from pipeline.extract_features.estimate import show

        show(planned, batch_size, overwrite, jobs)
        return Outcome()
    outcome: Outcome[Source, FeatureResult] = Outcome(failures=list(planned.failures))
    if planned.videos:
        setup = planned.prepare(overwrite)
        todo = planned.todo(setup.weights, overwrite)
        failed = run(planned, setup, todo, jobs, batch_size)
        failed |= keep_missing_flow(planned, todo, jobs)
        enter_results(planned, todo, failed, outcome)
    return in_order(outcome, sources)


def _check_folders(
    output: Path, flow_folder: str | Path | None, save_flow: str | Path | None
) -> None:
    """Refuse folders whose files would be mixed up."""
    from pipeline.runner.files import check_is_folder

    if flow_folder is not None and save_flow is not None:
        raise InputError("--save-flow keeps flow that is computed here; it goes without --flow")
    for flag, folder in (("--flow", flow_folder), ("--save-flow", save_flow)):
        if folder is not None and Path(folder).resolve() == output.resolve():
            raise InputError(
                f"{flag} {folder}: expected another folder than --output, found the same; flow "
                "and features of a video have one file name"
            )
    for folder in (output, save_flow):
        if folder is not None:
            check_is_folder(Path(folder))


def _flow_threads(jobs: JobOptions, devices: Sequence[str]) -> int:
    """Threads of a CPU engine in each reader: readers of a GPU are processes of one thread."""
    on_cuda = all(device.startswith("cuda") for device in devices)
    alone = jobs.backend == "dask" or (on_cuda and jobs.processes)
    return 1 if alone else jobs.workers(1 << 30)


EPILOG = """\b
Examples:
  pipeline extract-features videos/ -o features/
  pipeline extract-features videos/ -o features/ --save-flow flow/ --device cuda:0,cuda:1
  pipeline extract-features videos/ --flow flow/ -o features/ --rgb-weights resnet101.pth
  pipeline extract-features videos/ --flow flow/ -o streams/ --keep-streams --dry-run

\b
With --flow, the sampling options must be those given to extract-flow, and the options of flow
itself belong there. Run the same command again to go on after an interruption: finished caches
are kept.
"""


def _batch_size(ctx: click.Context, param: click.Parameter, value: str) -> int | None:
    if value == "auto":
        return None
    if not value.isdecimal() or int(value) < 1:
        raise click.BadParameter("expected auto or a whole number of at least 1")
    return int(value)


def _check_weights(ctx: click.Context, trunk: TrunkOptions, fusion: FusionOptions) -> None:
    """Warn of flags that the requested weights ignore."""
    from pipeline.stage_one.networks import OWN_FUSIONS, needs_training_snippets

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
    "flow_folder",
    type=click.Path(path_type=Path),
    help="Output of extract-flow for the same videos; without it flow is computed on the way.",
)
@click.option(
    "--save-flow",
    type=click.Path(path_type=Path),
    help="Keep flow that is computed on the way, as extract-flow would, in this folder.",
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
@click.option(
    "--keep-streams/--no-keep-streams",
    default=False,
    show_default=True,
    help="Keep both trunks' maps too, 64 times the size (for fit-fusion and video_lstm).",
)
@dataclass_options(PlanOptions)
@dataclass_options(TrunkOptions)
@dataclass_options(FusionOptions)
@dataclass_options(FlowOptions)
@dataclass_options(TVL1Options)
@dataclass_options(StageOptions)
@common_options("seed")
@click.pass_context
def command(ctx: click.Context, /, videos: tuple[str, ...], **params: Any) -> None:
    """Compute frozen two-stream features of VIDEOS, one HDF5 cache a video.

    VIDEOS are folders, files, @list.txt with a path a line, or a CSV with a column `video` or
    `path`. Two ResNet101s see each snippet's frame and flow stack; ConvFusion joins their maps.
    Flow comes from --flow, or is computed on the way, on a GPU straight from device memory.
    --device may name several GPUs (cuda:0,cuda:1), which share the videos; --jobs are then the
    processes that read for them, and on a CPU the threads of the networks.
    """
    from data.sources import find_sources

    if params["flow_folder"] is not None:
        refuse_flow_options(ctx)
    check_plan_and_size(ctx)
    trunk, fusion = build(TrunkOptions, params), build(FusionOptions, params)
    _check_weights(ctx, trunk, fusion)
    outcome = extract_features(
        find_sources(videos),
        params["flow_folder"],
        params["output"],
        build(PlanOptions, params),
        trunk,
        fusion,
        build(JobOptions, params),
        params["device"],
        params["batch_size"],
        overwrite=params["overwrite"],
        strict=params["strict"],
        dry_run=params["dry_run"],
        seed=params["seed"],
        keep_streams=params["keep_streams"],
        flow=build(FlowOptions, params),
        tvl1=build(TVL1Options, params),
        engine=params["engine"],
        save_flow=params["save_flow"],
    )
    if not params["dry_run"]:
        summarise(outcome, params["output"], scanned=params["flow_folder"] is None)
    ctx.exit(finish(outcome, lambda source: source.key))
