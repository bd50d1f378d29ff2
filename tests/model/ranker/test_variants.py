"""Every variant and rival: trains, scores, attends; and the definitions of the rivals."""

from __future__ import annotations

import time
from typing import get_args

import numpy as np
import pytest
import torch

from model.ranker.blending import fit_variant
from model.ranker.build import BUILD, build
from model.ranker.loss import pair_loss
from model.ranker.options import RankerOptions, TrainOptions, Variant
from model.ranker.scoring import pair_accuracy, score
from model.ranker.videos import VideoMaps

C, H, W, N = 8, 4, 4, 4
SIZES = {"segments": N, "hidden_size": 6, "attention_size": 5, "temporal_size": 9}
WITHOUT_MAPS = {"no_att", "raan"}
SKILLED = 6


def skilled_videos():
    """Six videos whose first channel tells their skill in one corner, amid noise."""
    generator = torch.Generator().manual_seed(4)
    maps = torch.randn(SKILLED, 2 * N, C, H, W, generator=generator)
    maps[:, :, 0, :2, :2] += torch.linspace(0, 3, SKILLED)[:, None, None, None]
    return VideoMaps(
        maps.flatten(0, 1),
        torch.arange(SKILLED + 1) * 2 * N,
        (torch.arange(2 * N) // 2).repeat(SKILLED),
        tuple(f"v{i}" for i in range(SKILLED)),
    )


PAIRS = torch.tensor([(a, b) for a in range(SKILLED) for b in range(a)])


def test_every_name_has_a_module():
    """Fails if `--variant` offers a name that nothing builds, or hides one."""
    assert set(BUILD) == set(get_args(Variant))


@pytest.mark.parametrize("variant", list(BUILD))
def test_variant_learns_scores_and_attends(variant):
    """Fails if a variant does not learn a plain signal, or its attention is no distribution."""
    videos = skilled_videos()
    ranker = RankerOptions(variant=variant, coverage_weight=0.01, **SIZES)
    train = TrainOptions(epochs=60, learning_rate=1e-2)
    result = fit_variant(videos, PAIRS, None, ranker, train, seed=0)
    scores = score(result.model, videos, N)
    again = score(result.model, videos, N)
    np.testing.assert_array_equal(scores.score, again.score)
    # Chance is .5; 15 pairs with a signal of three standard deviations are learnt.
    assert pair_accuracy(scores.score, PAIRS) >= 0.9
    assert scores.running.shape == (SKILLED, N)
    if variant in WITHOUT_MAPS:
        assert scores.attention is None
        return
    side = 2 if variant == "video_lstm" else H
    assert scores.attention.shape == (SKILLED, N, side, side)
    assert (scores.attention >= 0).all()
    # A float32 softmax over 16 places: rounding of a few 1e-7.
    np.testing.assert_allclose(scores.attention.sum(axis=(2, 3)), 1, rtol=0, atol=2e-6)


@pytest.mark.parametrize("variant", list(BUILD))
def test_every_parameter_of_a_variant_is_trained(variant):
    """Fails if a layer is built but takes no part in the loss (a dead branch)."""
    options = RankerOptions(variant=variant, **SIZES)
    model = build(options, C, H, W)
    rows = torch.arange(SKILLED * N).view(SKILLED, N)
    out = model(skilled_videos().gather(rows), torch.Generator().manual_seed(0))
    pair_loss(model, out, PAIRS, 0.5).backward()
    # A bias that shifts all scores alike cancels in a ranking loss: zero, but it must be reached.
    missing = [name for name, each in model.named_parameters() if each.grad is None]
    assert missing == []


def test_threads_that_build_at_once_get_the_weights_of_their_seeds(monkeypatch):
    """Fails if concurrent runs (--backend threading) draw from each other's random numbers."""
    from concurrent.futures import ThreadPoolExecutor

    def slow(*sizes):
        first = torch.randn(3)
        time.sleep(0.01)  # Let another thread in between two draws.
        return torch.nn.ParameterDict({"a": first, "b": torch.randn(3)})

    monkeypatch.setitem(BUILD, "full", slow)
    options = RankerOptions(variant="full", **SIZES)
    alone = [build(options, C, H, W, seed).state_dict() for seed in range(8)]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda seed: build(options, C, H, W, seed), range(8)))
    for expected, model in zip(alone, together, strict=True):
        for name, each in model.state_dict().items():
            assert torch.equal(each, expected[name]), name


@pytest.mark.parametrize("variant", list(BUILD))
def test_permuting_the_videos_of_a_batch_changes_nothing(variant):
    """Fails if a video's score, attention or loss depends on its place or its company."""
    ranker = small(variant).eval()
    x = skilled_videos().gather(torch.arange(SKILLED * N).view(SKILLED, N)).double()
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    place = torch.argsort(order)
    whole, permuted, alone = ranker(x), ranker(x[order]), ranker(x[2:3])
    # float64, sums in another order: 1e-12 leaves two digits to spare.
    torch.testing.assert_close(permuted.score, whole.score[order], rtol=0, atol=1e-12)
    torch.testing.assert_close(alone.score, whole.score[2:3], rtol=0, atol=1e-12)
    if whole.attention is not None:
        torch.testing.assert_close(permuted.attention, whole.attention[order], rtol=0, atol=1e-12)
    loss = pair_loss(ranker, whole, PAIRS, 0.5)
    again = pair_loss(ranker, permuted, place[PAIRS], 0.5)
    torch.testing.assert_close(again, loss, rtol=0, atol=1e-12)


def small(variant, **more):
    return build(RankerOptions(variant=variant, **SIZES, **more), C, H, W).double()


def test_att_pool_is_the_product_of_two_maps():
    """Fails if the rank-1 bilinear pool, its ReLU or its mean over time is wrong."""
    model = small("att_pool")
    x = torch.randn(1, N, C, H, W).double()
    b, d = model.bottom_up, model.top_down
    total = 0.0
    for x_t in x[0].relu():
        for place in x_t.flatten(1).T:
            total += ((b.weight[0] @ place + b.bias) * (d.weight[0] @ place + d.bias)).item()
    # float64 sums of 64 products.
    assert model(x).score.item() == pytest.approx(total / N, abs=1e-12)


def test_cbam_gates_channels_before_positions():
    """Fails if the shared MLP, the gate, the planes or the normalisation of cbam is wrong."""
    model = small("cbam")
    look = model.attend
    x = torch.randn(1, N, C, H, W).double()
    seen = look.prepare(x.flatten(3).mT)
    x_t = x[0, 2]
    gate = torch.sigmoid(look.channel(x_t.mean((1, 2))) + look.channel(x_t.amax((1, 2))))
    gated = x_t * gate[:, None, None]
    planes = torch.stack([gated.mean(0), gated.amax(0)])
    mean, var = planes.mean((1, 2)), planes.var((1, 2), unbiased=False)
    norm = (planes - mean[:, None, None]) / torch.sqrt(var + 1e-5)[:, None, None]
    norm = norm * look.spatial[0].weight[:, None, None] + look.spatial[0].bias[:, None, None]
    a = look.spatial[3](look.spatial[1](norm[None]).relu())
    alpha = torch.softmax(a.flatten(), 0)
    torch.testing.assert_close(seen["alpha"][2][0], alpha, rtol=0, atol=1e-12)
    v = gated.flatten(1) @ alpha
    torch.testing.assert_close(seen["v"][2][0], v, rtol=0, atol=1e-12)


def test_sca_scales_channels_then_weighs_places():
    """Fails if β or α of sca does not follow its definition."""
    look = small("sca").attend
    x = torch.randn(1, N, C, H, W).double()
    h = torch.randn(1, 6).double()
    v, alpha, _ = look(look.prepare(x.flatten(3).mT), 1, h, h)
    ch, sp = look.channel, look.spatial
    places = x[0, 1].flatten(1)
    beta = torch.stack(
        [
            torch.sigmoid(ch.w(torch.tanh(ch.w_x(channel.mean()[None]) + ch.w_h(h[0]))))[0]
            for channel in places
        ]
    )
    scaled = places * beta[:, None]
    a = [sp.w_a(torch.tanh(sp.w_xa(place) + sp.w_ha(h[0])))[0] for place in scaled.T]
    expected = torch.softmax(torch.stack(a), 0)
    torch.testing.assert_close(alpha[0], expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(v[0], scaled @ expected, rtol=0, atol=1e-12)


def test_visual_looks_where_its_last_state_says_and_covers():
    """Fails if α uses the present state, or the coverage loss is not Σ (1 − Σ α)²."""
    model = small("visual", coverage_weight=2.0)
    x = torch.randn(2, N, C, H, W).double()
    out = model(x)
    features = x.relu()
    h = torch.tanh(model.first_h(features.mean((1, 3, 4))))
    first = torch.softmax(model.where(h), 1).view(2, H, W)
    torch.testing.assert_close(out.attention[:, 0], first, rtol=0, atol=1e-12)
    pairs = torch.tensor([[0, 1]])
    ranking = torch.clamp(0.5 - out.score[0] + out.score[1], min=0)
    coverage = (1 - out.attention.sum(1)).square().sum((1, 2)).mean()
    expected = ranking + 2 * coverage
    assert model.loss(out, pairs, 0.5).item() == pytest.approx(expected.item(), abs=1e-12)


def raan_losses(model, x, better, worse, margin):
    """RAAN's losses for one pair, as its paper and code write them."""
    pooled = x.mean((3, 4))
    weights = {name: getattr(model, name).filters(pooled) for name in ("high", "low")}
    score = {
        name: getattr(model, name).fc(weight @ pooled)[..., 0] for name, weight in weights.items()
    }
    uniform = model.uniform(pooled.mean(1))[:, 0]
    ranking = sum(
        torch.clamp(margin - s[better] + s[worse], min=0)
        for s in (uniform, score["high"].mean(1), score["low"].mean(1))
    )
    base = uniform[better] - uniform[worse]

    def lead(first, second, least):
        return torch.clamp(least * margin - (first[better] - second[worse]).min() + base, min=0)

    attention = lead(score["high"], score["high"], 0.05) + lead(score["low"], score["low"], 0.05)
    attention = attention + lead(score["high"], score["low"], 0.15)
    overlap = sum(
        torch.linalg.norm(a @ a.T - torch.eye(3).double()) for w in weights.values() for a in w
    )
    return ranking, attention + 0.1 * 2 * overlap / len(x)


def test_raan_has_its_four_losses_each_training_its_own_part():
    """Fails if a loss of RAAN is wrong, or trains what it must leave alone."""
    model = small("raan")
    x = torch.randn(2, N, C, H, W).double()
    pairs = torch.tensor([[1, 0]])
    loss = model.loss(model(x), pairs, 0.5)
    ranking, attention = raan_losses(model, x, 1, 0, 0.5)
    assert loss.item() == pytest.approx((ranking + attention).item(), abs=1e-12)
    loss.backward()
    for name, part in (("fc", ranking), ("filters", attention)):
        parameters = [p for n, p in model.named_parameters() if name in n and "uniform" not in n]
        expected = torch.autograd.grad(part, parameters, retain_graph=True)
        for parameter, gradient in zip(parameters, expected, strict=True):
            torch.testing.assert_close(parameter.grad, gradient, rtol=0, atol=1e-12)


def test_raan_scores_add_both_branches():
    """Fails if the reported score is not the sum of the high- and low-skill branch."""
    model = small("raan")
    x = torch.randn(2, N, C, H, W).double()
    pooled = x.mean((3, 4))
    expected = sum(
        branch.scores(pooled, branch.filters(pooled)).mean(1) for branch in (model.high, model.low)
    )
    torch.testing.assert_close(model(x).score, expected, rtol=0, atol=1e-12)


def test_raan_attention_learns_more_slowly():
    """Fails if the tenfold lower rate of RAAN's attention is lost."""
    groups = small("raan").rates(1e-2)
    assert [group["lr"] for group in groups] == pytest.approx([1e-2, 1e-3])
    assert sum(len(group["params"]) for group in groups) == len([*small("raan").parameters()])


def test_video_lstm_needs_two_streams():
    """Fails if fused maps of a form that cannot be two streams are taken in silence."""
    with pytest.raises(ValueError, match="stream maps"):
        build(RankerOptions(variant="video_lstm", **SIZES), 7, H, W)
    with pytest.raises(ValueError, match="stream maps"):
        build(RankerOptions(variant="video_lstm", **SIZES), 8, 1, 1)


def test_video_lstm_drops_in_training_only():
    """Fails if dropout is not drawn from the given generator, or is on while scoring."""
    model = small("video_lstm", dropout=0.5)
    x = torch.randn(1, N, C, H, W).double()
    one, same, other = (model(x, torch.Generator().manual_seed(s)).score.item() for s in (1, 1, 2))
    assert one == same != other
    model.eval()
    assert model(x).score.item() == model(x).score.item()
