"""A trained ranker applied to the features of new videos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.errors import InputError
from model.ranker.build import NEED_STREAMS
from model.ranker.scoring import score
from pipeline.runner.devices import parse_devices, torch_threads
from pipeline.runs.folder import CHECKPOINT, Run, load_run
from pipeline.runs.maps import find_feature_set, read_maps
from pipeline.score.ranking import Reference
from pipeline.score.recipe import feature_digests
from pipeline.score.search import Made
from pipeline.shell.console import log

# Features computed on another machine differ in rounding; scores then by less than this share of
# the training scores' standard deviation.
_SAME_SCORE = 0.05


@dataclass(frozen=True)
class Scored:
    """One video as a run sees it.

    Attributes
    ----------
    made : Made
        Its features.
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
        The run's own video, by key, that this is.
    """

    made: Made
    score: float
    running: np.ndarray
    frames: np.ndarray
    rows: np.ndarray
    attention: np.ndarray | None
    known_as: str | None


@dataclass(frozen=True)
class Member:
    """A run, and what scores mean in it.

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
        return cls(folder, run, Reference(videos, np.array(scores)), feature_digests(folder))

    def score(self, features: Sequence[Made], device: str = "auto") -> list[Scored]:
        """Score videos from their features, each as in training.

        Raises
        ------
        InputError
            The features are of another shape, or made with other weights.
        """
        found: dict[int, Scored] = {}
        for folder in dict.fromkeys(made.folder for made in features):
            here = [n for n, made in enumerate(features) if made.folder == folder]
            scored = self._score_folder(folder, [features[n] for n in here], device)
            found.update(zip(here, scored, strict=True))
        return [found[n] for n in range(len(features))]

    def _score_folder(self, folder: Path, features: Sequence[Made], device: str) -> list[Scored]:
        run = self.run
        found = find_feature_set(
            folder,
            [made.key for made in features],
            run.ranker.segments,
            streams=run.ranker.variant in NEED_STREAMS,
            snippet_stride=run.snippet_stride,
        )
        run.check_features(folder, found.shape, found.header.weights)
        maps = read_maps(found)
        with torch_threads(1):  # As train-ranker does by default: another number rounds otherwise.
            scores = score(
                run.model, maps, run.ranker.segments, run.train.sampling, parse_devices(device)[0]
            )
        result = []
        for row, made in enumerate(features):
            used = scores.rows[row] - int(maps.start[row])
            result.append(
                Scored(
                    made,
                    float(scores.score[row]),
                    scores.running[row],
                    found.frame_index[row][used],
                    found.rows[row][used],
                    None if scores.attention is None else scores.attention[row],
                    self._known(made, float(scores.score[row])),
                )
            )
        return result

    def _known(self, made: Made, score: float) -> str | None:
        """Return the run's video that this is: by the features' content, or by name and score."""
        if made.digest in self.digests:
            return self.digests[made.digest]
        for key, known in zip(self.run.keys, self.run.scores, strict=True):
            alike = abs(known - score) <= _SAME_SCORE * self.reference.deviation
            if alike and Path(key).name == made.source.path.name:
                return key
        return None
