"""Training steps of the ranker: on cached maps, against the published formulation.

Published: ConvFusion inside the step, both videos of each pair forwarded, one snippet after the
other, stream maps of 4096×14×14 float32; written here from its definition. Ours: fused maps of
256×7×7 float16 cached, each distinct video of a step scored once. Each side runs in a process of
its own on one thread, so that its peak memory is its own. What the interpreter and the imports, the
same on both sides, take of it is told apart.

    python benchmarks/ranker.py [--quick]
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from model.ranker.build import build
from model.ranker.loss import ranking_loss
from model.ranker.optimizer import Optimizer
from model.ranker.options import PRESETS, RankerOptions, TrainOptions
from model.ranker.training import fit
from model.ranker.videos import VideoMaps

STREAMS, HIDDEN, CHANNELS, SIDE = 4096, 512, 256, 14
SEGMENTS, STEP_PAIRS, VIDEOS, EPOCH_PAIRS = 25, 16, 30, 400
CHECK_SEGMENTS, CHECK_VIDEOS = 3, 3


class Published(nn.Module):
    """ConvFusion and ranker in one, as published: a snippet at a time, nothing shared."""

    def __init__(self, ranker: nn.Module) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(STREAMS, HIDDEN, 2, stride=2)
        self.project = nn.Conv2d(HIDDEN, CHANNELS, 1)
        self.ranker = ranker

    def fuse(self, streams: Tensor) -> Tensor:
        """Return X_t, (B, 256, 7, 7), from (B, 4096, 14, 14)."""
        return self.project(torch.relu(self.reduce(streams)))

    def forward(self, streams: Tensor) -> Tensor:
        """Return scores (B,) of videos (B, T, 4096, 14, 14)."""
        attend = self.ranker.attend
        state, spatial = attend.state, attend.spatial
        h_att = h_task = streams.new_zeros(len(streams), self.ranker.hidden_size)
        k = spatial.w_xa.out_features
        for streams_t in streams.unbind(1):
            x = self.fuse(streams_t)
            pools = functional.adaptive_avg_pool2d(x, 1) + functional.adaptive_max_pool2d(x, 1)
            c = torch.cat([state.norm_x(pools.flatten(1)), state.norm_h(h_task)], dim=1)
            h_att = state.gru(c, h_att)
            projected = functional.conv2d(
                x, spatial.w_xa.weight.view(k, -1, 1, 1), spatial.w_xa.bias
            )
            inner = torch.tanh(projected + spatial.w_ha(h_att)[:, :, None, None])
            a = functional.conv2d(inner, spatial.w_a.weight.view(1, k, 1, 1))
            alpha = torch.softmax(a.flatten(1), dim=1).view_as(a)
            h_task = self.ranker.rnn_task((alpha * x).sum(dim=(2, 3)), h_task)
        return self.ranker.fc(h_task).squeeze(1)


def published() -> Published:
    """Return the published model with seeded weights."""
    torch.manual_seed(0)
    return Published(build(RankerOptions(), CHANNELS, SIDE // 2, SIDE // 2))


def published_step(pairs: int) -> dict[str, float]:
    """Time one step over `pairs` pairs: two forward passes, backward, SGD."""
    libraries = _peak()
    model = published()
    train = TrainOptions(**PRESETS["chopstick"])
    optimizer = Optimizer([{"params": model.parameters(), "lr": train.learning_rate}], train)
    shape = (pairs, SEGMENTS, STREAMS, SIDE, SIDE)
    generator = torch.Generator().manual_seed(0)
    better, worse = (torch.rand(shape, generator=generator) for _ in range(2))
    began = time.process_time()
    lead = model(better) - model(worse)
    loss = torch.clamp(0.5 - lead, min=0).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return {"cpu_s": time.process_time() - began, "peak": _peak(), "libraries": libraries}


def cached_videos(count: int) -> VideoMaps:
    """Return random cached maps of `count` videos, two snippets a segment."""
    total = count * SEGMENTS * 2
    generator = torch.Generator().manual_seed(0)
    maps = torch.empty(total, 7, 7, CHANNELS, dtype=torch.float16)
    for row in maps:  # One at a time: float32 copies of all would count as our memory.
        row.copy_(torch.randn(row.shape, generator=generator))
    return VideoMaps(
        maps.permute(0, 3, 1, 2),
        torch.arange(count + 1) * SEGMENTS * 2,
        (torch.arange(SEGMENTS * 2) // 2).repeat(count),
        tuple(map(str, range(count))),
    )


def cached_epochs(n_videos: int, n_pairs: int, epochs: int) -> dict[str, float]:
    """Time epochs of one step over `n_pairs` pairs of `n_videos` videos, draws included."""
    libraries = _peak()
    videos = cached_videos(n_videos)
    every = torch.combinations(torch.arange(n_videos))
    chosen = every[torch.randperm(len(every), generator=torch.Generator().manual_seed(1))[:n_pairs]]
    marks = []
    fit(
        videos,
        chosen,
        None,
        RankerOptions(),
        TrainOptions(epochs=epochs + 1),
        seed=0,
        on_state=lambda state: marks.append(time.process_time()),
    )
    spent = (marks[-1] - marks[0]) / epochs  # The first epoch warms up.
    return {"cpu_s": spent, "peak": _peak(), "libraries": libraries}


def differences() -> dict[str, float]:
    """Compare scores and gradients of both sides, equal weights, on full-size maps."""
    model = published()
    generator = torch.Generator().manual_seed(2)
    shape = (CHECK_VIDEOS, CHECK_SEGMENTS, STREAMS, SIDE, SIDE)
    streams = torch.rand(shape, generator=generator)
    pairs = torch.combinations(torch.arange(CHECK_VIDEOS))
    parameters = [*model.ranker.parameters()]
    # Both videos of each pair forwarded, as published.
    theirs = torch.stack([model(streams[pair]) for pair in pairs])
    torch.clamp(0.5 - theirs[:, 0] + theirs[:, 1], min=0).mean().backward()
    expected = [parameter.grad.clone() for parameter in parameters]
    model.zero_grad()
    with torch.no_grad():
        fused = torch.stack([model.fuse(video) for video in streams])
    ours = model.ranker(fused).score
    ranking_loss(ours, pairs, 0.5).backward()
    scale = max(each.abs().max().item() for each in expected)
    return {
        "score": (ours[pairs] - theirs).abs().max().item(),
        "gradient": max(
            (parameter.grad - each).abs().max().item()
            for parameter, each in zip(parameters, expected, strict=True)
        )
        / scale,
    }


def _peak() -> int:
    """Return the highest resident memory of this process so far, in bytes."""
    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale


SIDES = {
    "published": lambda quick: published_step(4 if quick else STEP_PAIRS),
    "step": lambda quick: cached_epochs(2 * STEP_PAIRS, STEP_PAIRS, 3 if quick else 10),
    "epoch": lambda quick: cached_epochs(VIDEOS, EPOCH_PAIRS, 3 if quick else 10),
    "equal": lambda quick: differences(),
}


def run(side: str, quick: bool) -> dict[str, float]:
    """Run one side in a process of its own."""
    command = [sys.executable, __file__, "--side", side, *(["--quick"] if quick else [])]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    result: dict[str, float] = json.loads(done.stdout)
    return result


def print_memory(theirs: dict[str, float], ours: dict[str, float]) -> None:
    """Print both peaks of a step: of the whole process, of the libraries, and of the rest."""
    rows = {
        "whole processes": (theirs["peak"], ours["peak"]),
        "interpreter and imports": (theirs["libraries"], ours["libraries"]),
    }
    whole, libraries = rows.values()
    rows["without these"] = (whole[0] - libraries[0], whole[1] - libraries[1])
    print(f"peak memory of a step of {STEP_PAIRS} pairs, GB: published, cached, ratio")
    for name, (one, other) in rows.items():
        print(f"  {name:24} {one / 1e9:6.3f} {other / 1e9:6.3f} {one / other:6.1f}")


def main() -> None:
    """Measure every side and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--quick", action="store_true", help="a published step of 4 pairs, times 4 (not memory)"
    )
    parser.add_argument("--side", choices=list(SIDES), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.side:
        print(json.dumps(SIDES[arguments.side](arguments.quick)))
        return
    measured = {side: run(side, arguments.quick) for side in SIDES}
    theirs, step, epoch = (measured[side] for side in ("published", "step", "epoch"))
    scale = STEP_PAIRS / (4 if arguments.quick else STEP_PAIRS)
    step_s = theirs["cpu_s"] * scale
    print(f"torch {torch.__version__}, one thread; CPU time")
    print(f"published, step of {STEP_PAIRS} pairs   {step_s:9.2f} s")
    print(f"cached, step of {STEP_PAIRS} pairs      {step['cpu_s']:9.3f} s")
    print(f"cached, {EPOCH_PAIRS} pairs of {VIDEOS} videos {epoch['cpu_s']:9.3f} s")
    print(f"step: {step_s / step['cpu_s']:.0f} times less CPU time")
    steps = EPOCH_PAIRS / STEP_PAIRS
    print(f"epoch: {steps * step_s / epoch['cpu_s']:.0f} times less CPU time ({steps:.0f} steps)")
    if not arguments.quick:
        print_memory(theirs, step)
    equal = measured["equal"]
    print(
        f"equal weights: scores differ by {equal['score']:.1e}, gradients by "
        f"{equal['gradient']:.1e} of the largest"
    )


if __name__ == "__main__":
    main()
