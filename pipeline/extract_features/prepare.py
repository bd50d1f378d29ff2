"""What must exist before features are computed: flow caches and stage one's networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from data.errors import InputError, StaleCacheError
from data.sources import Source, find_sources
from pipeline.extract_features.settings import FeatureSettings
from pipeline.extract_features.snippets import (
    VideoInput,
    count_snippets,
    read_snippets,
    video_input,
)
from pipeline.extract_flow.command import extract_flow
from pipeline.runner.devices import torch_threads
from pipeline.runner.jobs import Outcome
from pipeline.shell.console import emit, log, progress
from pipeline.stage_one.file import FILE_NAME, prepare_stage_one
from pipeline.stage_one.origins import needs_training_snippets

if TYPE_CHECKING:
    from torch import Tensor

    from pipeline.extract_flow.settings import FlowSettings
    from pipeline.extract_flow.video import FlowResult
    from pipeline.runner.stage import StageOptions
    from pipeline.stage_one.networks import Networks


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """Flow caches and networks for some videos, made as they are needed.

    Attributes
    ----------
    sources : sequence of Source
        All videos: what is fitted sees training videos among all of them.
    chosen : sequence of Source
        Those of this shard.
    settings, options
    flow : FlowSettings, optional
        Flow is computed first; None expects the flow caches to exist.
    """

    sources: Sequence[Source]
    chosen: Sequence[Source]
    settings: FeatureSettings
    options: StageOptions
    flow: FlowSettings | None

    def compute_flow(self, sources: Sequence[Source]) -> Outcome[Source, FlowResult]:
        """Run extract-flow into the flow folder, where flow is to be computed first."""
        folder = self.settings.flow
        if self.flow is None or not sources:
            return Outcome()
        if self.options.dry_run:
            emit(f"flow      {folder}")
        else:
            log.info("flow goes to %s", folder)
        try:
            return extract_flow(sources, self.flow, replace(self.options, output=folder))
        except StaleCacheError as error:  # Here, --output is the folder of the features.
            raise StaleCacheError(str(error).replace("--output", "--save-flow")) from error

    @property
    def builds_networks(self) -> bool:
        """Whether the output has no stage one yet that is used again."""
        return self.options.overwrite or not (self.options.output / FILE_NAME).exists()

    @property
    def fits_networks(self) -> bool:
        """Whether stage one has to be fitted on training snippets, which need flow."""
        fitted = needs_training_snippets(self.settings.trunk, self.settings.fusion)
        return self.builds_networks and fitted

    def networks(self, devices: Sequence[str]) -> Networks:
        """Load the output's stage one, or build it."""
        output, overwrite = self.options.output, self.options.overwrite
        settings = self.settings.networks(devices)
        with torch_threads(self.options.jobs.workers()):
            return prepare_stage_one(output, settings, self._training_snippets, overwrite)

    def _training_snippets(self) -> tuple[Tensor, Tensor, list[str]]:
        training = self._training_sources()
        self.compute_flow([source for source in training if source not in self.chosen])
        inputs = [video_input(source, self.settings) for source in training]
        return training_snippets(inputs, self.settings.trunk.training_snippets)

    def check_training_videos(self) -> None:
        """Refuse training videos that cannot be found, where stage one is fitted on them."""
        if self.fits_networks:
            self._training_sources()

    def _training_sources(self) -> list[Source]:
        """Return training videos, spread evenly over those named, or over all."""
        sources, named = self.sources, self.settings.trunk.training_videos
        if named is not None:
            known = {source.path: source for source in sources}
            sources = [known.get(source.path, source) for source in find_sources([named])]
        count = min(self.settings.trunk.training_snippets, len(sources))
        return [sources[index] for index in _spread(len(sources), count)]


def training_snippets(videos: Sequence[VideoInput], count: int) -> tuple[Tensor, Tensor, list[str]]:
    """Read about `count` snippets, spread evenly over the videos and over each one's time.

    Parameters
    ----------
    videos
        Training videos, at most `count`; those that cannot be read are left out with a warning.
    count
        Snippets in all; fewer where the videos have fewer.

    Returns
    -------
    frames : Tensor (N, 3, S, S) uint8
    stacks : Tensor (N, 2L, S, S) uint8
    keys : list of str
        The videos that were used.

    Raises
    ------
    InputError
        No video can be read.
    """
    import torch

    frames, stacks, keys = [], [], []
    for number, video in enumerate(progress(videos, desc="training snippets", unit="video")):
        share = len(range(number, count, len(videos)))
        try:
            rows = _spread(count_snippets(video), share)
            snippets = list(read_snippets(video, rows, {}))
        except InputError as error:
            log.warning("%s: left out of the training snippets: %s", video.key, error)
            continue
        frames += [frame for _, frame, _ in snippets]
        stacks += [stack for _, _, stack in snippets]
        keys.append(video.key)
    if not keys:
        raise InputError("none of the training videos can be read")
    return torch.from_numpy(np.stack(frames)), torch.from_numpy(np.stack(stacks)), keys


def _spread(n: int, count: int) -> np.ndarray:
    """Middles of `count` equal parts of n things, each thing once."""
    parts = 2 * np.arange(count, dtype=np.int64) + 1
    return np.unique(n * parts // (2 * count))
