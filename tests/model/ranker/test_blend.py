"""`blend`: its score is the written sum, its weights are honest, and useless cues do not count."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from model.ranker.blending import _Blending, fit_variant
from model.ranker.build import build
from model.ranker.combination import VARIANCES, combine, standard_by_pairs
from model.ranker.options import RankerOptions, TrainOptions, recorded_ranker
from model.ranker.scoring import pair_accuracy, score
from model.ranker.training import FitState, fit
from model.ranker.videos import VideoMaps

C, SIDE, N = 3, 2, 2
RANKER = RankerOptions(variant="blend", segments=N, hidden_size=4, attention_size=3, members=3)
TRAIN = TrainOptions(epochs=4)


def cues(seed, videos=40, useful=("duration",)):
    """Skill, and three cues of which some say it."""
    rng = np.random.default_rng(seed)
    skill = rng.normal(size=videos)
    pairs = rng.integers(0, videos, (6 * videos, 2))
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    wrong = skill[pairs[:, 0]] < skill[pairs[:, 1]]
    pairs = np.where(wrong[:, None], pairs[:, ::-1], pairs)
    network, duration = rng.normal(size=(2, videos))
    pooled = rng.normal(size=(videos, 30))
    if "network" in useful:
        network += 1.5 * skill
    if "duration" in useful:
        duration -= 1.5 * skill
    if "pooled" in useful:
        pooled[:, :10] += skill[:, None]
    return skill, pairs, network, pooled, duration


def weighed(seed, **more):
    """Weigh cues on half of the videos; return their shares and accuracy on the others."""
    skill, pairs, network, pooled, duration = cues(seed, **more)
    half = len(skill) // 2
    train = pairs[(pairs < half).all(axis=1)]
    test = pairs[(pairs >= half).all(axis=1)]
    result = combine(network[:half], pooled[:half], duration[:half], train)
    scores = result.network * network + pooled @ result.pooled + result.duration * duration
    return result, (scores[test[:, 0]] > scores[test[:, 1]]).mean()


@pytest.mark.parametrize("useful", ["network", "pooled", "duration"])
def test_the_cue_that_says_something_counts_most(useful):
    """Fails if a cue that orders the videos is not the one that the score follows."""
    results = [weighed(seed, videos=60, useful=(useful,)) for seed in range(4)]
    assert np.mean([result.shares[useful] for result, _ in results]) > 0.6
    # The cue alone orders about 81 % of the pairs of unseen videos.
    assert np.mean([accuracy for _, accuracy in results]) > 0.7


def test_duration_may_count_either_way_and_a_network_only_one():
    """Fails if longer cannot be worse, or a network that is wrong counts backwards."""
    result, _ = weighed(0, videos=60)
    assert result.duration < 0
    skill, pairs, *_ = cues(1, videos=30)
    none = np.zeros((30, 2))
    result = combine(-skill, none, None, pairs)
    assert result.network == 0
    assert result.duration == 0


def test_scores_minimise_the_written_objective():
    """Fails if scores of training videos are not those of the Gaussian process with these terms."""
    _, pairs, network, pooled, duration = cues(2, videos=12, useful=("network", "pooled"))
    network, pooled, duration = (
        (each - mean) / scale
        for each in (network[:, None], pooled, duration[:, None])
        for mean, scale in [standard_by_pairs(each, pairs)]
    )
    result = combine(network[:, 0], pooled, duration[:, 0], pairs)
    v = VARIANCES
    terms = np.hstack(
        [
            network * v["network"] ** 0.5,
            pooled * (v["pooled"] / pooled.shape[1]) ** 0.5,
            duration * v["duration"] ** 0.5,
            np.eye(12) * v["memory"] ** 0.5,
        ]
    )
    difference = terms[pairs[:, 0]] - terms[pairs[:, 1]]

    def objective(w):
        lead = difference @ w
        slope = w - difference.T @ (1 / (1 + np.exp(lead)))
        return np.logaddexp(0, -lead).sum() + w @ w / 2, slope

    start = np.zeros(terms.shape[1])
    options = {"gtol": 1e-10, "ftol": 1e-16, "maxiter": 5000}
    best = minimize(objective, start, jac=True, method="L-BFGS-B", options=options).x
    np.testing.assert_allclose(result.score, terms @ best, atol=1e-5)
    assert result.network == pytest.approx(v["network"] ** 0.5 * best[0], abs=1e-5)


def test_scales_come_from_compared_videos_only():
    """Fails if the distance of two tasks that are never compared makes their videos look alike."""
    features = np.array([[0.0], [1.0], [100.0], [101.0]])
    _, scale = standard_by_pairs(features, np.array([[0, 1], [3, 2]]))
    np.testing.assert_allclose(scale, 0.5**0.5)


def material(videos=12, seed=0):
    """Videos whose duration tells their skill exactly."""
    generator = torch.Generator().manual_seed(seed)
    maps = torch.randn(videos * N, C, SIDE, SIDE, generator=generator)
    keys = tuple(f"v{number}" for number in range(videos))
    seconds = torch.arange(videos, 0, -1).double() + 4
    start = torch.arange(videos + 1) * N
    return VideoMaps(maps, start, torch.arange(N).repeat(videos), keys, seconds)


PAIRS = torch.tensor([(a, b) for a in range(10) for b in range(a)])


def test_a_fit_uses_duration_and_remembers_training_videos():
    """Fails if duration does not count, a training video is not recognised, or a new one is."""
    videos = material()
    result = fit_variant(videos, PAIRS, None, RANKER, TRAIN, seed=0)
    scores = score(result.model, videos, N)
    assert pair_accuracy(scores.score, PAIRS) == 1
    assert scores.score[11] > scores.score[10]  # Both unseen: shorter is better.
    np.testing.assert_allclose(scores.attention.sum(axis=(2, 3)), 1, rtol=1e-5)
    np.testing.assert_allclose(scores.running[:, -1], scores.score)
    model = result.model
    assert len(model.residual) == 10
    model.residual = torch.full((10,), 100.0)
    moved = score(model, videos, N).score - scores.score
    assert (np.abs(moved[:10]) > 50).all()
    assert (np.abs(moved[10:]) < 1e-6).all()


def test_without_duration_it_is_not_read():
    """Fails if --no-duration still lets time into a score."""
    ranker = RankerOptions(**{**recorded_ranker(RANKER), "duration": False})
    videos = material()
    result = fit_variant(videos, PAIRS, None, ranker, TRAIN, seed=0)
    other = VideoMaps(videos.maps, videos.start, videos.segment, videos.keys, videos.seconds * 7)
    assert (
        score(result.model, other, N).score.tolist()
        == score(result.model, videos, N).score.tolist()
    )
    assert "does not count" in result.model.in_words()


def test_networks_never_see_the_part_that_judges_them():
    """Fails if the scores that weigh the networks come from networks that know the answers."""
    fitting = _Blending(material(), PAIRS.numpy(), RANKER, TRAIN, 0, None, "cpu", None)
    assert sorted(np.concatenate(fitting.parts).tolist()) == list(range(10))
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "model.ranker.blending.fit",
            lambda *args, **more: seen.append(args[1].numpy()) or fit(*args, **more),
        )
        fitting.run(FitState(), None)
    for fitted, part in zip(seen, fitting.parts, strict=True):
        assert not np.isin(fitted, part).any()


def test_the_same_fit_gives_the_same_weights_and_goes_on_from_any_epoch():
    """Fails if a fit depends on chance, or an interruption changes its end."""
    videos, states = material(), []
    whole = fit_variant(videos, PAIRS, None, RANKER, TRAIN, seed=1, on_state=states.append)
    assert [state.epoch for state in states] == list(range(1, 3 * TRAIN.epochs + 1))
    for state in (states[5], states[-1]):
        again = fit_variant(videos, PAIRS, None, RANKER, TRAIN, seed=1, state=state)
        for name, value in whole.model.state_dict().items():
            assert torch.equal(value, again.model.state_dict()[name]), name
        assert again.history == whole.history


def test_refusals_and_untrained_models():
    """Fails if too few pairs end in a crash, or an unfitted ranker cannot be looked at."""
    with pytest.raises(ValueError, match="train another variant"):
        fit_variant(material(), torch.tensor([[0, 1]]), None, RANKER, TRAIN, seed=0)
    with pytest.raises(ValueError, match="fit_variant"):
        fit(material(), PAIRS, None, RANKER, TRAIN, seed=0)
    out = build(RANKER, C, SIDE, SIDE)(torch.zeros(2, N, C, SIDE, SIDE))
    assert out.score.shape == (2,)
    assert out.attention.shape == (2, N, SIDE, SIDE)


def test_records_of_other_variants_do_not_change():
    """Fails if results of earlier versions become stale by options that only blend reads."""
    assert {"members", "duration"}.isdisjoint(recorded_ranker(RankerOptions()))
    assert {"members", "duration"} <= recorded_ranker(RANKER).keys()
