"""The ranker against its written equations, and what every variant must hold to."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from model.ranker.build import build
from model.ranker.loss import ranking_loss
from model.ranker.options import PRESETS, RankerOptions, TrainOptions, apply_preset
from model.ranker.scoring import pair_accuracy, score
from model.ranker.videos import VideoMaps, authors_bins, whole_video

C, H, W, N = 6, 3, 4, 5
SMALL = {"segments": N, "hidden_size": 7, "attention_size": 5}


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def gru(x, h, p, name):
    """GRU of one step as written in Cho et al. 2014, gates in PyTorch's order r, z, n."""
    gi = p[f"{name}.weight_ih"] @ x + p[f"{name}.bias_ih"]
    gh = p[f"{name}.weight_hh"] @ h + p[f"{name}.bias_hh"]
    (ir, iz, i_n), (hr, hz, hn) = np.split(gi, 3), np.split(gh, 3)
    z = sigmoid(iz + hz)
    return (1 - z) * np.tanh(i_n + sigmoid(ir + hr) * hn) + z * h


def layer_norm(x, p, name):
    x = (x - x.mean()) / np.sqrt(x.var() + 1e-5)
    return x * p[f"{name}.weight"] + p[f"{name}.bias"]


def written_equations(variant, p, x):
    """Score one video, x (T, P, C) float64, position by position and step by step."""
    d = 7
    h_att, h_task, alphas = np.zeros(d), np.zeros(d), []
    for x_t in x:
        if variant == "no_att":
            v = x_t.mean(axis=0)
        else:
            x_bar = x_t.mean(axis=0) + x_t.max(axis=0)  # Eq. (1)
            seen = []
            if variant != "only_htop":
                seen.append(layer_norm(x_bar, p, "attend.state.norm_x"))
            if variant != "only_x":
                seen.append(layer_norm(h_task, p, "attend.state.norm_h"))
            c = np.concatenate(seen)  # Eq. (2)
            if variant == "fc_att":
                h_att = p["attend.state.linear.weight"] @ c + p["attend.state.linear.bias"]
            else:
                h_att = gru(c, h_att, p, "attend.state.gru")  # Eq. (3)
            steer = p["attend.spatial.w_ha.weight"] @ h_att + p["attend.spatial.w_ha.bias"]
            a = np.array(
                [
                    p["attend.spatial.w_a.weight"][0]
                    @ np.tanh(
                        p["attend.spatial.w_xa.weight"] @ x_i
                        + p["attend.spatial.w_xa.bias"]
                        + steer
                    )
                    for x_i in x_t
                ]
            )  # Eq. (4)
            alpha = np.exp(a) / np.exp(a).sum()  # Eq. (5)
            v = sum(weight * x_i for weight, x_i in zip(alpha, x_t, strict=True))  # Eq. (6)
            alphas.append(alpha)
        h_task = gru(v, h_task, p, "rnn_task")  # Eq. (7)
    return p["fc.weight"][0] @ h_task + p["fc.bias"][0], alphas  # Eq. (8)


@pytest.mark.parametrize("variant", ["full", "only_x", "only_htop", "fc_att", "no_att"])
def test_the_recurrences_are_the_written_equations(variant):
    """Fails if any term of Eqs. (1) to (8), or an ablation's definition, is wrong."""
    model = build(RankerOptions(variant=variant, **SMALL), C, H, W, seed=3).double()
    x = torch.randn(2, N, C, H, W, generator=torch.Generator().manual_seed(1)).double()
    out = model(x)
    p = {name: value.detach().numpy() for name, value in model.named_parameters()}
    for row in range(2):
        expected, alphas = written_equations(variant, p, x[row].flatten(2).mT.numpy())
        # float64 sums of a few dozen terms in another order: 1e-12 leaves two digits to spare.
        np.testing.assert_allclose(out.score[row].item(), expected, rtol=0, atol=1e-12)
        if alphas:
            result = out.attention[row].flatten(1).detach().numpy()
            np.testing.assert_allclose(result, np.stack(alphas), rtol=0, atol=1e-12)


def test_the_loss_is_the_mean_margin_loss():
    """Fails if the margin, the sign or the mean of Eq. (9) is wrong."""
    score = torch.tensor([1.0, 0.8, 0.0])
    pairs = torch.tensor([[0, 1], [2, 0], [0, 2]])
    # max(0, .5 − .2), max(0, .5 + 1), max(0, .5 − 1), over three pairs.
    assert ranking_loss(score, pairs, 0.5).item() == pytest.approx((0.3 + 1.5 + 0) / 3)


def test_gru_matrices_start_orthogonal():
    """Fails if the authors' initialisation is lost."""
    cell = build(RankerOptions(**SMALL), C, H, W).rnn_task
    for weight in (cell.weight_ih, cell.weight_hh):
        # Orthonormal columns to float32's rounding.
        torch.testing.assert_close(weight.T @ weight, torch.eye(weight.shape[1]), atol=1e-5, rtol=0)


def test_initial_hidden_zeros_needs_no_generator_and_normal_is_drawn():
    """Fails if the default start is random, or the named option changes nothing."""
    x = torch.randn(2, N, C, H, W)
    zeros = build(RankerOptions(**SMALL), C, H, W)
    assert torch.equal(zeros(x).score, zeros(x).score)
    normal = build(RankerOptions(initial_hidden="normal", **SMALL), C, H, W)
    first, second = (normal(x, torch.Generator().manual_seed(seed)).score for seed in (0, 1))
    assert not torch.equal(first, second)
    assert torch.equal(first, normal(x, torch.Generator().manual_seed(0)).score)
    with pytest.raises(ValueError, match="generator"):
        normal(x)


def make_videos(snippets, keys=None, seed=0, dtype=torch.float16):
    """Random maps of videos with the given numbers of snippets, spread over N segments."""
    generator = torch.Generator().manual_seed(seed)
    total = sum(snippets)
    return VideoMaps(
        torch.randn(total, C, H, W, generator=generator).to(dtype),
        torch.tensor([0, *np.cumsum(snippets)]),
        torch.cat([torch.arange(s) * N // s for s in snippets]),
        tuple(keys or (f"v{i}" for i in range(len(snippets)))),
    )


def test_whole_video_sampling_is_that_of_the_reference():
    """Fails if stage two draws other snippets than the plain reference."""
    from tests.helpers import sampling_reference as sampling

    cases = [[0, 0, 1, 2, 3, 4], [0, 1, 1, 4], [2], [1, 3], [0, 4, 4], [0, 1, 2, 3, 4]]
    videos = VideoMaps(
        torch.zeros(sum(map(len, cases)), 1, 1, 1),
        torch.tensor([0, *np.cumsum([len(case) for case in cases])]),
        torch.tensor([number for case in cases for number in case]),
        tuple(map(str, range(len(cases)))),
    )
    ranges = whole_video(videos, N)
    draws = torch.stack([ranges.draw(torch.Generator().manual_seed(s)) for s in range(60)])
    for row, case in enumerate(cases):
        start = int(videos.start[row])
        segment = np.array(case)
        np.testing.assert_array_equal(ranges.test[row] - start, sampling.pick_test(segment, N))
        rng = np.random.default_rng(0)
        theirs = np.stack([sampling.draw_train(segment, N, rng) for _ in range(60)])
        for step in range(N):
            ours = set((draws[:, row, step] - start).tolist())
            assert ours == set(theirs[:, step].tolist())


@pytest.mark.parametrize("size", [3, 4, 5, 6, 9, 10, 14, 27])
def test_authors_sampling_is_that_of_the_reference(size):
    """Fails if the named option departs from the authors' bins."""
    from tests.helpers import sampling_reference as sampling

    ranges = authors_bins(make_videos([2, size]), N)
    np.testing.assert_array_equal(ranges.test[1] - 2, sampling.authors_test(size, N))
    draws = [ranges.draw(torch.Generator().manual_seed(s))[1] - 2 for s in range(80)]
    rng = np.random.default_rng(0)
    theirs = np.stack([sampling.authors_train(size, N, rng) for _ in range(80)])
    for step in range(N):
        ours = {int(draw[step]) for draw in draws}
        assert ours == set(theirs[:, step].tolist())


def test_scores_do_not_depend_on_company_or_order():
    """Fails if one video's score leaks into another's, in batches or one by one."""
    videos = make_videos([5, 7, 9, 6])
    model = build(RankerOptions(**SMALL), C, H, W)
    scores = score(model, videos, N)
    again = score(model, videos, N)
    np.testing.assert_array_equal(scores.score, again.score)
    np.testing.assert_array_equal(scores.attention, again.attention)
    order = [2, 0, 3, 1]
    parts = [videos.maps[videos.start[i] : videos.start[i + 1]] for i in order]
    segments = [videos.segment[videos.start[i] : videos.start[i + 1]] for i in order]
    permuted = VideoMaps(
        torch.cat(parts),
        torch.tensor([0, *np.cumsum([len(part) for part in parts])]),
        torch.cat(segments),
        tuple(videos.keys[i] for i in order),
    )
    np.testing.assert_array_equal(score(model, permuted, N).score, scores.score[order])
    rows = whole_video(videos, N).test
    batch = model(videos.gather(rows)).score.detach().numpy()
    mixed = model(videos.gather(rows[order])).score.detach().numpy()
    # Rows of a float32 product may be summed in another order: a few units in the last place.
    np.testing.assert_allclose(mixed, batch[order], rtol=0, atol=1e-6)
    np.testing.assert_allclose(batch, scores.score, rtol=0, atol=1e-6)


def test_ties_count_as_wrong():
    """Fails if a ranker that says nothing is credited with half of the pairs."""
    pairs = np.array([[0, 1], [1, 0], [2, 0]])
    assert pair_accuracy(np.array([1.0, 1.0, 2.0]), pairs) == pytest.approx(1 / 3)
    with pytest.raises(ValueError, match="no pairs"):
        pair_accuracy(np.array([1.0]), np.empty((0, 2), int))


def published_score(fusion, ranker, rgb, flow):
    """Score as published: ConvFusion inside the step, every snippet and step by itself."""
    h_att = h_task = torch.zeros(1, 7, dtype=rgb.dtype)
    state, spatial = ranker.attend.state, ranker.attend.spatial
    for rgb_t, flow_t in zip(rgb, flow, strict=True):
        x = fusion(torch.cat([rgb_t, flow_t])[None])
        pools = functional.adaptive_avg_pool2d(x, 1) + functional.adaptive_max_pool2d(x, 1)
        c = torch.cat([state.norm_x(pools.flatten(1)), state.norm_h(h_task)], dim=1)
        h_att = state.gru(c, h_att)
        k = spatial.w_xa.out_features
        projected = functional.conv2d(x, spatial.w_xa.weight.view(k, -1, 1, 1), spatial.w_xa.bias)
        inner = torch.tanh(projected + spatial.w_ha(h_att)[:, :, None, None])
        a = functional.conv2d(inner, spatial.w_a.weight.view(1, k, 1, 1))
        alpha = torch.softmax(a.flatten(1), dim=1).view_as(a)
        h_task = ranker.rnn_task((alpha * x).sum(dim=(2, 3)), h_task)
    return ranker.fc(h_task)[0, 0]


def test_cached_path_gives_the_published_scores_and_gradients():
    """Fails if scoring cached maps once a video is not the same training step as the published."""
    generator = torch.Generator().manual_seed(0)
    streams = torch.randn(4, N, 2, 8, 6, 6, generator=generator).double()
    torch.manual_seed(0)
    fusion = torch.nn.Sequential(
        torch.nn.Conv2d(16, 10, 2, stride=2), torch.nn.ReLU(), torch.nn.Conv2d(10, C, 1)
    ).double()
    model = build(RankerOptions(**SMALL), C, 3, 3).double()
    pairs = torch.tensor([[0, 1], [1, 2], [0, 3], [2, 3]])
    with torch.no_grad():
        cached = fusion(streams.flatten(0, 1).flatten(1, 2)).unflatten(0, (4, N))
    out = model(cached)
    ranking_loss(out.score, pairs, 0.5).backward()
    ours = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    losses = []
    for better, worse in pairs.tolist():
        scores = [
            published_score(fusion, model, streams[each, :, 0], streams[each, :, 1])
            for each in (better, worse)
        ]
        # float64, another order of sums: 1e-12 leaves two digits to spare.
        assert scores[0].item() == pytest.approx(out.score[better].item(), abs=1e-12)
        losses.append(torch.clamp(0.5 - scores[0] + scores[1], min=0))
    torch.stack(losses).mean().backward()
    for mine, parameter in zip(ours, model.parameters(), strict=True):
        torch.testing.assert_close(mine, parameter.grad, rtol=0, atol=1e-12)


def test_presets_are_overridden_by_flags():
    """Fails if a flag that the user gave is silently replaced by the preset's value."""
    options = apply_preset(TrainOptions(epochs=7), "surgery", explicit=["epochs"])
    assert (options.optimizer, options.learning_rate, options.epochs) == ("sgd", 5e-4, 7)
    assert apply_preset(TrainOptions(), "dough").learning_rate == 5e-6
    assert apply_preset(TrainOptions(), "infant-grasp").batch_pairs == 30
    assert set(PRESETS) >= {"chopstick", "surgery", "drawing", "dough", "infant-grasp", "diving"}
    with pytest.raises(ValueError, match="no preset"):
        apply_preset(TrainOptions(), "cooking")
