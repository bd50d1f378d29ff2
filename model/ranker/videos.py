"""The maps of many videos as one tensor, and which snippets of them an epoch sees."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True)
class VideoMaps:
    """The cached maps of V videos, one after the other.

    Attributes
    ----------
    maps : Tensor
        (ΣS, C, H, W), any floating type, in any memory format (channels last is fastest). Fused
        maps, or for `video_lstm` the RGB and flow stream maps concatenated along C.
    start : Tensor
        (V + 1,) int64: video v has rows start[v] … start[v + 1] − 1, in time order.
    segment : Tensor
        (ΣS,) int64 segment number of each snippet, in 0 … N − 1, not decreasing in a video.
    keys : tuple of str
        Names of the videos.
    seconds : Tensor, optional
        (V,) float64 durations of the videos, or of their judged parts.
    """

    maps: Tensor
    start: Tensor
    segment: Tensor
    keys: tuple[str, ...]
    seconds: Tensor | None = None

    def __post_init__(self) -> None:
        if self.maps.ndim != 4 or not self.maps.is_floating_point():
            raise ValueError(
                f"maps: expected floating (snippets, C, H, W), got {tuple(self.maps.shape)} "
                f"{self.maps.dtype}"
            )
        if self.start.shape != (len(self.keys) + 1,) or int(self.start[-1]) != len(self.maps):
            raise ValueError(
                f"start: expected {len(self.keys) + 1} offsets ending at {len(self.maps)}, "
                f"got {self.start.tolist()[-3:]}"
            )
        if bool((self.start.diff() < 1).any()):
            empty = self.keys[int((self.start.diff() < 1).nonzero()[0])]
            raise ValueError(f"{empty}: no snippets")
        if self.segment.shape != (len(self.maps),):
            raise ValueError(f"segment: expected {len(self.maps)}, got {len(self.segment)} rows")
        if self.seconds is not None and self.seconds.shape != (len(self.keys),):
            raise ValueError(f"seconds: expected {len(self.keys)}, got {tuple(self.seconds.shape)}")

    @cached_property
    def _by_position(self) -> Tensor:
        """The maps as (ΣS, H, W, C), a view."""
        return self.maps.permute(0, 2, 3, 1)

    def gather(self, rows: Tensor, device: torch.device | str = "cpu") -> Tensor:
        """Return the maps of (B, T) rows as float32 (B, T, C, H, W) in channels-last memory."""
        picked = torch.empty(*rows.shape, *self._by_position.shape[1:])
        for place, row in zip(picked, rows, strict=True):  # A video's float16 copy at a time.
            place.copy_(self._by_position[row])
        return picked.to(device).permute(0, 1, 4, 2, 3)


@dataclass(frozen=True)
class SnippetRanges:
    """For each video and time step, the run of rows that its snippet is drawn from.

    Attributes
    ----------
    first, count : Tensor
        (V, N) int64: rows first … first + count − 1.
    test : Tensor
        (V, N) int64: the row seen when testing.
    """

    first: Tensor
    count: Tensor
    test: Tensor

    def draw(self, generator: torch.Generator) -> Tensor:
        """Return one row of each run at random, (V, N) int64."""
        uniform = torch.rand(self.first.shape, generator=generator, dtype=torch.float64)
        return self.first + (uniform * self.count).long()


def whole_video(videos: VideoMaps, n_segments: int) -> SnippetRanges:
    """Divide each whole video into N equal spans, and test on the last snippet of each.

    A segment without a snippet takes the nearest one, by segment number, the earlier of two.
    Differs from the authors, whose bins leave out up to half of a video: see `authors_bins`.

    Raises
    ------
    ValueError
        If the snippets were numbered for more than N segments.
    """
    if int(videos.segment.max()) >= n_segments:
        raise ValueError(
            f"snippets are numbered for {int(videos.segment.max()) + 1} segments or more, "
            f"expected {n_segments}"
        )
    first, count = [], []
    for begin, end in zip(videos.start[:-1].tolist(), videos.start[1:].tolist(), strict=True):
        number, size = torch.unique_consecutive(videos.segment[begin:end], return_counts=True)
        offset = begin + torch.cumsum(size, 0) - size
        distance = (torch.arange(n_segments)[:, None] - number[None, :]).abs()
        nearest = distance.argmin(dim=1)
        first.append(offset[nearest])
        count.append(torch.where(distance.amin(dim=1) == 0, size[nearest], 1))
        # Going backwards the nearest snippet of an empty segment is the last of its run.
        before = number[nearest] < torch.arange(n_segments)
        first[-1] = torch.where(before, offset[nearest] + size[nearest] - 1, first[-1])
    firsts, counts = torch.stack(first), torch.stack(count)
    return SnippetRanges(firsts, counts, firsts + counts - 1)


def authors_bins(videos: VideoMaps, n_segments: int) -> SnippetRanges:
    """Draw as the authors do: bins of r = ⌊S/N⌋ snippets counted from the start of the video.

    Training keeps the last N of the ⌈S/r⌉ bins, testing takes S − 1, S − 1 − r, … N of them.
    Differs from the authors for S < N, where theirs divides by zero: step n takes snippet ⌊nS/N⌋.
    """
    first, count, test = [], [], []
    step = torch.arange(n_segments)
    for begin, end in zip(videos.start[:-1].tolist(), videos.start[1:].tolist(), strict=True):
        size = end - begin
        r = size // n_segments
        if r == 0:
            first.append(begin + step * size // n_segments)
            count.append(torch.ones_like(step))
            test.append(first[-1])
            continue
        bins = -(-size // r)
        low = (bins - n_segments + step) * r
        first.append(begin + low)
        count.append((size - low).clamp(max=r))
        test.append(begin + size - 1 - r * (n_segments - 1 - step))
    return SnippetRanges(torch.stack(first), torch.stack(count), torch.stack(test))
