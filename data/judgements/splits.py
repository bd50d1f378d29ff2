"""Train and test pairs: folds by video, by group (subject, session), and a held-out share."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from data.errors import InputError
from data.judgements.pairs import Pair, videos_of


@dataclass(frozen=True)
class Split:
    """Pairs to train on and pairs to test on.

    A video is *held out* when no training pair names it. A test pair is "both unseen" when
    both of its videos are held out and "one unseen" (a cross pair) when one is.
    """

    train: list[Pair]
    test: list[Pair]
    name: str

    @property
    def train_videos(self) -> frozenset[str]:
        """Videos named by a training pair."""
        return frozenset(videos_of(self.train))

    @property
    def held_out(self) -> frozenset[str]:
        """Videos named by test pairs alone."""
        return frozenset(videos_of(self.test)) - self.train_videos

    def unseen(self) -> list[int]:
        """Return for each test pair how many of its videos (0, 1 or 2) are held out."""
        out = self.held_out
        return [(pair.better in out) + (pair.worse in out) for pair in self.test]


def split_by_videos(pairs: Sequence[Pair], held_out: Collection[str], name: str) -> Split:
    """Hold videos out: pairs that name none of them train, all others test."""
    out = frozenset(held_out)
    train = [pair for pair in pairs if pair.better not in out and pair.worse not in out]
    test = [pair for pair in pairs if pair.better in out or pair.worse in out]
    return Split(train, test, name)


def k_fold_by_video(
    pairs: Sequence[Pair], k: int, seed: int, same: Mapping[str, str] | None = None
) -> list[Split]:
    """Cut the videos into `k` equal parts at random and hold each part out once.

    Names with one label in `same`, which are the same video, stay together. Every test pair has at
    least one held-out video; a cross pair is tested in two folds.

    Raises
    ------
    InputError
        There are fewer than `k` videos, `k` < 2, or a fold is left without pairs to
        train or test on.
    """
    names = videos_of(pairs)
    return _folds(pairs, joined({name: name for name in names}, same or {}), k, seed, "videos")


def k_fold_by_group(
    pairs: Sequence[Pair],
    k: int,
    pattern: str,
    seed: int,
    same: Mapping[str, str] | None = None,
) -> list[Split]:
    """Hold out whole groups of videos, e.g. all videos of a subject, in `k` folds.

    Parameters
    ----------
    pairs : sequence of Pair
        The judgements.
    k : int
        Number of folds; 0 leaves out one group at a time.
    pattern : str
        Regular expression searched in each video's name: its first capturing group, or the
        whole match, names the video's group. ``"_([A-Z])"`` takes the subject of
        ``Suturing_B001``.
    seed : int
        Chooses which groups go together.
    same : mapping of str to str, optional
        Names with one label are the same video; their groups stay together.

    Raises
    ------
    InputError
        As `k_fold_by_video`; or the pattern is invalid, or some name does not match.
    """
    groups = joined(group_of(videos_of(pairs), pattern), same or {})
    return _folds(pairs, groups, k or len(set(groups.values())), seed, "groups")


def group_of(names: Iterable[str], pattern: str) -> dict[str, str]:
    """Return each video's group: the pattern's first capturing group, or its whole match."""
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise InputError(f"'{pattern}' is no regular expression: {error}") from error
    matches = {name: expression.search(name) for name in names}
    unmatched = [name for name, match in matches.items() if match is None]
    if unmatched:
        raise InputError(
            f"{len(unmatched)} of {len(matches)} video names do not match the group "
            f"pattern '{pattern}', e.g. {', '.join(unmatched[:3])}"
        )
    # An optional group without a part in the match is None; the whole match counts then.
    return {
        name: (match[1] or match[0]) if match.re.groups else match[0]
        for name, match in matches.items()
        if match is not None
    }


def joined(groups: Mapping[str, str], same: Mapping[str, str]) -> dict[str, str]:
    """Return the group of each name, groups joined that hold names with one label in `same`."""
    result = dict(groups)
    for label in sorted(set(same.values())):
        together = {result[name] for name, own in same.items() if own == label and name in result}
        if len(together) > 1:
            first = min(together)
            result = {name: first if own in together else own for name, own in result.items()}
    return result


def hold_out(
    pairs: Sequence[Pair],
    share: float,
    seed: int,
    groups: Mapping[str, str] | None = None,
    same: Mapping[str, str] | None = None,
) -> Split:
    """Hold out about `share` of the videos, or of their groups, at random.

    Used on training pairs alone, to choose a model or an epoch: test videos are not among them.
    Names with one label in `same`, which are the same video, stay on one side.
    At least one video or group is held out. Where groups are so few that no choice of them
    leaves pairs on both sides, single videos are held out.

    Raises
    ------
    InputError
        No choice of videos leaves pairs on both sides.
    """
    names = videos_of(pairs)
    single = {name: name for name in names}
    for kind in (groups, single) if groups else (single,):
        if split := _hold_out_labels(pairs, names, share, seed, joined(kind, same or {})):
            return split
    raise InputError(
        f"cannot hold out {share:.0%} of {len(names)} videos for validation: too few pairs remain"
    )


def cuts_groups(split: Split, groups: Mapping[str, str]) -> bool:
    """Whether a group has held-out videos and training videos."""
    return bool({groups[n] for n in split.held_out} & {groups[n] for n in split.train_videos})


def _hold_out_labels(
    pairs: Sequence[Pair], names: Sequence[str], share: float, seed: int, groups: Mapping[str, str]
) -> Split | None:
    labels = sorted({groups[name] for name in names})
    count = min(max(1, round(share * len(labels))), max(1, len(labels) - 1))
    import numpy as np  # Help needs this module, and never a draw.

    rng = np.random.default_rng(seed)
    for _ in range(20):
        chosen = {labels[i] for i in rng.permutation(len(labels))[:count]}
        split = split_by_videos(pairs, [n for n in names if groups[n] in chosen], "validation")
        if split.train and split.test:
            return split
    return None


def _folds(
    pairs: Sequence[Pair], groups: dict[str, str], k: int, seed: int, what: str
) -> list[Split]:
    """Deal groups of videos to `k` folds of nearly equal numbers of videos."""
    sizes = Counter(groups.values())
    if not 2 <= k <= len(sizes):
        advice = (
            f"give a number of folds from 2 to {len(sizes)}"
            if len(sizes) > 2
            else f"too few {what} for cross-validation"
        )
        some = what if len(sizes) > 1 else what.removesuffix("s")
        raise InputError(f"cannot make {k} folds of {len(sizes)} {some}: {advice}")
    import numpy as np  # Help needs this module, and never a draw.

    rng = np.random.default_rng(seed)
    labels = sorted(sizes)
    shuffled = [labels[i] for i in rng.permutation(len(labels))]
    folds: list[list[str]] = [[] for _ in range(k)]
    for label in sorted(shuffled, key=lambda label: -sizes[label]):  # stable: ties stay shuffled
        smallest = min(folds, key=lambda fold: sum(sizes[member] for member in fold))
        smallest.append(label)
    splits = []
    for number, members in enumerate(folds, 1):
        held = [name for name, group in groups.items() if group in members]
        split = split_by_videos(pairs, held, str(number))
        if not split.train or not split.test:
            raise InputError(
                f"fold {number} of {k} has {len(split.train)} training and "
                f"{len(split.test)} test pairs: use fewer folds or more pairs"
            )
        splits.append(split)
    return splits
