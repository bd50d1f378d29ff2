"""What is known of each video before its features are computed: input, header, snippets."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.cache.flow import open_flow
from data.cache.folder import cache_path, content_digest
from data.cache.header import Header
from data.errors import CacheError, VideoError
from data.options import PlanOptions
from data.sampling import plan_snippets
from data.sources import Source
from data.video.claims import claimed_shape
from data.video.info import damage_among
from data.video.reading import file_digest
from model.features.options import FusionOptions, TrunkOptions
from pipeline.extract_features.cached_flow import snippet_plan
from pipeline.extract_features.snippets import VideoInput
from pipeline.extract_flow.settings import FlowSettings

# A header that claims more, four days at 30 Hz, is not believed.
_MOST_FRAMES = 10_000_000


@dataclass(frozen=True)
class Settings:
    """What the user asked for, with devices and precision resolved.

    Flow comes from `flow_folder`, or is computed as `recipe` says where that is None; `save_flow`
    is then the folder that keeps it.
    """

    flow_folder: Path | None
    output: Path
    plan: PlanOptions
    trunk: TrunkOptions
    fusion: FusionOptions
    precision: str
    devices: list[str]
    keep_streams: bool
    strict: bool
    seed: int
    recipe: FlowSettings | None = None
    flow_workers: int = 1
    save_flow: Path | None = None
    overwrite: bool = False

    @property
    def on_cuda(self) -> bool:
        """Whether the networks run on GPUs."""
        return all(device.startswith("cuda") for device in self.devices)

    def input(self, source: Source, flow_folder: Path | None) -> VideoInput:
        """Return what a worker needs to read a video, with flow from a folder or computed."""
        saved = None
        if flow_folder is None and self.save_flow is not None:
            saved = cache_path(self.save_flow, source.key)
        return VideoInput(
            source.key,
            source.path,
            None if flow_folder is None else cache_path(flow_folder, source.key),
            self.plan,
            self.trunk.input_size,
            resize_flow=not self.on_cuda,
            recipe=self.recipe,
            flow_workers=self.flow_workers,
            save_flow=saved,
        )


@dataclass(frozen=True)
class PlannedVideo:
    """One video of a run.

    Attributes
    ----------
    input : VideoInput
    path : Path
        Its feature cache.
    frame_index, time : ndarray or None
        Of its snippets; None while nobody has scanned the video.
    flow : Header
        Of its flow cache; where there is none, as much of it as is known.
    flow_digest : str
        Content of the flow cache; "" where flow is computed on the way.
    snippets : int
        By the video's header where `frame_index` is None.
    """

    input: VideoInput
    path: Path
    frame_index: np.ndarray | None
    time: np.ndarray | None
    flow: Header
    flow_digest: str
    snippets: int

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was odd about the video when its flow was computed."""
        return self.flow.warnings


def plan_cached(settings: Settings, source: Source, flow_folder: Path) -> PlannedVideo:
    """Plan a video whose flow lies in a cache.

    Raises
    ------
    CacheError
        No flow cache, or one of another video or plan; names the command that makes it.
    VideoError
        The video cannot be read, or is damaged and `strict` is asked for.
    """
    video = settings.input(source, flow_folder)
    path = cache_path(flow_folder, source.key)
    command = f"`pipeline extract-flow {source.path} -o {flow_folder}`"
    if not path.exists():
        raise CacheError(f"{path}: no flow cache of this video; make it with {command}")
    with open_flow(path) as flow:
        header = flow.header
        if header.source_digest != file_digest(source.path):
            raise CacheError(
                f"{path}: made from other content than {source.path} has now; make it "
                f"again with {command} --overwrite"
            )
        damage = damage_among(header.warnings) if settings.strict else []
        if damage:
            raise VideoError(f"{source.path}: {'; '.join(damage)}")
        plan = snippet_plan(flow, video.plan)
        time = flow.frame_time[plan.frame]
    return PlannedVideo(
        video,
        cache_path(settings.output, source.key),
        plan.frame,
        time,
        header,
        content_digest(path),
        len(plan.frame),
    )


def plan_direct(settings: Settings, source: Source) -> PlannedVideo:
    """Plan a video whose flow is computed on the way.

    It is read only where there is a cache to compare its content with; whoever computes it scans
    it.

    Raises
    ------
    VideoError
        The video cannot be read.
    """
    video = settings.input(source, None)
    path = cache_path(settings.output, source.key)
    there = path.exists() or (video.save_flow is not None and video.save_flow.exists())
    recipe = settings.recipe
    header = Header(
        "flow",
        source=str(source.path.absolute()),
        source_digest=file_digest(source.path) if there else "",
        parameters={} if recipe is None else recipe.parameters,
        versions={} if recipe is None else recipe.versions,
    )
    return PlannedVideo(video, path, None, None, header, "", _claimed_snippets(source, settings))


def _claimed_snippets(source: Source, settings: Settings) -> int:
    """Return how many snippets a video has by its own header; 0 where that says nothing."""
    shape = claimed_shape(source.path)
    if shape is None or shape[0] > _MOST_FRAMES:
        return 0
    frames, _, _, fps = shape
    try:
        return len(plan_snippets(np.arange(frames) / fps, settings.plan).frame)
    except ValueError:
        return 0
