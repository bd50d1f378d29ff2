"""Fitting: it converges, is the same every time, and goes on where it stopped."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from model.ranker.build import build
from model.ranker.epochs import EpochState
from model.ranker.optimizer import Optimizer
from model.ranker.options import RankerOptions, TrainOptions
from model.ranker.scoring import pair_accuracy, score
from model.ranker.training import Ties, fit
from model.ranker.videos import VideoMaps

C, H, W, N, V = 8, 3, 3, 5, 8
RANKER = RankerOptions(segments=N, hidden_size=12, attention_size=6)


def noise_videos(seed=0):
    """Return videos of pure noise: what is learnt of them is learnt by heart."""
    generator = torch.Generator().manual_seed(seed)
    return VideoMaps(
        torch.randn(V * N, C, H, W, generator=generator).half(),
        torch.arange(V + 1) * N,
        torch.arange(N).repeat(V),
        tuple(f"v{i}" for i in range(V)),
    )


PAIRS = torch.tensor([(a, b) for a in range(V) for b in range(a)])


def weights_of(result):
    return {name: value.numpy() for name, value in result.model.state_dict().items()}


def assert_same(one, other):
    for name, value in weights_of(one).items():
        np.testing.assert_array_equal(value, weights_of(other)[name])


@pytest.mark.parametrize(
    "train",
    [
        TrainOptions(epochs=80, learning_rate=5e-3),
        TrainOptions(epochs=30, learning_rate=5e-3, batch_pairs=6),
        TrainOptions(epochs=60, optimizer="sgd", learning_rate=0.1, batch_pairs=6),
    ],
)
def test_a_tiny_set_is_learnt_by_heart(train):
    """Fails if gradients, sampling or the optimiser keep the ranker from fitting eight videos."""
    videos = noise_videos()
    result = fit(videos, PAIRS, None, RANKER, train, seed=0)
    assert pair_accuracy(score(result.model, videos, N).score, PAIRS) == 1
    assert result.best_epoch == len(result.history) == train.epochs


def test_same_seed_same_weights_other_seed_others():
    """Fails if anything in a fit is drawn from a generator that the seed does not set."""
    train = TrainOptions(epochs=3, batch_pairs=5)
    fits = [fit(noise_videos(), PAIRS, None, RANKER, train, seed=seed) for seed in (0, 0, 1)]
    assert_same(fits[0], fits[1])
    assert any((a != weights_of(fits[2])[n]).any() for n, a in weights_of(fits[0]).items())


def test_fitting_leaves_the_callers_random_numbers_alone():
    """Fails if a fit reseeds PyTorch's own generator under its caller."""
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    fit(noise_videos(), PAIRS, None, RANKER, TrainOptions(epochs=1), seed=0)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("variant", ["full", "raan", "video_lstm"])
@pytest.mark.parametrize("stop", [1, 4])
def test_going_on_ends_as_if_never_stopped(variant, stop):
    """Fails if weights, optimiser, draws, history or the chosen epoch are not all restored."""
    generator = torch.Generator().manual_seed(0)
    videos = VideoMaps(
        torch.randn(4 * 8, C, 4, 4, generator=generator),
        torch.arange(5) * 8,
        (torch.arange(8) // 2).repeat(4),
        ("a", "b", "c", "d"),
    )
    ranker = RankerOptions(variant=variant, segments=4, hidden_size=4)
    train = TrainOptions(epochs=7, batch_pairs=2, learning_rate=1e-2)
    pairs, held = torch.tensor([[0, 1], [1, 2], [0, 2]]), torch.tensor([[3, 0]])
    kept = []

    def keep(state):
        if state.epoch == stop:
            kept.append(copy.deepcopy(state))

    whole = fit(videos, pairs, held, ranker, train, seed=2, on_state=keep)
    rest = fit(videos, pairs, held, ranker, train, seed=2, state=kept[0])
    assert_same(whole, rest)
    assert (whole.history, whole.best_epoch) == (rest.history, rest.best_epoch)


def test_the_best_validation_epoch_is_kept_and_patience_stops():
    """Fails if the last epoch is returned in place of the chosen one, or training never stops."""
    videos, held = noise_videos(), torch.tensor([[0, 1]])
    pairs = torch.tensor([(a, b) for a in range(2, V) for b in range(2, a)])
    train = TrainOptions(epochs=60, patience=4, learning_rate=1e-2)
    result = fit(videos, pairs, held, RANKER, train, seed=0)
    losses = [record["validation_loss"] for record in result.history]
    assert result.best_epoch == int(np.argmin(losses)) + 1
    assert len(result.history) == min(60, result.best_epoch + 4)
    scores = score(result.model, videos, N).score
    lead = scores[0] - scores[1]
    # float32 loss of one pair, scored in a batch then and alone now.
    expected = result.history[result.best_epoch - 1]["validation_loss"]
    assert max(0, 0.5 - lead) == pytest.approx(expected, abs=1e-5)


def test_the_authors_choose_by_accuracy():
    """Fails if the authors' protocol no longer takes the epoch of most test pairs."""
    state = EpochState()
    optimizer = Optimizer([], TrainOptions())
    records = [(0.5, 0.3), (0.6, 0.9), (0.6, 0.8), (0.4, 0.1)]
    chosen = [
        state.enter(
            {"validation_accuracy": accuracy, "validation_loss": loss},
            optimizer,
            torch.Generator(),
            by_accuracy=True,
        )
        for accuracy, loss in records
    ]
    assert chosen == [True, True, True, False]
    assert state.best_epoch == 3


def test_validation_videos_do_not_train():
    """Fails if maps of videos that no training pair names reach the weights."""
    pairs = torch.tensor([(a, b) for a in range(2, V) for b in range(2, a)])
    train = TrainOptions(epochs=3)
    videos = noise_videos()
    other = VideoMaps(videos.maps.clone(), videos.start, videos.segment, videos.keys)
    other.maps[: 2 * N] = 7
    one, two = (fit(v, pairs, None, RANKER, train, seed=0) for v in (videos, other))
    assert_same(one, two)


def test_each_distinct_video_of_a_step_is_scored_once(monkeypatch):
    """Fails if a video is run through the ranker again for every pair that names it."""
    sizes = []

    def counting(*args):
        model = build(*args)
        model.register_forward_hook(lambda _, inputs, __: sizes.append(len(inputs[0])))
        return model

    monkeypatch.setattr("model.ranker.training.build", counting)
    fit(noise_videos(), PAIRS, None, RANKER, TrainOptions(epochs=2), seed=0)
    assert sizes == [V, V]


def test_gradients_are_clipped():
    """Fails if --clip-norm does nothing: one step of plain SGD moves by rate times norm at most."""
    videos = noise_videos()
    before = build(RANKER, C, H, W, 0).state_dict()
    rate, norm = 1.0, 1e-3
    train = TrainOptions(
        epochs=1, optimizer="sgd", learning_rate=rate, momentum=0.0, clip_norm=norm
    )
    after = fit(videos, PAIRS, None, RANKER, train, seed=0).model.state_dict()
    moved = sum((after[name] - value).square().sum() for name, value in before.items()).sqrt()
    # float32 weights of size 1 round at 6e-8 each.
    assert moved.item() == pytest.approx(rate * norm, rel=0.01)


def test_weights_that_are_no_numbers_are_no_result():
    """Fails if a last step that diverged is handed out: every score would be NaN, and rank 1."""
    train = TrainOptions(epochs=1)
    kept = []
    fit(noise_videos(), PAIRS, None, RANKER, train, seed=0, on_state=kept.append)
    kept[0].best_model["fc.bias"].fill_(float("nan"))
    with pytest.raises(ValueError, match="diverged: weights became"):
        fit(noise_videos(), PAIRS, None, RANKER, train, seed=0, state=kept[0])


def test_bad_pairs_and_maps_are_refused():
    """Fails if a row out of range or an empty list reaches the tensors."""
    videos = noise_videos()
    for pairs in (torch.empty(0, 2, dtype=torch.long), torch.tensor([[0, V]])):
        with pytest.raises(ValueError, match="training pairs"):
            fit(videos, pairs, None, RANKER, TrainOptions(), seed=0)
    with pytest.raises(ValueError, match="validation pairs"):
        fit(videos, PAIRS, torch.tensor([[0, -1]]), RANKER, TrainOptions(), seed=0)
    with pytest.raises(ValueError, match="segments"):
        score(build(RANKER, C, H, W), videos, segments=3)
    with pytest.raises(ValueError, match="b: no snippets"):
        VideoMaps(torch.zeros(2, 1, 1, 1), torch.tensor([0, 2, 2]), torch.zeros(2), ("a", "b"))


def test_ties_draw_scores_together_and_without_them_nothing_changes():
    """Fails if a tie teaches an order, or if decided pairs are fitted otherwise than before."""
    train = TrainOptions(epochs=60, learning_rate=5e-3)
    decided = torch.tensor([(0, 1), (2, 3), (0, 3), (1, 3), (2, 1)])
    ties = torch.tensor([(0, 2), (1, 3)])
    scores = {}
    for weight in (0.0, 1.0, 20.0):
        result = fit(noise_videos(), decided, None, RANKER, train, seed=0, ties=Ties(ties, weight))
        values = score(result.model, noise_videos(), N).score
        scores[weight] = abs(values[ties[:, 0]] - values[ties[:, 1]])
    assert (scores[20.0] < scores[0.0]).all()
    plain = fit(noise_videos(), decided, None, RANKER, train, seed=0)
    values = score(plain.model, noise_videos(), N).score
    # Ties of weight 0 only add videos to the batch.
    np.testing.assert_allclose(abs(values[ties[:, 0]] - values[ties[:, 1]]), scores[0.0], rtol=1e-3)


def test_every_batch_has_its_share_of_the_ties():
    """Fails if some ties are never trained on, or if batches without a tie break off."""
    train = TrainOptions(epochs=2, batch_pairs=5)
    ties = Ties(torch.tensor([(0, 1), (2, 3), (4, 5)]), 1.0)
    result = fit(noise_videos(), PAIRS, None, RANKER, train, seed=0, ties=ties)
    assert len(result.history) == 2
