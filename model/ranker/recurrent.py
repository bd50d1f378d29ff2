"""The task RNN over attended maps, for any attention: Eqs. (7) and (8)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from model.ranker.attention import SpatialAttention, by_position


@dataclass
class Output:
    """What a ranker returns for B videos of T snippets.

    Attributes
    ----------
    score : Tensor
        (B,) skill score S, higher is better; its scale is arbitrary.
    running : Tensor
        (B, T) score after each snippet; the last column is `score`.
    attention : Tensor or None
        (B, T, H, W), sums to 1 over the positions of each map.
    """

    score: Tensor
    running: Tensor
    attention: Tensor | None = None


def orthogonal_gru(input_size: int, hidden_size: int) -> nn.GRUCell:
    """Return a GRU cell whose two weight matrices are orthogonal, as the authors start them."""
    cell = nn.GRUCell(input_size, hidden_size)
    nn.init.orthogonal_(cell.weight_ih)
    nn.init.orthogonal_(cell.weight_hh)
    return cell


def initial_state(
    kind: Literal["zeros", "normal"], like: Tensor, size: int, generator: torch.Generator | None
) -> Tensor:
    """Return the first hidden state (B, size) for maps `like` (B, …).

    Raises
    ------
    ValueError
        If the draw is normal and no CPU generator is given.
    """
    if kind == "zeros":
        return like.new_zeros(len(like), size)
    if generator is None:
        raise ValueError("initial_hidden='normal' needs a random generator")
    # Drawn on the CPU, so that every device starts alike.
    return torch.randn(len(like), size, generator=generator).to(like)


class AttentionState(nn.Module):
    """What turns snippet and task state into h_att, Eqs. (1) to (3); variants differ here."""

    def prepare(self, x: Tensor) -> Tensor | None:
        """Compute the part of x (B, T, P, C) that needs no hidden state, (B, T, …), or None."""
        raise NotImplementedError

    def forward(self, prepared: Any, h_task: Tensor, h_att: Tensor) -> Tensor:
        """Return h_att_t from step t of `prepare`, h_task_{t−1} and h_att_{t−1}, all (B, D)."""
        raise NotImplementedError


class Look(nn.Module):
    """What turns each snippet's map into one vector for the task RNN; variants differ here."""

    def prepare(self, x: Tensor) -> dict[str, Any]:
        """Compute, for all steps at once, what needs no hidden state; x (B, T, P, C)."""
        raise NotImplementedError

    def forward(
        self, prepared: dict[str, Any], t: int, h_att: Tensor, h_task: Tensor
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        """Return v_t (B, C), α_t (B, P) or None, and h_att_t (B, D)."""
        raise NotImplementedError


class Attend(Look):
    """An attention whose weights come from a state h_att of its own, Eqs. (2) to (6).

    Parameters
    ----------
    state : AttentionState
        Makes h_att.
    spatial : SpatialAttention
        Turns h_att into weights and the attended vector.
    """

    def __init__(self, state: AttentionState, spatial: SpatialAttention) -> None:
        super().__init__()
        self.state = state
        self.spatial = spatial

    def prepare(self, x: Tensor) -> dict[str, Any]:
        """Compute, for all steps at once, what needs no hidden state; x (B, T, P, C)."""
        return {
            "state": self.state.prepare(x),
            "projected": self.spatial.project(x).unbind(1),
            "x": x.unbind(1),
        }

    def forward(
        self, prepared: dict[str, Any], t: int, h_att: Tensor, h_task: Tensor
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        """Return v_t (B, C), α_t (B, P) and h_att_t (B, D)."""
        state = prepared["state"]
        h_att = self.state(None if state is None else state[:, t], h_task, h_att)
        v, alpha = self.spatial(prepared["projected"][t], prepared["x"][t], h_att)
        return v, alpha, h_att


class RecurrentRanker(nn.Module):
    """Run the task RNN over what an attention module sees of each snippet.

    Parameters
    ----------
    attend : Look
        What is seen of each snippet.
    channels, hidden_size : int
        C and D.
    initial_hidden : {"zeros", "normal"}
        Start of both hidden states.
    """

    def __init__(
        self,
        attend: Look,
        channels: int,
        hidden_size: int,
        initial_hidden: Literal["zeros", "normal"],
    ) -> None:
        super().__init__()
        self.attend = attend
        self.rnn_task = orthogonal_gru(channels, hidden_size)
        self.fc = nn.Linear(hidden_size, 1)
        self.hidden_size = hidden_size
        self.initial_hidden = initial_hidden

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> Output:
        """Score videos.

        Parameters
        ----------
        x : Tensor
            (B, T, C, H, W) fused maps.
        generator : torch.Generator, optional
            For `initial_hidden="normal"`.
        """
        prepared = self.attend.prepare(by_position(x))
        h_att = initial_state(self.initial_hidden, x, self.hidden_size, generator)
        h_task = initial_state(self.initial_hidden, x, self.hidden_size, generator)
        hidden, alphas = [], []
        for t in range(x.shape[1]):
            v, alpha, h_att = self.attend(prepared, t, h_att, h_task)
            h_task = self.rnn_task(v, h_task)  # Eq. (7)
            hidden.append(h_task)
            alphas.append(alpha)
        running = self.fc(torch.stack(hidden, dim=1)).squeeze(-1)  # Eq. (8), after every step
        return Output(running[:, -1], running, _as_maps(alphas, x))


def _as_maps(alphas: list[Tensor | None], x: Tensor) -> Tensor | None:
    """Return the weights of all steps, T times (B, P), as (B, T, H, W)."""
    known = [alpha for alpha in alphas if alpha is not None]
    if not known:
        return None
    return torch.stack(known, dim=1).unflatten(2, x.shape[3:])
