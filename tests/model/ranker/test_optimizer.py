"""The optimisers: PyTorch's steps, without what PyTorch loads for them."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from model.ranker.optimizer import Optimizer
from model.ranker.options import TrainOptions

ADAM = TrainOptions(learning_rate=1e-2, weight_decay=1e-2)
SGD = TrainOptions(optimizer="sgd", learning_rate=0.1, momentum=0.9, weight_decay=1e-2)
PLAIN = TrainOptions(optimizer="sgd", learning_rate=0.1, momentum=0.0)


def groups(train):
    """Return parameters of two learning rates, equal at each call."""
    generator = torch.Generator().manual_seed(0)
    sizes = [(3, 4), (5,), (2, 2)]
    params = [torch.randn(size, generator=generator, requires_grad=True) for size in sizes]
    rate = train.learning_rate
    return [{"params": params[:2], "lr": rate}, {"params": params[2:], "lr": rate / 10}]


def torchs(parts, train):
    """Return PyTorch's optimiser of the same name."""
    decay = train.weight_decay
    if train.optimizer == "adam":
        return torch.optim.Adam(parts, weight_decay=decay)
    return torch.optim.SGD(parts, momentum=train.momentum, weight_decay=decay)


def run(optimizer, parts, steps, seed):
    """Take steps on seeded gradients; return the parameters."""
    params = [param for part in parts for param in part["params"]]
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        optimizer.zero_grad()
        for param in params[1:]:  # The first is never reached by a gradient.
            param.grad = torch.randn(param.shape, generator=generator)
        optimizer.step()
    return [param.detach() for param in params]


@pytest.mark.parametrize("train", [ADAM, SGD, PLAIN])
def test_steps_are_pytorchs(train):
    """Fails if runs of earlier versions, which used PyTorch's optimisers, cannot be repeated."""
    ours, theirs = groups(train), groups(train)
    moved = run(Optimizer(ours, train), ours, 5, seed=1)
    expected = run(torchs(theirs, train), theirs, 5, seed=1)
    for one, other in zip(moved, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


@pytest.mark.parametrize("before", [Optimizer, torchs])
@pytest.mark.parametrize("train", [ADAM, SGD, PLAIN])
def test_a_state_goes_on(train, before):
    """Fails if an interrupted training, also of an earlier version, goes on elsewhere."""
    whole, parts = groups(train), groups(train)
    steps = Optimizer(whole, train)
    run(steps, whole, 3, seed=1)
    expected = run(steps, whole, 3, seed=2)
    first = before(parts, train)
    run(first, parts, 3, seed=1)
    rest = Optimizer(parts, train)
    rest.load_state_dict(first.state_dict())
    for one, other in zip(run(rest, parts, 3, seed=2), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_training_does_not_load_the_compiler():
    """Fails if every process that trains takes 156 MB and 1.5 s for a compiler that it never uses.

    In a process of its own: other tests load it.
    """
    code = """if True:
        import sys, torch
        from model.ranker.options import RankerOptions, TrainOptions
        from model.ranker.training import fit
        from model.ranker.videos import VideoMaps
        start, segment = torch.tensor([0, 1, 2]), torch.zeros(2).long()
        videos = VideoMaps(torch.randn(2, 4, 3, 3), start, segment, ("a", "b"))
        ranker, train = RankerOptions(segments=1), TrainOptions(epochs=2)
        fit(videos, torch.tensor([[0, 1]]), torch.tensor([[0, 1]]), ranker, train, seed=0)
        assert "torch._dynamo" not in sys.modules
    """
    subprocess.run([sys.executable, "-c", code], check=True)
