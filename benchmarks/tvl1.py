"""Compare a TV-L1 engine with OpenCV's: CPU time on one thread, and whether results agree.

Both engines compute each pair one after the other in the same run, in alternating order, so
that a busy machine slows both. Example::

    python benchmarks/tvl1.py a.mp4 b.mp4 --sizes 340x256 640x480 --pairs 20
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from model.tvl1 import engines, opencv
from model.tvl1.cpu.calc import calc_and_count
from model.tvl1.options import TVL1Options

Frame = npt.NDArray[np.uint8]
Flow = npt.NDArray[np.float32]

# Grey levels of noise that OpenCV is given to measure how much its own result moves.
NOISE = 0.01
# Flow is cut at ±20 px and stored in 8 bits: one level is 40/255 px.
BOUND = 20.0


@dataclass
class Sample:
    """What one pair of frames took, in seconds of CPU time, and what came out."""

    opencv: float
    engine: float
    identical: bool
    mean_difference: float
    within_one_level: float
    pixel_iterations: int
    done: int


@dataclass
class Result:
    """All pairs of one size."""

    size: str
    samples: list[Sample] = field(default_factory=list)
    noise: list[tuple[float, float]] = field(default_factory=list)

    def ratios(self) -> npt.NDArray[np.float64]:
        """Return OpenCV's CPU time over the engine's, a pair each."""
        return np.array([s.opencv / s.engine for s in self.samples])

    def summary(self) -> dict[str, object]:
        """Return the medians and ranges that are reported."""
        ratios = self.ratios()
        per = {
            name: float(np.median([getattr(s, name) / s.pixel_iterations for s in self.samples]))
            for name in ("opencv", "engine")
        }
        summary: dict[str, object] = {
            "size": self.size,
            "pairs": len(self.samples),
            "opencv_ms": 1e3 * float(np.median([s.opencv for s in self.samples])),
            "engine_ms": 1e3 * float(np.median([s.engine for s in self.samples])),
            "ratio_median": float(np.median(ratios)),
            "ratio_min": float(ratios.min()),
            "ratio_max": float(ratios.max()),
            "ratio_of_totals": sum(s.opencv for s in self.samples)
            / sum(s.engine for s in self.samples),
            "opencv_ns_per_pixel_iteration": 1e9 * per["opencv"],
            "engine_ns_per_pixel_iteration": 1e9 * per["engine"],
            "iterations_repeated": sum(s.done for s in self.samples)
            / sum(s.pixel_iterations for s in self.samples)
            - 1,
            "identical": float(np.mean([s.identical for s in self.samples])),
            "mean_difference_px": float(np.mean([s.mean_difference for s in self.samples])),
            "within_one_level": float(np.mean([s.within_one_level for s in self.samples])),
        }
        if self.noise:
            summary["noise_mean_difference_px"] = float(np.mean([n[0] for n in self.noise]))
            summary["noise_within_one_level"] = float(np.mean([n[1] for n in self.noise]))
        return summary


def read_frames(path: Path) -> list[Frame]:
    """Return all frames of a video, in colour."""
    capture = cv2.VideoCapture(str(path))
    frames = []
    while True:
        decoded, frame = capture.read()
        if not decoded:
            break
        frames.append(np.asarray(frame, np.uint8))
    if len(frames) < 2:
        raise SystemExit(f"{path}: expected a video of at least 2 frames, found {len(frames)}")
    return frames


def generated_frames(count: int = 12) -> list[Frame]:
    """Return a textured scene that moves, turns and zooms, with a noisy camera."""
    rng = np.random.default_rng(0)
    height, width = 540, 720
    noise = rng.uniform(0, 255, (height, width)).astype(np.float32)
    texture = sum(cv2.GaussianBlur(noise, (0, 0), s) * s for s in (1.5, 4.0, 12.0))
    texture = cv2.normalize(np.asarray(texture), None, 0, 255, cv2.NORM_MINMAX)
    frames = []
    for t in range(count):
        turn = cv2.getRotationMatrix2D((width / 2, height / 2), 0.4 * t, 1 + 0.004 * t)
        turn[:, 2] += (1.7 * t, -0.9 * t)
        moved = cv2.warpAffine(texture, turn, (width, height), flags=cv2.INTER_CUBIC)
        grey = np.clip(moved + rng.normal(0, 1.5, moved.shape), 0, 255).astype(np.uint8)
        frames.append(np.repeat(grey[..., None], 3, axis=2))
    return frames


def grey(frame: Frame, size: tuple[int, int]) -> Frame:
    """Return a frame in grey, resized."""
    small = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY), np.uint8)


def pairs(videos: list[list[Frame]], size: tuple[int, int], count: int) -> Iterator[tuple]:
    """Yield grey pairs of successive frames, spread evenly over the videos."""
    share = -(-count // len(videos))
    for frames in videos:
        candidates = range(len(frames) - 1)
        for i in np.unique(np.linspace(0, len(candidates) - 1, share).astype(int)):
            yield grey(frames[i], size), grey(frames[i + 1], size)


def still_pairs(videos: list[list[Frame]], size: tuple[int, int], count: int) -> Iterator[tuple]:
    """Yield the grey pairs of successive frames that differ least, of all videos."""
    pairs = []
    for frames in videos:
        greys = [grey(frame, size) for frame in frames]
        for first, second in itertools.pairwise(greys):
            change = float(cv2.absdiff(first, second).mean())
            if change > 0:
                pairs.append((change, len(pairs), first, second))
    for _, _, first, second in sorted(pairs, key=lambda item: item[:2])[:count]:
        yield first, second


def timed(compute: Callable) -> tuple:
    """Return what a call returns, and the CPU time of this thread."""
    start = time.thread_time()
    result = compute()
    return result, time.thread_time() - start


def difference(a: Flow, b: Flow) -> tuple[float, float]:
    """Return the mean distance of two flows in px, and the share within one 8-bit level."""

    def levels(flow: Flow) -> npt.NDArray[np.float64]:
        return np.rint(np.clip((flow + BOUND) * 255 / (2 * BOUND), 0, 255))

    distance = np.sqrt(((a.astype(np.float64) - b) ** 2).sum(-1)).mean()
    return float(distance), float((np.abs(levels(a) - levels(b)) <= 1).mean())


def noise_floor(i0: Frame, i1: Frame, reference: Flow, rng: np.random.Generator) -> tuple:
    """Return how far OpenCV's own flow moves when its frames get a little noise."""
    noisy = [((i + rng.normal(0, NOISE, i.shape)) / 255).astype(np.float32) for i in (i0, i1)]
    solver = cv2.optflow.DualTVL1OpticalFlow_create()
    return difference(reference, solver.calc(*noisy, None))


def measure(engine: str, size: tuple[int, int], chosen: Iterator[tuple], noise: bool) -> Result:
    """Run both engines over all pairs of one size."""
    options = TVL1Options()
    calc = engines.load(engine)
    result = Result(f"{size[0]}x{size[1]}")
    rng = np.random.default_rng(0)
    for n, (i0, i1) in enumerate(chosen):
        if np.array_equal(i0, i1):
            continue
        if not result.samples:
            calc(i0, i1, options)  # Compiled, and caches warm.
        runs = {
            "opencv": lambda a=i0, b=i1: opencv.calc(a, b, options),
            "engine": lambda a=i0, b=i1: calc(a, b, options),
        }
        results = {name: timed(runs[name]) for name in sorted(runs, reverse=bool(n % 2))}
        flow, reference = results["engine"][0], results["opencv"][0]
        effort = calc_and_count(i0, i1, options)[1]
        result.samples.append(
            Sample(
                results["opencv"][1],
                results["engine"][1],
                bool(np.array_equal(flow, reference)),
                *difference(reference, flow),
                effort.kept,
                effort.done,
            )
        )
        if noise:
            result.noise.append(noise_floor(i0, i1, reference, rng))
    return result


def report(results: list[Result], engine: str) -> str:
    """Return a table of all sizes."""
    lines = [
        f"| size | pairs | OpenCV ms | {engine} ms | ratio, median (range) "
        f"| OpenCV ns per pixel-iteration | {engine} | bit-identical |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for result in results:
        s = result.summary()
        lines.append(
            "| {size} | {pairs} | {opencv_ms:.0f} | {engine_ms:.1f} | {ratio_median:.1f} "
            "({ratio_min:.1f} to {ratio_max:.1f}) | {opencv_ns_per_pixel_iteration:.1f} | "
            "{engine_ns_per_pixel_iteration:.2f} | {identical:.0%} |".format(**s)
        )
        if result.noise:
            lines.append(
                "\n{size}: OpenCV given {noise} grey levels of noise moves "
                "{noise_mean_difference_px:.4f} px, ±1 level {noise_within_one_level:.4f}; "
                "the engine differs by {mean_difference_px:.4f} px, ±1 level "
                "{within_one_level:.4f}.\n".format(noise=NOISE, **s)
            )
    return "\n".join(lines)


def main() -> None:
    """Parse the command line, measure, print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("videos", nargs="*", type=Path, help="videos; without: generated frames")
    parser.add_argument("--sizes", nargs="+", default=["340x256", "640x480"], metavar="WxH")
    parser.add_argument("--pairs", type=int, default=20, help="pairs per size, over all videos")
    parser.add_argument("--still", action="store_true", help="take the pairs that differ least")
    parser.add_argument("--engine", default="auto", choices=engines.NAMES)
    parser.add_argument("--noise", action="store_true", help="also measure OpenCV's noise floor")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all samples")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    engine = engines.choose(arguments.engine)
    videos = [read_frames(path) for path in arguments.videos] or [generated_frames()]
    choose = still_pairs if arguments.still else pairs
    results = []
    for text in arguments.sizes:
        width, height = (int(n) for n in text.lower().split("x"))
        chosen = choose(videos, (width, height), arguments.pairs)
        results.append(measure(engine, (width, height), chosen, arguments.noise))
    print(" · ".join(f"{k} {v}" for k, v in engines.identity(engine).items()))
    print(report(results, engine))
    if arguments.json:
        content = {
            "identity": engines.identity(engine),
            "summaries": [r.summary() for r in results],
            "samples": {r.size: [asdict(s) for s in r.samples] for r in results},
        }
        arguments.json.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
