"""The scores of new videos: of one run, or the mean of several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data.errors import InputError
from data.sources import Source
from pipeline.runner.jobs import Outcome
from pipeline.score.members import Member, Scored, short_names
from pipeline.score.ranking import Place, Reference


@dataclass(frozen=True, kw_only=True)
class VideoScore:
    """The score of one video, and what it means.

    Attributes
    ----------
    video, path : str
        Its name and place.
    score : float
        The run's score; of several runs the mean of their standardised scores.
    standardised : float
        In standard deviations of the training videos' scores from their mean.
    place : Place
        Rank, percentile and neighbours among the training videos.
    note : str
        Says that this is one of the run's own videos; else empty.
    members : dict of str to float
        Each run's own score.
    spread : float or None
        Standard deviation of the runs' standardised scores; None for one run.
    ranks : tuple (best, worst), or None
        Of the runs' own ranks.
    warnings : tuple of str
        What was odd about the video.
    """

    video: str
    path: str
    score: float
    standardised: float
    place: Place
    note: str
    members: dict[str, float]
    spread: float | None = None
    ranks: tuple[int, int] | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ScoreResult:
    """Scores of new videos.

    Attributes
    ----------
    outcome : Outcome
        One `VideoScore` a video, in the order of the sources, and the failures.
    reference : Reference
        Training videos and their scores.
    members : sequence of Member
        The runs.
    """

    outcome: Outcome[Source, VideoScore]
    reference: Reference
    members: Sequence[Member]


def combine(
    members: Sequence[Member], scored: Sequence[Sequence[Scored]]
) -> tuple[Reference, list[VideoScore]]:
    """Return the scores of videos, and the training videos that they compare with.

    Parameters
    ----------
    members : sequence of Member
    scored : sequence of sequences of Scored
        Each member's scores of the videos.
    """
    if len(members) == 1:
        return members[0].reference, [_alone(members[0], each) for each in scored[0]]
    reference, table = common_reference(members)
    own = [Reference(reference.videos, row) for row in table]
    videos = list(zip(*scored, strict=True))
    return reference, [_averaged(members, reference, own, each) for each in videos]


def _alone(member: Member, scored: Scored) -> VideoScore:
    source, reference = scored.features.source, member.reference
    trained = scored.known_as in member.run.training_videos
    note = ""
    if scored.known_as is not None:
        kind = "a training video, ranked among the others" if trained else "scored in training"
        note = kind if scored.known_as == source.key else f"{kind} ({scored.known_as})"
    return VideoScore(
        video=source.key,
        path=str(source.path),
        score=scored.score,
        standardised=reference.standardised(scored.score),
        place=reference.place(scored.score, scored.known_as if trained else None),
        note=note,
        members={short_names([member])[0]: scored.score},
        warnings=scored.features.header.warnings,
    )


def _averaged(
    members: Sequence[Member],
    reference: Reference,
    own: Sequence[Reference],
    scored: Sequence[Scored],
) -> VideoScore:
    """Return the mean of standardised scores; `own` are the reference's scores by each member."""
    pairs = list(zip(members, scored, strict=True))
    values = np.array([member.reference.standardised(each.score) for member, each in pairs])
    itself = next((each.known_as for each in scored if each.known_as in reference.videos), None)
    trained = sum(each.known_as in member.run.training_videos for member, each in pairs)
    ranks = [each.place(float(value), itself).rank for each, value in zip(own, values, strict=True)]
    features, mean = scored[0].features, float(values.mean())
    names = short_names(members)
    return VideoScore(
        video=features.source.key,
        path=str(features.source.path),
        score=mean,
        standardised=mean,
        place=reference.place(mean, itself),
        note=f"a training video of {trained} of {len(members)} runs" if trained else "",
        members={name: each.score for name, each in zip(names, scored, strict=True)},
        spread=float(values.std(ddof=1)),
        ranks=(min(ranks), max(ranks)),
        warnings=features.header.warnings,
    )


def common_reference(members: Sequence[Member]) -> tuple[Reference, np.ndarray]:
    """Return the ensemble's training videos, and each member's scores of them.

    Returns
    -------
    reference : Reference
        Videos that some member was trained on and all have scored; their mean scores, each
        member's first standardised on its own training videos.
    standardised : ndarray (M, V)
        The members' own.

    Raises
    ------
    InputError
        There are no such videos.
    """
    trained = {video for member in members for video in member.run.training_videos}
    scores = [dict(zip(m.run.keys, m.run.scores, strict=True)) for m in members]
    videos = tuple(
        video
        for video in members[0].run.keys
        if video in trained and all(video in each for each in scores)
    )
    if not videos:
        raise InputError("these runs have no training video in common to compare scores with")
    table = np.array(
        [
            [member.reference.standardised(each[video]) for video in videos]
            for member, each in zip(members, scores, strict=True)
        ]
    )
    return Reference(videos, table.mean(axis=0)), table
