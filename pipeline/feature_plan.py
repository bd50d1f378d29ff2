"""Before features are computed: which videos, which snippets, which caches are there already."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from data import cache
from data.cache_header import Header
from data.errors import CacheError, InputError, VideoError
from data.flow_cache import open_flow
from data.options import PlanOptions
from data.sources import Source, find_sources
from data.video import file_digest
from model.features.options import FusionOptions, TrunkOptions
from pipeline.console import progress
from pipeline.feature_workers import FeatureTask, VideoJob
from pipeline.forward import CPU_BATCH, CUDA_BATCH
from pipeline.jobs import JobOptions
from pipeline.snippets import VideoInput, snippet_plan
from pipeline.stage_one import StageOneSetup, map_shape, prepare_stage_one, stream_shape
from pipeline.training_snippets import training_snippets

STACK_ORDER = "u1 v1 u2 v2"


@dataclass(frozen=True)
class Settings:
    """What the user asked for, with devices and precision resolved."""

    flow_folder: Path
    output: Path
    plan: PlanOptions
    trunk: TrunkOptions
    fusion: FusionOptions
    precision: str
    devices: list[str]
    keep_streams: bool
    strict: bool
    seed: int

    @property
    def on_cuda(self) -> bool:
        """Whether the networks run on GPUs."""
        return all(device.startswith("cuda") for device in self.devices)


@dataclass(frozen=True)
class PlannedVideo:
    """One video whose flow is there, with its snippets."""

    input: VideoInput
    path: Path
    frame_index: np.ndarray
    time: np.ndarray
    flow: Header
    flow_digest: str

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was odd about the video when its flow was computed."""
        return self.flow.warnings


class FeaturePlan:
    """The videos of a run, checked against their flow caches.

    Attributes
    ----------
    videos : list of (Source, PlannedVideo)
    failures : list of (Source, str)
        Videos without matching flow, each with what to do about it.
    """

    def __init__(
        self, settings: Settings, sources: Sequence[Source], chosen: Sequence[Source]
    ) -> None:
        if not settings.flow_folder.is_dir():
            raise InputError(
                f"{settings.flow_folder}: no such folder; `pipeline extract-flow VIDEOS -o "
                f"{settings.flow_folder}` makes it"
            )
        self.settings = settings
        self.all_sources = sources
        self.videos: list[tuple[Source, PlannedVideo]] = []
        self.failures: list[tuple[Source, str]] = []
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

    def input(self, source: Source) -> VideoInput:
        """Return what a worker needs to read a video."""
        settings = self.settings
        return VideoInput(
            source.key,
            source.path,
            cache.cache_path(settings.flow_folder, source.key),
            settings.plan,
            settings.trunk.input_size,
            resize_flow=not settings.on_cuda,
        )

    def _plan_one(self, source: Source) -> PlannedVideo | str:
        try:
            return self._check_one(source)
        except InputError as error:
            return str(error)

    def _check_one(self, source: Source) -> PlannedVideo:
        video = self.input(source)
        command = f"`pipeline extract-flow {source.path} -o {self.settings.flow_folder}`"
        if not video.flow.exists():
            raise CacheError(f"{video.flow}: no flow cache of this video; make it with {command}")
        with open_flow(video.flow) as flow:
            header = flow.header
            if header.source_digest != file_digest(source.path):
                raise CacheError(
                    f"{video.flow}: made from other content than {source.path} has now; make it "
                    f"again with {command} --overwrite"
                )
            if self.settings.strict and header.warnings:
                raise VideoError(f"{source.path}: {'; '.join(header.warnings)} (--strict)")
            plan = snippet_plan(flow, video.plan)
            time = flow.frame_time[plan.frame]
        return PlannedVideo(
            video,
            cache.cache_path(self.settings.output, source.key),
            plan.frame,
            time,
            header,
            cache.content_digest(video.flow),
        )

    def prepare(self, overwrite: bool) -> StageOneSetup:
        """Build stage one, or load the one that the output folder has."""
        settings = self.settings
        return prepare_stage_one(
            settings.output,
            settings.trunk,
            settings.fusion,
            settings.plan.stack_length,
            settings.precision,
            settings.seed,
            lambda: training_snippets(self.training_videos(), settings.trunk.training_snippets),
            overwrite,
        )

    def training_videos(self) -> list[VideoInput]:
        """Return the videos named by --training-videos, or all; by their keys among all."""
        named = self.settings.trunk.training_videos
        # Stacks are wanted at input size here, whatever the device.
        known = {source.path: source for source in self.all_sources}
        sources = self.all_sources if named is None else find_sources([named])
        settings = self.settings
        return [
            VideoInput(
                known.get(source.path, source).key,
                source.path,
                cache.cache_path(settings.flow_folder, known.get(source.path, source).key),
                settings.plan,
                settings.trunk.input_size,
            )
            for source in sources
        ]

    def header(self, video: PlannedVideo, weights: dict[str, str]) -> Header:
        """Return the header that a video's feature cache is to have."""
        flow = video.flow
        return Header(
            kind="features",
            source=flow.source,
            source_size=flow.source_size,
            source_digest=flow.source_digest,
            decoded_frames=flow.decoded_frames,
            claimed_frames=flow.claimed_frames,
            rotation=flow.rotation,
            parameters=self._parameters(),
            upstream=video.flow_digest,
            weights=weights,
            versions=_versions(),
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
        wanted = {source.key: self.header(video, weights) for source, video in self.videos}
        return cache.check_folder(self.settings.output, wanted, overwrite)

    def jobs(self, weights: dict[str, str], todo: Sequence[str]) -> list[VideoJob]:
        """Return the work on the given keys."""
        keys = set(todo)
        return [
            VideoJob(v.input, self.header(v, weights), v.path, v.frame_index, v.time)
            for source, v in self.videos
            if source.key in keys
        ]

    def task(self, setup: StageOneSetup, jobs: JobOptions, batch_size: int | None) -> FeatureTask:
        """Return what all videos share."""
        settings = self.settings
        readers = 0
        if settings.on_cuda and jobs.backend == "loky":
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
            setup.map_shape,
            setup.stream_shape,
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
        for video in sorted(videos, key=lambda job: -len(job.frame_index)):
            least = load.index(min(load))
            shares[least][1].append(video)
            load[least] += len(video.frame_index)
        return [share for share in shares if share[1]]

    def bytes_a_snippet(self) -> int:
        """Uncompressed float16 bytes of one cached snippet."""
        trunk, fusion = self.settings.trunk, self.settings.fusion
        count = int(np.prod(map_shape(trunk, fusion)))
        if self.settings.keep_streams:
            count += 2 * int(np.prod(stream_shape(trunk)))
        return 2 * count


def _versions() -> dict[str, str]:
    packages = ("torch", "torchvision", "pillow", "numpy", "h5py")
    return {package: importlib.metadata.version(package) for package in packages}
