"""Before features are computed: which videos, which snippets, which caches are there already."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from data.cache.folder import cache_path, check_folder, read_header
from data.cache.header import Header
from data.errors import CacheError, InputError
from data.sources import Source, find_sources
from pipeline.extract_features.forward import CPU_BATCH, CUDA_BATCH
from pipeline.extract_features.share import FeatureTask, VideoJob
from pipeline.extract_features.snippets import VideoInput
from pipeline.extract_features.training_snippets import training_snippets
from pipeline.extract_features.videos import PlannedVideo, Settings, plan_cached, plan_direct
from pipeline.runner.files import check_writable
from pipeline.runner.jobs import JobOptions
from pipeline.shell.console import progress
from pipeline.stage_one.file import FILE_NAME, prepare_stage_one
from pipeline.stage_one.networks import Networks, NetworkSettings

__all__ = ["FeaturePlan", "PlannedVideo", "Settings"]

STACK_ORDER = "u1 v1 u2 v2"


class FeaturePlan:
    """The videos of a run, checked against their flow caches where flow is not computed.

    Attributes
    ----------
    videos : list of (Source, PlannedVideo)
    failures : list of (Source, str)
        Videos without matching flow, each with what to do about it.

    Raises
    ------
    InputError
        There is no flow folder.
    StaleCacheError
        Kept flow was made from other input or options.
    """

    def __init__(
        self, settings: Settings, sources: Sequence[Source], chosen: Sequence[Source]
    ) -> None:
        folder = settings.flow_folder
        if folder is not None and not folder.is_dir():
            raise InputError(
                f"{folder}: no such folder; `pipeline extract-flow VIDEOS -o {folder}` makes it, "
                "or leave --flow out to compute flow on the way"
            )
        self.settings = settings
        self.all_sources = sources
        self.videos: list[tuple[Source, PlannedVideo]] = []
        self.failures: list[tuple[Source, str]] = []
        self._plan_all(chosen)
        if folder is None and settings.save_flow is not None and not settings.overwrite:
            self._use_kept(settings.save_flow)

    def _plan_all(self, chosen: Sequence[Source]) -> None:
        # Hashing waits for the disk and releases the interpreter: threads are enough.
        with ThreadPoolExecutor(4) as pool:
            found = pool.map(self._plan_one, chosen)
            for source, video in progress(
                zip(chosen, found, strict=True), total=len(chosen), desc="check", unit="video"
            ):
                if isinstance(video, str):
                    self.failures.append((source, video))
                else:
                    self.videos.append((source, video))

    def _plan_one(self, source: Source) -> PlannedVideo | str:
        folder = self.settings.flow_folder
        try:
            if folder is None:
                return plan_direct(self.settings, source)
            return plan_cached(self.settings, source, folder)
        except InputError as error:
            return str(error)

    def _use_kept(self, folder: Path) -> None:
        """Read flow that an earlier run kept, if it is what would be computed now."""
        there = {
            source.key: video.flow
            for source, video in self.videos
            if cache_path(folder, source.key).exists()
        }
        check_folder(folder, there, flag="--save-flow")
        planned, self.videos = self.videos, []
        for source, video in planned:
            try:
                kept = source.key in there
                found = plan_cached(self.settings, source, folder) if kept else video
                self.videos.append((source, found))
            except InputError as error:
                self.failures.append((source, str(error)))

    def prepare(self, overwrite: bool) -> Networks:
        """Build stage one, or load the one that the output folder has."""
        settings = self.settings
        if overwrite or not (settings.output / FILE_NAME).exists():
            check_writable(settings.output)  # before anything is fitted
        return prepare_stage_one(
            settings.output,
            self.networks,
            lambda: training_snippets(
                self.training_videos(), settings.trunk.training_snippets, settings.devices[0]
            ),
            overwrite,
        )

    @property
    def networks(self) -> NetworkSettings:
        """All that decides stage one's networks."""
        settings = self.settings
        return NetworkSettings(
            trunk=settings.trunk,
            fusion=settings.fusion,
            stack_length=settings.plan.stack_length,
            precision=settings.precision,
            seed=settings.seed,
        )

    def training_videos(self) -> list[VideoInput]:
        """Return the videos named by --training-videos, or all; by their keys among all."""
        settings = self.settings
        named = settings.trunk.training_videos
        known = {source.path: source for source in self.all_sources}
        sources = self.all_sources if named is None else find_sources([named])
        # Stacks are wanted at input size here, whatever the device.
        return [
            replace(
                settings.input(known.get(source.path, source), settings.flow_folder),
                path=source.path,
                resize_flow=True,
            )
            for source in sources
        ]

    def header(self, video: PlannedVideo, weights: dict[str, str]) -> Header:
        """Return the header that a video's feature cache is to have.

        `upstream` is the content digest of the flow cache, and empty where flow is computed on
        the way; how it was computed stands in the parameters in both cases.
        """
        flow = video.flow
        computed = {name: value for name, value in flow.parameters.items() if name != "plan"}
        return Header(
            kind="features",
            source=flow.source,
            source_size=flow.source_size,
            source_digest=flow.source_digest,
            decoded_frames=flow.decoded_frames,
            claimed_frames=flow.claimed_frames,
            rotation=flow.rotation,
            parameters={**self._parameters(), "flow": computed},
            upstream=video.flow_digest,
            weights=weights,
            versions={**flow.versions, **_versions()},
            warnings=flow.warnings,
        )

    def _parameters(self) -> dict[str, object]:
        """Return all options that the arrays depend on and that no weight digest covers."""
        settings = self.settings
        planned = asdict(settings.plan)
        unused = ("stride",) if settings.plan.plan == "segments" else ("segments", "candidates")
        for name in unused:
            del planned[name]
        return {
            "plan": planned,
            "trunk_stage": settings.trunk.trunk_stage,
            "input_size": settings.trunk.input_size,
            "precision": settings.precision,
            "flow_resize": "torch" if settings.on_cuda else "Pillow",
            "stack_order": STACK_ORDER,
            "keep_streams": settings.keep_streams,
        }

    def todo(self, weights: dict[str, str], overwrite: bool) -> list[str]:
        """Return the keys to do; StaleCacheError when caches made otherwise are in the way."""
        wanted = {
            source.key: _with_known_flow(video, self.header(video, weights))
            for source, video in self.videos
        }
        return check_folder(self.settings.output, wanted, overwrite)

    def jobs(self, weights: dict[str, str], todo: Sequence[str]) -> list[VideoJob]:
        """Return the work on the given keys."""
        keys = set(todo)
        return [
            VideoJob(v.input, self.header(v, weights), v.path, v.frame_index, v.time, v.snippets)
            for source, v in self.videos
            if source.key in keys
        ]

    def task(self, setup: Networks, jobs: JobOptions, batch_size: int | None) -> FeatureTask:
        """Return what all videos share."""
        settings = self.settings
        readers = 0
        if settings.on_cuda and jobs.processes:
            readers = max(1, jobs.workers(1 << 30) // len(settings.devices))
        return FeatureTask(
            settings.output,
            settings.trunk.rgb_weights,
            settings.trunk.flow_weights,
            tuple(sorted(setup.weights.items())),
            settings.precision,
            batch_size or self.batch_size(),
            settings.keep_streams,
            readers,
            setup.settings.map_shape,
            setup.settings.stream_shape,
        )

    def batch_size(self) -> int:
        """Snippets a batch where the user gave none: constant in pixels, so that memory is too."""
        base = CUDA_BATCH if self.settings.on_cuda else CPU_BATCH
        return min(max(base, base * 448**2 // self.settings.trunk.input_size**2), 64)

    def shares(
        self, videos: Sequence[VideoJob], *, one_by_one: bool
    ) -> list[tuple[str, list[VideoJob]]]:
        """Share videos among devices by snippets, longest first; or make each a share."""
        devices = self.settings.devices
        if one_by_one:
            return [(devices[i % len(devices)], [video]) for i, video in enumerate(videos)]
        shares: list[tuple[str, list[VideoJob]]] = [(device, []) for device in devices]
        load = [0] * len(devices)
        for video in sorted(videos, key=lambda job: -job.snippets):
            least = load.index(min(load))
            shares[least][1].append(video)
            load[least] += max(1, video.snippets)
        return [share for share in shares if share[1]]

    def bytes_a_snippet(self) -> int:
        """Uncompressed float16 bytes of one cached snippet."""
        count = int(np.prod(self.networks.map_shape))
        if self.settings.keep_streams:
            count += 2 * int(np.prod(self.networks.stream_shape))
        return 2 * count


def _with_known_flow(video: PlannedVideo, wanted: Header) -> Header:
    """Take features that are there for made from the wanted flow if only one of both names it.

    A flow cache is known by its content, and flow computed on the way by its parameters; those
    stand in both headers, so that either command may go on with the other's features.
    """
    try:
        found = read_header(video.path).upstream
    except CacheError:
        return wanted
    return replace(wanted, upstream=found) if "" in (found, wanted.upstream) else wanted


def _versions() -> dict[str, str]:
    packages = ("torch", "torchvision", "pillow", "numpy", "h5py")
    return {package: importlib.metadata.version(package) for package in packages}
