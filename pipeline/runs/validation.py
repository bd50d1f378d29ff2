"""Which pairs fit a ranker, and which choose its epoch: one rule for training and evaluation."""

from __future__ import annotations

from collections.abc import Mapping

from data.errors import InputError
from data.judgements.pairs import Pair, videos_of
from data.judgements.splits import Split, cuts_groups, hold_out
from model.ranker.options import TrainOptions
from pipeline.shell.console import log


def choose_pairs(
    split: Split, train: TrainOptions, seed: int, groups: Mapping[str, str] | None
) -> tuple[list[Pair], list[Pair]]:
    """Return the pairs to fit and the pairs to choose the epoch on (none: the last epoch).

    Only `protocol="authors"` looks at the test pairs. Otherwise both come from the training
    pairs, and the validation pairs name training videos held out, by subject where known.

    Parameters
    ----------
    split : Split
        Its name, where it has one, stands before what is logged.
    groups : mapping of str to str, optional
        Subject of each video; of no use unless it knows all training videos.
    """
    where = f"fold {split.name}: " if split.name else ""
    if train.protocol == "authors":
        return split.train, split.test
    if train.protocol == "last" or not train.validation_share:
        return split.train, []
    if groups and not set(videos_of(split.train)) <= set(groups):
        log.info("%snot every video's subject is known: single videos are held out", where)
        groups = None
    try:
        inner = hold_out(split.train, train.validation_share, seed, groups)
    except InputError as error:
        log.warning("%s%s; the last epoch is taken", where, error)
        return split.train, []
    if groups and cuts_groups(inner, groups):
        log.warning("%stoo few groups to hold one out for validation: single videos are", where)
    return inner.train, inner.test
