"""Pooled statistics and the pairwise linear ranker, against written definitions and SciPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from model.ranker.pairwise import (
    fit_kernel,
    held_out_pairs,
    log_loss,
    video_folds,
    win_rates,
)
from model.ranker.pooled import LinearRanker, Pooling, fit_pooled, pooled_features, standard
from model.ranker.videos import VideoMaps


def random_pairs(rng, videos, count, skill=None):
    pairs = rng.integers(0, videos, (count, 2))
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    if skill is not None:
        pairs = np.where((skill[pairs[:, 0]] < skill[pairs[:, 1]])[:, None], pairs[:, ::-1], pairs)
    return pairs


def primal(z, pairs, strength):
    """Return the w that minimises the objective as it is written, by SciPy in float64."""
    differences = z[pairs[:, 0]] - z[pairs[:, 1]]

    def objective(w):
        lead = differences @ w
        slope = -differences.T @ (1 / (1 + np.exp(lead))) + strength * w
        return np.logaddexp(0, -lead).sum() + strength / 2 * w @ w, slope

    options = {"gtol": 1e-10, "ftol": 1e-16, "maxiter": 5000}
    return minimize(objective, np.zeros(z.shape[1]), jac=True, method="L-BFGS-B", options=options).x


@pytest.mark.parametrize("strength", [0.05, 1.0, 50.0])
@pytest.mark.parametrize("features", [3, 40])
def test_dual_solution_minimises_the_written_objective(strength, features):
    """Fails if the solver over videos finds other weights than the objective over features has."""
    rng = np.random.default_rng(features)
    z = rng.normal(size=(12, features))
    pairs = random_pairs(rng, 12, 60)  # Contradictions and repetitions among them.
    dual = fit_kernel(z @ z.T / strength, pairs)
    # L-BFGS ends at a slope of 1e-10; scores of order 1.
    np.testing.assert_allclose(
        z.T @ dual / strength, primal(z, pairs, strength), atol=2e-6, rtol=1e-5
    )


def test_ranker_has_the_weights_of_the_objective_on_standardised_features():
    """Fails if standardisation, the number of features or further features are misapplied."""
    rng = np.random.default_rng(3)
    features, further = rng.normal(5, 2, (20, 30)), rng.normal(3, 0.1, (20, 1))
    pairs = random_pairs(rng, 15, 80, features[:, 0])  # Videos 15 to 19 are never judged.
    ranker = fit_pooled(features, pairs, further=further, strengths=(0.3,), further_weights=(2.0,))
    both = np.hstack([features, further])
    seen = both[np.unique(pairs)]
    z = (both - seen.mean(axis=0)) / seen.std(axis=0)
    scaled = z * np.r_[np.full(30, 30**-0.5), 2.0**0.5]
    expected = scaled @ primal(scaled, pairs, 0.3)
    np.testing.assert_allclose(ranker.score(both), expected, atol=1e-5)


def test_choice_is_that_of_least_held_out_loss():
    """Fails if regularisation is chosen by anything else than loss on held-out videos' pairs."""
    rng = np.random.default_rng(4)
    features = rng.normal(size=(24, 10))
    pairs = random_pairs(rng, 24, 150, features[:, 0] + rng.normal(size=24))
    strengths = (0.001, 0.1, 10.0, 1000.0)
    losses = []
    for strength in strengths:
        tested = []
        for videos in video_folds(pairs, 5, 0):
            fitted, held_out = held_out_pairs(pairs, videos)
            mean, scale = standard(features[np.unique(pairs)])
            z = (features - mean) / scale / np.sqrt(10)
            tested.append(log_loss(z @ primal(z, fitted, strength), held_out))
        losses.append(np.concatenate(tested).mean())
    ranker = fit_pooled(features, pairs, strengths=strengths)
    assert ranker.strength == strengths[int(np.argmin(losses))]


def test_a_further_feature_is_used_only_where_it_helps():
    """Fails if duration is left out where it decides."""
    rng = np.random.default_rng(5)
    features, skill = rng.normal(size=(40, 50)), rng.normal(size=40)
    pairs = random_pairs(rng, 40, 400, skill)
    told = fit_pooled(features, pairs, further=skill[:, None])
    lead = told.score(np.hstack([features, skill[:, None]]))
    assert (lead[pairs[:, 0]] > lead[pairs[:, 1]]).mean() > 0.97
    assert told.further_weight > 0


def test_statistics_are_those_of_all_snippets_and_positions():
    """Fails if a statistic is wrong, depends on the parts, or loses digits to an offset."""
    rng = np.random.default_rng(6)
    maps = (rng.normal(size=(7, 5, 3, 2)) + 1000.0).astype(np.float32)
    exact = maps.astype(np.float64)
    flat = exact.transpose(1, 0, 2, 3).reshape(5, -1)
    change = np.abs(np.diff(exact, axis=0)).mean(axis=(0, 2, 3))
    expected = np.concatenate([flat.mean(1), flat.std(1), flat.max(1), change])
    whole, parts = Pooling(), Pooling()
    whole.add(maps)
    for part in np.split(maps, [1, 4]):
        parts.add(part)
    # float64 sums about the first map's mean.
    np.testing.assert_allclose(whole.features(), expected, rtol=1e-12)
    np.testing.assert_array_equal(whole.features(), parts.features())


def test_features_of_videos_are_each_its_own():
    """Fails if one video's snippets leak into the next one's statistics, or float16 overflows."""
    maps = torch.full((5, 2, 3, 3), 60000.0, dtype=torch.float16)
    maps[3:] = 1.0
    videos = VideoMaps(maps, torch.tensor([0, 3, 4, 5]), torch.zeros(5).long(), ("a", "b", "c"))
    big = float(np.float16(60000.0))
    expected = [[big, big, 0, 0, big, big, 0, 0], *[[1, 1, 0, 0, 1, 1, 0, 0]] * 2]
    np.testing.assert_allclose(pooled_features(videos), expected, atol=1e-9)


def test_constant_features_and_refusals():
    """Fails if a channel that never changes gives NaN, or unusable input is taken."""
    features = np.array([[1.0, 7.0], [2.0, 7.0], [3.0, 7.0]])
    ranker = fit_pooled(features, np.array([[2, 1], [1, 0], [2, 0]]))
    assert isinstance(ranker, LinearRanker)
    assert np.isfinite(ranker.score(np.array([[1.0, 99.0]]))).all()
    with pytest.raises(ValueError, match="no pairs"):
        fit_pooled(features, np.empty((0, 2), np.int64))
    with pytest.raises(ValueError, match="finite"):
        fit_pooled(features * np.nan, np.array([[0, 1]]))
    with pytest.raises(ValueError, match="no snippets"):
        Pooling().features()


def test_memory_and_folds():
    """Fails if an unseen video is not in the middle, or a group is cut or a video lost."""
    pairs = np.array([[0, 1], [0, 2], [1, 2], [0, 1]])
    np.testing.assert_allclose(win_rates(pairs, 4), [1, 1 / 3, 0, 0.5])
    groups = ["a", "a", "b", "b", "c"]
    pairs = np.array([[0, 1], [1, 2], [3, 4]])
    folds = video_folds(pairs, 3, 0, groups)
    assert sorted(np.concatenate(folds).tolist()) == [0, 1, 2, 3, 4]
    assert all(len({groups[v] for v in fold} & {groups[v] for v in other}) == 0
               for fold in folds for other in folds if fold is not other)  # fmt: skip
    assert len(video_folds(pairs, 3, 0, ["one"] * 5)) == 3
