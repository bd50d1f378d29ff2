"""Before features are computed: folders and flow caches are checked, nothing is written."""

from __future__ import annotations

import importlib.metadata
import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from data.cache.flow import open_flow
from data.cache.folder import cache_path, content_digest, read_header
from data.cache.header import Header, recorded_path
from data.errors import CacheError, InputError, StaleCacheError, VideoError
from data.sampling import plan_snippets
from data.sources import Source
from data.video.claims import claimed_shape
from data.video.info import damage_among
from data.video.reading import file_digest
from pipeline.extract_features.settings import FeatureSettings, all_cuda
from pipeline.extract_features.snippets import VideoInput, VideoJob, snippet_plan, video_input
from pipeline.runner.files import check_is_folder, check_writable
from pipeline.runner.stage import StageOptions
from pipeline.shell.console import progress
from pipeline.shell.words import format_bytes
from pipeline.stage_one.file import FILE_NAME, load_digests
from pipeline.stage_one.networks import NetworkSettings


def check_folders(settings: FeatureSettings, options: StageOptions, *, flow_first: bool) -> None:
    """Refuse folders that would mix caches or cannot be written.

    Parameters
    ----------
    settings, options
    flow_first : bool
        Whether extract-flow fills the flow folder.
    """
    if settings.flow.resolve() == options.output.resolve():
        flag = "--save-flow" if flow_first else "--flow"
        raise InputError(
            f"{flag} {settings.flow}: expected another folder than --output, found the same; flow "
            "and features of a video have one file name"
        )
    check_is_folder(options.output)
    check_is_folder(settings.flow)
    if not flow_first and not settings.flow.is_dir():
        raise InputError(
            f"{settings.flow}: no such folder; `pipeline extract-flow VIDEOS -o {settings.flow}` "
            "creates it, or leave --flow out to compute flow first"
        )
    if not options.dry_run and (options.overwrite or not (options.output / FILE_NAME).exists()):
        check_writable(options.output)


def plan_videos(
    sources: Sequence[Source],
    settings: FeatureSettings,
    devices: Sequence[str],
    options: StageOptions,
    *,
    flow_first: bool,
) -> tuple[dict[str, VideoJob], dict[Source, str]]:
    """Check videos against their flow caches: return jobs by key, and failures.

    The jobs' headers still lack the weights. In a dry run that would compute flow first, videos
    without flow are described by their own headers.
    """
    jobs: dict[str, VideoJob] = {}
    failures: dict[Source, str] = {}

    def planned(source: Source) -> VideoJob | str:
        try:
            return _plan_video(source, settings, devices, options, flow_first)
        except InputError as error:
            return str(error)

    with ThreadPoolExecutor(4) as pool:  # Hashing waits for the disk.
        results = zip(sources, pool.map(planned, sources), strict=True)
        for source, job in progress(results, total=len(sources), desc="check", unit="video"):
            if isinstance(job, str):
                failures[source] = job
            else:
                jobs[source.key] = job
    return jobs, failures


def _plan_video(
    source: Source,
    settings: FeatureSettings,
    devices: Sequence[str],
    options: StageOptions,
    flow_first: bool,
) -> VideoJob:
    """Check a video against its flow cache.

    Raises
    ------
    CacheError
        No flow cache, or one of another video or plan; names the command that makes it.
    VideoError
        The video cannot be read, or is damaged and `--strict` is set.
    """
    video = video_input(source, settings, resize_flow=not all_cuda(devices))
    command = f"`pipeline extract-flow {source.path} -o {settings.flow}`"
    if not video.flow.exists():
        if flow_first and options.dry_run:
            return _claimed_job(video, cache_path(options.output, source.key))
        raise CacheError(f"{video.flow}: no flow cache of this video; make it with {command}")
    with open_flow(video.flow) as flow:
        if flow.header.source_digest != file_digest(source.path):
            raise CacheError(
                f"{video.flow}: made from other content than {source.path} has now; make it "
                f"again with {command} --overwrite"
            )
        damage = damage_among(flow.header.warnings) if options.strict else []
        if damage:
            raise VideoError(f"{source.path}: {'; '.join(damage)}")
        plan = snippet_plan(flow, settings.plan)
        times = flow.frame_time[plan.frame]
    path = cache_path(options.output, source.key)
    upstream = "" if _flow_was_never_kept(path) else content_digest(video.flow)
    header = replace(
        _header(flow.header, upstream, settings.parameters(devices)),
        source=recorded_path(source.path),  # Flow may have been made under another name.
    )
    return VideoJob(video, path, header, plan.frame, times)


def _flow_was_never_kept(path: Path) -> bool:
    """Whether a feature cache is of an earlier version that computed flow without keeping it.

    Such a cache stays valid: the options of its flow are in its parameters.
    """
    try:
        return not read_header(path).upstream
    except CacheError:  # No cache, or a damaged one, which is reported later.
        return False


def _header(flow: Header, upstream: str, parameters: dict[str, object]) -> Header:
    """Header of a feature cache, from that of its flow cache; `upstream` is the flow's digest."""
    packages = ("torch", "torchvision", "pillow", "numpy", "h5py")
    versions = {package: importlib.metadata.version(package) for package in packages}
    flow_options = {name: value for name, value in flow.parameters.items() if name != "plan"}
    return replace(
        flow,
        kind="features",
        parameters={**parameters, "flow": flow_options},
        upstream=upstream,
        versions={**flow.versions, **versions},
    )


def stored_weights(options: StageOptions, sources: Sequence[Source]) -> dict[str, str]:
    """Return the digests of the weights that the output's caches were made with.

    Raises
    ------
    StaleCacheError
        There are caches of these videos but no stage one.
    """
    if options.overwrite:
        return {}
    if (options.output / FILE_NAME).exists():
        return load_digests(options.output)
    if any(cache_path(options.output, source.key).exists() for source in sources):
        raise StaleCacheError(
            f"{options.output}: holds caches but no {FILE_NAME}; pass --overwrite or another "
            "--output"
        )
    return {}


def _claimed_job(video: VideoInput, path: Path) -> VideoJob:
    """Return the job of a video whose flow does not exist, for a dry run: by its own header.

    Its feature cache, if there is one, is taken for valid.
    """
    header = read_header(path) if path.exists() else Header("features")
    shape = claimed_shape(video.path)
    count = 0
    if shape is not None:
        with suppress(ValueError):  # Too few frames for a snippet.
            count = len(plan_snippets(np.arange(shape[0]) / shape[3], video.plan).frame)
    return VideoJob(video, path, header, np.zeros(count, np.int64), np.zeros(count))


def with_weights(jobs: Mapping[str, VideoJob], weights: dict[str, str]) -> dict[str, VideoJob]:
    """Add the digests of stage one's weights to the headers of the jobs' caches."""
    return {
        key: replace(job, header=replace(job.header, weights=weights)) for key, job in jobs.items()
    }


def forecast(
    jobs: Sequence[VideoJob], settings: FeatureSettings, networks: NetworkSettings
) -> list[str]:
    """Return the lines of a dry run: snippets, and the largest size of their caches."""
    shapes = [networks.map_shape]
    if settings.keep_streams:
        shapes += 2 * [networks.stream_shape]
    size = 2 * sum(math.prod(shape) for shape in shapes)  # float16
    snippets = sum(len(job.frame_index) for job in jobs)
    claimed = not all(job.input.flow.exists() for job in jobs)
    streams = "with both stream maps" if settings.keep_streams else "fused maps only"
    return [
        f"snippets  {snippets:,}{' (by the headers of the videos)' if claimed else ''}",
        f"size      up to {format_bytes(snippets * size)} ({format_bytes(size)} a snippet, "
        f"{streams})",
    ]
