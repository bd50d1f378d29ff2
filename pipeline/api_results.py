"""What the functions for notebooks return: paths, numbers and rows, nothing to be closed."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Extracted:
    """Caches of some videos.

    Attributes
    ----------
    flow, features : Path
        Folders of the caches; `features` is what `train` takes.
    videos : tuple of str
        Keys of the videos with features, in order.
    failures : dict of str to str
        Why other videos have none.
    warnings : dict of str to tuple of str
        What was odd about videos that have some.
    """

    flow: Path
    features: Path
    videos: tuple[str, ...]
    failures: dict[str, str] = field(default_factory=dict)
    warnings: dict[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class LearntFusion:
    """A ConvFusion fitted on training pairs.

    Attributes
    ----------
    path : Path
        The checkpoint, for ``extract(..., fusion=path)``.
    summary : str
        The epoch that was kept, and its losses and accuracies.
    """

    path: Path
    summary: str


@dataclass(frozen=True)
class Trained:
    """A trained ranker.

    Attributes
    ----------
    run : Path
        The run folder.
    ranking : list of dict
        ``video``, ``score``, ``rank`` and ``percentile``, best first.
    accuracy : dict of str to float
        Pair accuracy as a share: ``"train"``, and ``"validation"`` and ``"test"`` where there are
        such pairs.
    protocol : str
        How the epoch was chosen.
    epoch : int
        The one kept, from 1.
    history : list of dict
        One record an epoch.
    """

    run: Path
    ranking: list[dict[str, Any]]
    accuracy: dict[str, float]
    protocol: str
    epoch: int
    history: list[dict[str, Any]]


@dataclass(frozen=True)
class CrossValidation:
    """The table of a cross-validation; printing it shows the table, as does a notebook.

    Attributes
    ----------
    folder : Path
        With the tables and every run's own file.
    rows : list of dict
        One method a row, as in ``table.csv``. Empty where runs failed or are other shards'.
    failures : tuple of str
        Runs that failed, and why, as the command lists them.
    text, markdown : str
        The table, with what must be said above and below it.
    """

    folder: Path
    rows: list[dict[str, str]]
    failures: tuple[str, ...] = ()
    text: str = ""
    markdown: str = field(default="", repr=False)

    def __str__(self) -> str:
        return self.text

    def _repr_markdown_(self) -> str:
        return self.markdown


@dataclass(frozen=True)
class Scored:
    """Scores of videos, beside those of the training videos; printing it shows the table.

    Attributes
    ----------
    rows : list of dict
        Best first: ``video``, ``score``, ``standardised``, ``rank``, ``of``, ``percentile``,
        ``better`` and ``worse`` (the training videos next to it, or None), and of several runs
        ``spread``.
    failures : dict of str to str
        Why other videos have no score.
    text : str
        The table.
    """

    rows: list[dict[str, Any]]
    failures: dict[str, str] = field(default_factory=dict)
    text: str = field(default="", repr=False)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Explained:
    """Pictures of attention.

    Attributes
    ----------
    folder : Path
    sheets : dict of str to Path
        The contact sheet of each video.
    overlays : dict of str to Path
        The film of each video; empty with ``film=False``.
    failures : dict of str to str
        Why other videos have none.
    """

    folder: Path
    sheets: dict[str, Path]
    overlays: dict[str, Path]
    failures: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Demonstration:
    """What the demonstration came to.

    Attributes
    ----------
    folder : Path
        Everything that was made.
    text : str
        Its summary: the table, and the time of each stage.
    failures : tuple of str
        What failed on the way.
    """

    folder: Path
    text: str
    failures: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.text
