"""Where a score stands among those of the training videos."""

from __future__ import annotations

import numpy as np

from pipeline.score.ranking import Neighbour, Reference

REFERENCE = Reference(("a", "b", "c", "d"), np.array([1.0, 2.0, 2.0, 4.0]))


def test_place_between_others() -> None:
    """Rank, percentile and both neighbours, counted by hand."""
    place = REFERENCE.place(2.5)
    assert (place.rank, place.of, place.percentile) == (2, 5, 75.0)
    assert place.better == Neighbour("d", 4.0)
    assert place.worse in (Neighbour("b", 2.0), Neighbour("c", 2.0))


def test_place_at_the_ends_and_among_equals() -> None:
    """The best has none better, the lowest none worse; an equal one counts half."""
    assert REFERENCE.place(9.0).better is None
    assert REFERENCE.place(9.0).rank == 1
    assert REFERENCE.place(0.0).worse is None
    assert REFERENCE.place(0.0).rank == 5
    assert REFERENCE.place(2.0).percentile == 50.0


def test_a_training_video_is_not_its_own_neighbour() -> None:
    """Compared with itself, every training video would be better than half a video too many."""
    place = REFERENCE.place(4.0, itself="d")
    assert (place.rank, place.of, place.percentile) == (1, 4, 100.0)
    assert place.better is None


def test_standardised_where_all_scores_are_the_same() -> None:
    """A run that learnt nothing must not divide by zero."""
    assert Reference(("a", "b"), np.array([1.0, 1.0])).standardised(1.0) == 0.0
