"""Rival: convolutional LSTMs, with attention led by motion.

Li, Gavrilyuk, Gavves, Jain and Snoek, "VideoLSTM convolves, attends and flows for action
recognition", CVIU 2018, in the form in which the authors of the ranker compare with it. It sees
the two stream maps in place of the fused one.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from model.ranker.options import RankerOptions
from model.ranker.recurrent import Output, initial_state

STREAM_CHANNELS = 2048  # of a ResNet101's conv5
REDUCED_CHANNELS = 512  # after the 2×2 convolution of each stream (authors' code)
ATTENTION_CHANNELS = 256  # inside the attention (authors' code)


class ConvLSTMCell(nn.Module):
    """An LSTM cell whose products are 3×3 convolutions, without peepholes."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.gates = nn.Conv2d(input_size + hidden_size, 4 * hidden_size, 3, padding=1)

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the next (h, c), both (B, D, H, W), from x (B, input, H, W)."""
        h, c = state
        i, f, o, g = self.gates(torch.cat([x, h], dim=1)).chunk(4, dim=1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c


class VideoLSTM(nn.Module):
    """ConvLSTM_att(flow, h_task) says where, ConvLSTM_task(rgb · α) says how well.

    The kernel of the two convolutions of the attention is 1×1 (ours: the definition has none).

    Parameters
    ----------
    options : RankerOptions
        `hidden_size`, `dropout`, `initial_hidden`.
    stream_channels, height, width : int
        Shape of one stream's maps, halved by the first convolutions.
    """

    def __init__(
        self, options: RankerOptions, stream_channels: int, height: int, width: int
    ) -> None:
        super().__init__()
        size = options.hidden_size
        self.reduce_rgb = nn.Conv2d(stream_channels, REDUCED_CHANNELS, 2, stride=2)
        self.reduce_flow = nn.Conv2d(stream_channels, REDUCED_CHANNELS, 2, stride=2)
        self.lstm_att = ConvLSTMCell(REDUCED_CHANNELS + size, size)
        self.attention = nn.Sequential(
            nn.Conv2d(REDUCED_CHANNELS + size, ATTENTION_CHANNELS, 1),
            nn.Tanh(),
            nn.Conv2d(ATTENTION_CHANNELS, 1, 1),
        )
        self.lstm_task = ConvLSTMCell(REDUCED_CHANNELS, size)
        self.fc = nn.Linear(size * (height // 2) * (width // 2), 1)
        self.stream_channels = stream_channels
        self.dropout = options.dropout
        self.hidden_size = size
        self.initial_hidden = options.initial_hidden

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> Output:
        """Score videos.

        Parameters
        ----------
        x : Tensor
            (B, T, 2 · stream channels, H, W): RGB maps, then flow maps.
        generator : torch.Generator
            Draws the dropout in training, and a normal start.
        """
        rgb, flow = x.split(self.stream_channels, dim=2)
        rgb = self._reduced(self.reduce_rgb, rgb)
        flow = self._reduced(self.reduce_flow, flow)
        att = self._first_state(flow[:, 0], generator)
        task = self._first_state(flow[:, 0], generator)
        hidden, alphas = [], []
        for rgb_t, flow_t in zip(rgb.unbind(1), flow.unbind(1), strict=True):
            att = self.lstm_att(torch.cat([flow_t, task[0]], dim=1), att)
            a = self.attention(torch.cat([flow_t, att[0]], dim=1))
            alpha = torch.softmax(a.flatten(1), dim=1).view_as(a)
            task = self.lstm_task(rgb_t * alpha, task)
            hidden.append(task[0].flatten(1))
            alphas.append(alpha.squeeze(1))
        features = self._drop(torch.stack(hidden, dim=1), generator)
        running = self.fc(features).squeeze(-1)
        return Output(running[:, -1], running, torch.stack(alphas, dim=1))

    def _reduced(self, convolution: nn.Module, x: Tensor) -> Tensor:
        """Convolve the maps of all steps at once."""
        return convolution(x.flatten(0, 1)).unflatten(0, x.shape[:2])

    def _first_state(
        self, like: Tensor, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        shape = (self.hidden_size, *like.shape[2:])
        size = shape[0] * shape[1] * shape[2]
        h = initial_state(self.initial_hidden, like, size, generator).unflatten(1, shape)
        return h, torch.zeros_like(h)

    def _drop(self, features: Tensor, generator: torch.Generator | None) -> Tensor:
        """Drop features of whole videos in training, from the given generator."""
        if not self.training or not self.dropout:
            return features
        shape = (len(features), 1, features.shape[2])
        kept = torch.rand(shape, generator=generator) >= self.dropout
        return features * kept.to(features) / (1 - self.dropout)


def build(options: RankerOptions, channels: int, height: int, width: int) -> VideoLSTM:
    """Return the ranker for stream maps, RGB and flow together C×H×W.

    Raises
    ------
    ValueError
        If the maps cannot be the two streams.
    """
    if channels % 2 or height < 2 or width < 2:
        raise ValueError(
            f"video_lstm needs the RGB and flow stream maps ({2 * STREAM_CHANNELS}×14×14 from a "
            f"ResNet101), got {channels}×{height}×{width}"
        )
    return VideoLSTM(options, channels // 2, height, width)
