"""Folds: nothing of a held-out video may reach training."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import InputError
from data.judgements.pairs import Pair, videos_of
from data.judgements.splits import Split, group_of, hold_out, k_fold_by_group, k_fold_by_video


def _tournament(n: int) -> list[Pair]:
    """All pairs of `n` videos of subjects A, B, C … with four videos each."""
    names = [f"{chr(65 + i // 4)}{i % 4}" for i in range(n)]
    return [Pair(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]


@given(st.integers(6, 20), st.integers(2, 4), st.integers(0, 2**32 - 1))
def test_folds_by_video_test_every_video_once_and_train_on_none(n: int, k: int, seed: int) -> None:
    """A held-out video in training would make the reported accuracy a lie."""
    pairs = _tournament(n)
    folds = k_fold_by_video(pairs, k, seed)
    assert len(folds) == k
    for fold in folds:
        assert not fold.held_out & fold.train_videos
        assert min(fold.unseen()) >= 1
        assert sorted(fold.train + fold.test, key=str) == sorted(pairs, key=str)
    held = [name for fold in folds for name in fold.held_out]
    assert sorted(held) == videos_of(pairs)
    sizes = [len(fold.held_out) for fold in folds]
    assert max(sizes) - min(sizes) <= 1


@given(st.integers(2, 5), st.integers(0, 2**32 - 1))
def test_folds_by_group_never_cut_a_subject(k: int, seed: int) -> None:
    """A subject on both sides would let the model recognise the person, not the skill."""
    for fold in k_fold_by_group(_tournament(20), k, r"^([A-Z])", seed):
        assert not {v[0] for v in fold.held_out} & {v[0] for v in fold.train_videos}


def test_zero_folds_leave_one_group_out() -> None:
    """Leave-one-subject-out needs one fold for each subject."""
    folds = k_fold_by_group(_tournament(20), 0, r"^[A-Z]", 0)
    assert sorted({v[0] for v in fold.held_out}.pop() for fold in folds) == list("ABCDE")
    assert all(len({v[0] for v in fold.held_out}) == 1 for fold in folds)


def test_same_seed_same_folds_other_seed_other_folds() -> None:
    """Results could not be repeated, or seeds would change nothing."""
    pairs = _tournament(12)
    assert k_fold_by_video(pairs, 3, 1) == k_fold_by_video(pairs, 3, 1)
    assert k_fold_by_video(pairs, 3, 1) != k_fold_by_video(pairs, 3, 2)


def test_unseen_counts_held_out_videos_of_each_test_pair() -> None:
    """The two columns of the result table would mix known with unknown videos."""
    split = Split([Pair("a", "b")], [Pair("a", "c"), Pair("c", "d"), Pair("b", "a")], "x")
    assert split.unseen() == [1, 2, 0]
    assert split.held_out == {"c", "d"}


@given(st.integers(0, 2**32 - 1), st.floats(0.05, 0.5))
def test_hold_out_keeps_validation_videos_from_training(seed: int, share: float) -> None:
    """A model chosen on what it trained on is chosen by its memory."""
    pairs = _tournament(16)
    split = hold_out(pairs, share, seed, group_of(videos_of(pairs), r"^([A-Z])"))
    assert not {v[0] for v in split.held_out} & {v[0] for v in split.train_videos}
    assert split.train
    assert split.test


def test_impossible_folds_say_why() -> None:
    """One clear line instead of an empty training set."""
    with pytest.raises(InputError, match="from 2 to 4"):
        k_fold_by_video(_tournament(4), 5, 0)
    with pytest.raises(InputError, match="fold 1 of 2 has 0 training"):
        k_fold_by_video([Pair("a", "b"), Pair("b", "c")], 2, 0)
    with pytest.raises(InputError, match="do not match"):
        k_fold_by_group(_tournament(8), 2, r"subject(\d+)", 0)
    with pytest.raises(InputError, match="no regular expression"):
        group_of(["a"], "(")


def test_hold_out_falls_back_to_videos_where_groups_are_too_few() -> None:
    """One subject alone could otherwise never be validated."""
    pairs = _tournament(4)
    split = hold_out(pairs, 0.25, 0, dict.fromkeys(videos_of(pairs), "A"))
    assert len(split.held_out) == 1
    with pytest.raises(InputError, match="too few pairs remain"):
        hold_out([Pair("a", "b")], 0.5, 0)
