"""Trained runs that score videos: one, or several whose scores are averaged."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.errors import InputError
from model.ranker.build import NEED_STREAMS
from model.ranker.scoring import score
from pipeline.runner.devices import parse_devices, torch_threads
from pipeline.runs.features import find_feature_set
from pipeline.runs.folder import CHECKPOINT, Run, load_run
from pipeline.runs.maps import read_maps
from pipeline.score.features import VideoFeatures
from pipeline.score.ranking import Reference
from pipeline.shell.console import log
from pipeline.stage_one.file import FILE_NAME

# Features computed on another machine differ by rounding. Scores then differ by less than this
# share of the training scores' standard deviation.
_SAME_SCORE = 0.05


@dataclass(frozen=True, kw_only=True)
class Scored:
    """One video as a run sees it.

    Attributes
    ----------
    features : VideoFeatures
    score : float
    running : ndarray (N,) float64
        Score after each step.
    frames : ndarray (N,) int64
        Frame seen at each step.
    rows : ndarray (N,) int64
        Snippet of the feature cache seen at each step.
    attention : ndarray (N, H, W) float32, or None
        None for a ranker without maps of attention.
    known_as : str or None
        Key of the video among those that the run scored at the end of its training.
    """

    features: VideoFeatures
    score: float
    running: np.ndarray
    frames: np.ndarray
    rows: np.ndarray
    attention: np.ndarray | None
    known_as: str | None


@dataclass(frozen=True, kw_only=True)
class Member:
    """A run, and the training scores that give its scores a meaning.

    Attributes
    ----------
    folder : Path
    run : Run
    reference : Reference
        Its training videos.
    digests : dict of str to str
        Content of a training feature cache -> key of its video.
    """

    folder: Path
    run: Run
    reference: Reference
    digests: dict[str, str]

    @classmethod
    def load(cls, folder: Path) -> Member:
        """Read a run folder.

        Raises
        ------
        InputError
            It cannot be used, or no training video has a score.
        """
        lacks = folder.is_dir() and not (folder / CHECKPOINT).is_file()
        if lacks and (below := sorted(folder.rglob(CHECKPOINT))):
            raise InputError(
                f"{folder}: no run itself, but {len(below)} lie below it, e.g. "
                f"{below[0].parent}; name one (score averages them with --ensemble)"
            )
        run = load_run(folder)
        if note := run.part_note():
            log.warning("%s: %s", folder, note)
        trained = set(run.training_videos)
        scored = [pair for pair in zip(run.keys, run.scores, strict=True) if pair[0] in trained]
        if not scored:
            raise InputError(f"{folder}: holds no scores of training videos to compare with")
        videos, scores = zip(*scored, strict=True)
        reference = Reference(videos, np.array(scores))
        digests = dict(zip(run.feature_digests, run.keys, strict=False))  # May have none.
        return cls(folder=folder, run=run, reference=reference, digests=digests)

    @property
    def stage_one(self) -> Path | None:
        """The nearest stage-one file at or above the run; None if there is none."""
        start = self.folder if self.folder.is_dir() else self.folder.parent
        for folder in list((start.resolve() / FILE_NAME).parents)[:3]:
            if (folder / FILE_NAME).is_file():
                return folder / FILE_NAME
        return None

    def score(self, features: Sequence[VideoFeatures], device: str = "auto") -> list[Scored]:
        """Score videos from their features, each as in training.

        Raises
        ------
        InputError
            The features are of another shape, or made with other weights.
        """
        results: dict[int, Scored] = {}
        for folder in dict.fromkeys(each.folder for each in features):
            numbers = [n for n, each in enumerate(features) if each.folder == folder]
            scored = self._score_folder(folder, [features[n] for n in numbers], device)
            results.update(zip(numbers, scored, strict=True))
        return [results[n] for n in range(len(features))]

    def _score_folder(
        self, folder: Path, features: Sequence[VideoFeatures], device: str
    ) -> list[Scored]:
        run = self.run
        caches = find_feature_set(
            folder,
            [each.key for each in features],
            run.ranker.segments,
            streams=run.ranker.variant in NEED_STREAMS,
            snippet_stride=run.snippet_stride,
        )
        run.check_features(folder, caches.shape, caches.header.weights)
        maps = read_maps(caches)
        with torch_threads(1):  # As train-ranker does by default: another number rounds otherwise.
            scores = score(
                run.model, maps, run.ranker.segments, run.train.sampling, parse_devices(device)[0]
            )
        results = []
        for row, each in enumerate(features):
            used = scores.rows[row] - int(maps.start[row])
            value = float(scores.score[row])
            results.append(
                Scored(
                    features=each,
                    score=value,
                    running=scores.running[row],
                    frames=caches.frame_index[row][used],
                    rows=caches.rows[row][used],
                    attention=None if scores.attention is None else scores.attention[row],
                    known_as=self._known(each, value),
                )
            )
        return results

    def _known(self, features: VideoFeatures, score: float) -> str | None:
        """Return the key of the same video in the run, by content, or by name and score."""
        if features.digest in self.digests:
            return self.digests[features.digest]
        for key, known in zip(self.run.keys, self.run.scores, strict=True):
            alike = abs(known - score) <= _SAME_SCORE * self.reference.deviation
            if alike and Path(key).name == features.source.path.name:
                return key
        return None


def find_runs(folder: Path) -> list[Path]:
    """Find the run folders at or below a folder.

    Raises
    ------
    InputError
        There are none.
    """
    if not folder.exists():
        raise InputError(f"{folder}: no such folder")
    if folder.is_file() or (folder / CHECKPOINT).is_file():
        return [folder]
    runs = sorted(path.parent for path in folder.rglob(CHECKPOINT))
    if not runs:
        raise InputError(
            f"{folder}: no trained ranker ({CHECKPOINT}) in it or below it; name runs of "
            "train-ranker, or a folder that holds them"
        )
    return runs


def load_members(folders: Sequence[Path], variant: str | None) -> list[Member]:
    """Read runs that can be averaged: of one variant, trained on features made alike.

    Raises
    ------
    InputError
        They differ, or there is no run of the variant.
    """
    paths = list(dict.fromkeys(path for folder in folders for path in find_runs(folder)))
    members = [Member.load(path) for path in paths]
    variants = sorted({member.run.ranker.variant for member in members})
    if variant is not None:
        members = [member for member in members if member.run.ranker.variant == variant]
        if not members:
            raise InputError(f"--variant {variant}: there are only {', '.join(variants)}")
    elif len(variants) > 1:
        raise InputError(
            f"{folders[0]}: holds runs of {', '.join(variants)}; choose one with --variant"
        )
    first, *others = members
    for member in others:
        same_weights = member.run.weights == first.run.weights
        if not (same_weights and member.run.parameters == first.run.parameters):
            raise InputError(
                f"{member.folder}: was trained on features made with other options or weights than "
                f"those of {first.folder}; only runs on the same features can be averaged"
            )
    if not others:
        log.warning("%s: the only run there; its own scores, without a spread", first.folder)
    return members


def short_names(members: Sequence[Member]) -> list[str]:
    """Return names for members that tell them apart."""
    names = [re.sub(r"[^\w.-]+", "_", member.folder.absolute().name) for member in members]
    if len(set(names)) == len(names):
        return names
    return [member.folder.as_posix() for member in members]
