"""Which pairs are fitted, and which choose the epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from data.errors import InputError
from data.judgements.pairs import Pair, videos_of
from data.judgements.splits import Split, cuts_groups, hold_out
from model.ranker.options import TrainOptions
from pipeline.shell.console import log

# With fewer training pairs none are held back to choose the epoch: a fifth of the videos takes a
# third to a half of the pairs with it, and those few choose no better than chance.
FEWEST_TO_DIVIDE = 30


def check_choice(train: TrainOptions) -> None:
    """Refuse options of a choice that the protocol does not make.

    Raises
    ------
    InputError
        A share of the videos or a patience of its own, and the last epoch is kept.
    """
    usual = TrainOptions()
    idle = [
        f"--{name.replace('_', '-')} {value:g}"
        for name in ("validation_share", "patience")
        if (value := getattr(train, name)) not in (0, None, getattr(usual, name))
    ]
    if idle and train.protocol == "last":
        raise InputError(
            f"{' and '.join(idle)}: with --protocol last all pairs are fitted to the last epoch; "
            "add --protocol validation to hold videos back and choose the epoch on their pairs"
        )


def choose_pairs(
    split: Split,
    train: TrainOptions,
    seed: int,
    groups: Mapping[str, str] | None,
    same: Mapping[str, str] | None = None,
) -> tuple[list[Pair], list[Pair]]:
    """Return the pairs to fit and the pairs to choose the epoch on (none: the last epoch).

    Only `protocol="authors"` uses the test pairs. Otherwise both come from the training pairs,
    and the validation pairs name held-out training videos: whole subjects where these are known.

    Parameters
    ----------
    split : Split
        Its name, where it has one, begins the log lines.
    groups : mapping of str to str, optional
        Subject of each video; used only if it covers all training videos.
    same : mapping of str to str, optional
        One label for each video that has several keys; these are never divided.
    """
    where = f"fold {split.name}: " if split.name else ""
    if train.protocol == "authors":
        return split.train, split.test
    if train.protocol == "last" or not train.validation_share:
        return split.train, []
    if len(split.train) < FEWEST_TO_DIVIDE:
        log.info(
            "%s%d training pairs are too few to hold some back: all are fitted, and the last epoch "
            "is taken",
            where,
            len(split.train),
        )
        return split.train, []
    if groups and not set(videos_of(split.train)) <= set(groups):
        log.info("%snot every video's subject is known: single videos are held out", where)
        groups = None
    try:
        inner = hold_out(split.train, train.validation_share, seed, groups, same)
    except InputError as error:
        log.warning("%s%s; the last epoch is taken", where, error)
        return split.train, []
    if groups and cuts_groups(inner, groups):
        log.warning("%stoo few groups to hold one out for validation: single videos are", where)
    return inner.train, inner.test


def ties_among(tied: Sequence[Pair], pairs: Sequence[Pair], weight: float) -> list[Pair]:
    """Return the ties to train on beside some pairs: those of two of their videos."""
    named = set(videos_of(pairs))
    return [each for each in tied if weight and each.better in named and each.worse in named]
