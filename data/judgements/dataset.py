"""`Dataset`, the result of every reader: pairs, folds, scores, and the files behind the names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from pathlib import Path

from data.errors import InputError
from data.judgements.comparisons import Comparison, majority
from data.judgements.pairs import Pair, videos_of
from data.judgements.splits import Split, group_of, k_fold_by_group, k_fold_by_video
from data.names import Matching, match_names


@dataclass(frozen=True)
class Span:
    """The part of a video file that was judged; either bound may be open (None).

    Attributes
    ----------
    start, end : float or None
        First and last moment, in `unit`.
    unit : str
        ``"frames"`` or ``"seconds"``.
    """

    start: float | None
    end: float | None
    unit: str


@dataclass(frozen=True)
class Dataset:
    """One task of one data set, as judged.

    Attributes
    ----------
    name : str
        Shown in tables, e.g. ``"EPIC-Skills 2018, surgery"``.
    pairs : list of Pair
        All judgements, as listed (repetitions are kept).
    folds : list of Split
        Published folds, or drawn ones.
    scores : dict of str to float, or None
        A score of each video, where the annotation has one; higher is better.
    known : str or None
        Key of the paper's own results table (``"chopstick"``, ``"surgery"``, ``"drawing"``,
        ``"dough"``, ``"infant-grasp"``), or None.
    folds_source : str
        Where the folds come from, for the tables, e.g. ``"published"``.
    files : mapping of str to tuple of str
        File names (without extension, possibly with folders) that a name may stand for, the
        most specific first; a name that is not a key stands for itself.
    spans : mapping of str to Span
        Parts of the files that were judged, where the annotation limits them.
    groups : mapping of str to str, or None
        Group of each video, mostly its subject, where names show it.
    folds_keep_groups : bool
        Whether no group has videos on both sides of a fold.
    tied : sequence of Pair
        Undecided comparisons, which are not among the pairs.
    comparisons : sequence of Comparison
        Who judged what, where the annotation is a table of the user's own.
    tasks : mapping of str to str
        Task of each video of a merged set, e.g. ``"Suturing"``; empty for a single task.
    """

    name: str
    pairs: list[Pair]
    folds: list[Split]
    _: KW_ONLY
    scores: dict[str, float] | None = None
    known: str | None = None
    folds_source: str = "published"
    files: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    spans: Mapping[str, Span] = field(default_factory=dict)
    groups: Mapping[str, str] | None = None
    folds_keep_groups: bool = False
    tied: Sequence[Pair] = ()
    comparisons: Sequence[Comparison] = ()
    tasks: Mapping[str, str] = field(default_factory=dict)

    @property
    def ties(self) -> int:
        """Number of undecided comparisons."""
        return len(self.tied)

    @property
    def videos(self) -> list[str]:
        """Names of all judged videos, sorted."""
        return sorted({*videos_of(self.pairs), *(self.scores or ())})

    def match(self, keys: Iterable[str]) -> Matching:
        """Find the cache key of every judged video by the rule of `data.names`.

        Raises
        ------
        InputError
            A name fits several keys equally well, or several names fit one key so.
        """
        return match_names(self.videos, sorted(keys), self.files)


def join(name: str, parts: Sequence[Dataset], known: str | None) -> Dataset:
    """Merge tasks into one data set, fold by fold; their videos must have distinct names."""
    folds = []
    for same in zip(*(part.folds for part in parts), strict=True):
        folds.append(
            Split(
                [pair for fold in same for pair in fold.train],
                [pair for fold in same for pair in fold.test],
                same[0].name,
            )
        )
    scored = [part.scores for part in parts]
    scores: dict[str, float] | None = None
    if all(each is not None for each in scored):
        scores = {video: score for each in scored if each for video, score in each.items()}
    groups = {video: group for part in parts for video, group in (part.groups or {}).items()}
    return Dataset(
        name,
        [pair for part in parts for pair in part.pairs],
        folds,
        scores=scores,
        known=known,
        folds_source=parts[0].folds_source,
        files={video: files for part in parts for video, files in part.files.items()},
        spans={video: span for part in parts for video, span in part.spans.items()},
        groups=groups or None,
        tied=[pair for part in parts for pair in part.tied],
        tasks={video: part.name for part in parts for video in part.videos},
    )


def by_majority(dataset: Dataset) -> Dataset:
    """Return the data set with each two videos judged once, as most of its judgements say."""
    pairs, ties = majority(dataset.pairs, dataset.tied)
    folds = [
        Split(majority(fold.train, ())[0], majority(fold.test, ())[0], fold.name)
        for fold in dataset.folds
    ]
    return replace(dataset, pairs=pairs, tied=ties, folds=folds)


def with_groups(dataset: Dataset, group_by: str | None) -> Dataset:
    """Return the data set with the groups that a pattern finds in its names; folds as they are."""
    if not group_by:
        return dataset
    return replace(dataset, groups=group_of(dataset.videos, group_by))


def with_drawn_folds(
    dataset: Dataset, folds: int, group_by: str | None, seed: int, same: Mapping[str, str]
) -> Dataset:
    """Return the data set with folds drawn by video, or by group where a pattern is given.

    Names with one label in `same` stay in one fold.
    """
    if not group_by:
        drawn = k_fold_by_video(dataset.pairs, folds, seed, same)
        return replace(dataset, folds=drawn, folds_source=f"{folds} drawn by video")
    drawn = k_fold_by_group(dataset.pairs, folds, group_by, seed, same)
    count = f"{folds} drawn" if folds else "one group left out at a time"
    return replace(
        dataset,
        folds=drawn,
        folds_source=f"{count}, by group '{group_by}'",
        groups=group_of(dataset.videos, group_by),
        folds_keep_groups=True,
    )


def folders_of_tasks(folder: Path, listing: str) -> dict[str, Path]:
    """Find the folder of each task, which holds a file `listing`, in ``splits`` or `folder`."""
    folders: dict[str, Path] = {}
    for place in (folder / "splits", folder):
        for file in sorted(place.glob(f"*/{listing}")):
            folders.setdefault(file.parent.name, file.parent)
    return folders


def choose_task(name: str | None, tasks: Iterable[str], where: object) -> str:
    """Return the task of this name; case, spaces, hyphens and underscores do not matter.

    Raises
    ------
    InputError
        There are several tasks and no name, or no task of this name.
    """
    by_plain = {plain(task): task for task in tasks}
    listed = ", ".join(sorted(by_plain.values()))
    if name is None:
        if len(by_plain) == 1:
            return next(iter(by_plain.values()))
        raise InputError(f"{where} holds several tasks: choose one by --task from {listed}")
    if plain(name) not in by_plain:
        raise InputError(f"{where} has no task '{name}': choose from {listed}")
    return by_plain[plain(name)]


def plain(task: str) -> str:
    """Return a task's name in one spelling: ``Chopstick-Using`` is ``chopstick_using``."""
    return task.strip().lower().replace("-", "_").replace(" ", "_")
