"""Adam and SGD with momentum, to the bit as PyTorch's on a CPU.

PyTorch's own load its compiler once they are made: 156 MB and 1.5 s in every process that trains.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from model.ranker.options import TrainOptions

# Adam's decay of both means, and what keeps it from dividing by zero (Kingma and Ba, ICLR 2015).
BETAS = (0.9, 0.999)
EPSILON = 1e-8

State = dict[str, Any]


class Optimizer:
    """Takes the steps that the options name, on parameters of one or several learning rates.

    Parameters
    ----------
    groups : list of dict
        `params`, tensors that have one learning rate, and `lr`, this rate.
    train : TrainOptions
        `optimizer`, `momentum`, `weight_decay`.
    """

    def __init__(self, groups: Iterable[Mapping[str, Any]], train: TrainOptions) -> None:
        self._rated = [(each, float(group["lr"])) for group in groups for each in group["params"]]
        self._states: list[State] = [{} for _ in self._rated]
        self._weight_decay = train.weight_decay
        self._move = _adam if train.optimizer == "adam" else partial(_sgd, momentum=train.momentum)

    def zero_grad(self) -> None:
        """Drop the gradients."""
        for parameter, _ in self._rated:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Move every parameter that has a gradient."""
        for (parameter, rate), state in zip(self._rated, self._states, strict=True):
            grad = parameter.grad
            if grad is None:
                continue
            if self._weight_decay:
                grad = grad.add(parameter, alpha=self._weight_decay)
            self._move(parameter, grad, rate, state)

    def state_dict(self) -> State:
        """Return what `load_state_dict` goes on from; its tensors change with the next step."""
        return {"state": {at: state for at, state in enumerate(self._states) if state}}

    def load_state_dict(self, saved: State) -> None:
        """Go on from a state of the same parameters, of this class or of PyTorch's."""
        for at, state in saved["state"].items():
            like = self._rated[at][0]
            self._states[at] = {
                name: int(value) if name == "step" else value.to(like, copy=True)
                for name, value in state.items()
            }


def _adam(parameter: Tensor, grad: Tensor, rate: float, state: State) -> None:
    if not state:
        state |= {"step": 0, "exp_avg": grad.new_zeros(grad.shape)}
        state["exp_avg_sq"] = grad.new_zeros(grad.shape)
    state["step"] += 1
    first, second = (1 - beta ** state["step"] for beta in BETAS)
    mean = state["exp_avg"].lerp_(grad, 1 - BETAS[0])
    square = state["exp_avg_sq"].mul_(BETAS[1]).addcmul_(grad, grad, value=1 - BETAS[1])
    parameter.addcdiv_(mean, (square.sqrt() / second**0.5).add_(EPSILON), value=-rate / first)


def _sgd(parameter: Tensor, grad: Tensor, rate: float, state: State, momentum: float) -> None:
    if momentum:
        if state:
            state["momentum_buffer"].mul_(momentum).add_(grad)
        else:
            state["momentum_buffer"] = grad.clone()
        grad = state["momentum_buffer"]
    parameter.add_(grad, alpha=-rate)
