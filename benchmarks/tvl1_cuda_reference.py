"""Make the reference fields that benchmarks/gpu.py checks the CUDA engine against.

Run it where OpenCV 5 with contrib modules is installed; the file it writes then travels to a
machine with a GPU. Frames of the synthetic pairs are not stored: they are made again from
their seeds, in whole numbers, alike everywhere. Fields are stored at every fourth pixel, in
1/256 px. The default file is small enough to live in the repository; clips make a large one::

    python benchmarks/tvl1_cuda_reference.py
    python benchmarks/tvl1_cuda_reference.py --clips a.mp4 b.mp4 --output shared/clips.npz
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

Frames = npt.NDArray[np.uint8]
Flow = npt.NDArray[np.float32]

DEFAULT = Path(__file__).with_name("tvl1_cuda_reference.npz")
HEIGHT, WIDTH = 256, 340
# Fields are kept at every fourth pixel, in 1/256 px: an error of .002 px against a gate of .03.
STRIDE = 4
UNITS = 256
# Grey levels of noise whose effect on OpenCV's own result is the yardstick, and how often it is
# drawn for each pair: single draws differ by a factor of three.
NOISE = 0.01
DRAWS = 16
# Motion is drawn on a canvas this many times finer, so that it has fractions of a pixel.
_FINE = 4
# Background and object motion of each synthetic pair, right and down, in quarters of a pixel.
_MOTIONS = (
    ((0, 0), (0, 0)),
    ((1, 0), (6, -3)),
    ((3, -2), (-14, 5)),
    ((-10, 4), (22, 8)),
    ((0, 1), (-40, 12)),
    ((25, -9), (2, 30)),
)
SYNTHETIC = len(_MOTIONS)


def synthetic_pair(seed: int, height: int = HEIGHT, width: int = WIDTH) -> tuple[Frames, Frames]:
    """Make two frames: a textured object that moves before a textured, moving background.

    All arithmetic is in whole numbers, so that they are the same on every machine. The first
    pair's frames are identical.
    """
    rng = np.random.default_rng(seed)
    background, thing = (_texture(rng, _FINE * height, _FINE * width) for _ in range(2))
    y, x = np.ogrid[: _FINE * height, : _FINE * width]
    noise = rng.integers(-1, 2, (2, height, width)) * (1 if seed else 0)
    frames = []
    for i in range(2):
        (bx, by), (tx, ty) = ((i * dx, i * dy) for dx, dy in _MOTIONS[seed % SYNTHETIC])
        inside = (3 * (x - _FINE * width // 2 - tx)) ** 2 + (
            4 * (y - _FINE * height // 2 - ty)
        ) ** 2 < (_FINE * height) ** 2
        scene = np.where(inside, _crop(thing, tx, ty), _crop(background, bx, by))
        fine = scene[: _FINE * height, : _FINE * width]
        grey = fine.reshape(height, _FINE, width, _FINE).sum((1, 3)) // _FINE**2
        frames.append(np.clip(grey + noise[i], 0, 255).astype(np.uint8))
    return frames[0], frames[1]


_MARGIN = 64


def _crop(canvas: npt.NDArray[np.int64], dx: int, dy: int) -> npt.NDArray[np.int64]:
    """Cut the canvas so that its content has moved by (dx, dy)."""
    height, width = (side - 2 * _MARGIN for side in canvas.shape)
    top, left = _MARGIN - dy, _MARGIN - dx
    return canvas[top : top + height, left : left + width]


def _texture(rng: np.random.Generator, height: int, width: int) -> npt.NDArray[np.int64]:
    """Draw blots of several sizes, with a margin."""
    height, width = height + 2 * _MARGIN, width + 2 * _MARGIN
    total = np.zeros((height, width), np.int64)
    for size in (12, 32, 96):
        grid = rng.integers(0, 256, (height // size + 2, width // size + 2))
        layer = grid.repeat(size, 0).repeat(size, 1)[:height, :width]
        total += _blur(_blur(layer, size), size)
    spread = total.max() - total.min()
    return (total - total.min()) * 255 // spread


def _blur(image: npt.NDArray[np.int64], size: int) -> npt.NDArray[np.int64]:
    """Average over `size` pixels along both axes, edges replicated."""
    for axis in (0, 1):
        pad = [(0, 0), (0, 0)]
        pad[axis] = (size - size // 2, size // 2)
        total = np.pad(image, pad, mode="edge").cumsum(axis)
        after = np.take(total, np.arange(size, total.shape[axis]), axis)
        image = (after - np.take(total, np.arange(total.shape[axis] - size), axis)) // size
    return image


def sample(flow: Flow) -> Flow:
    """Keep the pixels of a field (…, H, W) that a reference file holds."""
    return flow[..., STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE]


def read_reference(path: Path) -> dict[str, Any]:
    """Read a reference: frames ``first``, ``second`` (P, H, W), ``flow`` (P, 2, h, w) in px.

    ``noise`` (P, draws, 2) is how far each draw of the noise moves OpenCV's own field: mean px,
    and the share of 8-bit values within one level.
    """
    with np.load(path) as file:
        stored = {name: file[name] for name in file.files}
    if "frames" in stored:
        first, second = stored["frames"][:, 0], stored["frames"][:, 1]
    else:
        pairs = [synthetic_pair(seed) for seed in range(len(stored["flow"]))]
        first, second = (np.stack(frames) for frames in zip(*pairs, strict=True))
    flow = np.cumsum(stored["flow"], axis=-1, dtype=np.int16).astype(np.float32) / UNITS
    return {
        "first": first,
        "second": second,
        "flow": flow,
        "noise": stored["noise"],
        "opencv": str(stored["opencv"]),
    }


def _clip_pairs(clips: list[Path], each: int, chosen: list[int]) -> npt.NDArray[np.uint8]:
    """Read pairs of neighbouring frames: the chosen ones, or `each` spread over every clip."""
    import cv2

    from data.video.reading import read_frames, scan

    frames = []
    for clip in clips:
        count = scan(clip).frames
        starts = chosen or np.linspace(2, count - 3, each).astype(int).tolist()
        frames = dict(read_frames(clip, sorted({int(i) for s in starts for i in (s, s + 1)})))
        for start in starts:
            pair = [
                cv2.cvtColor(cv2.resize(frames[i], (WIDTH, HEIGHT)), cv2.COLOR_BGR2GRAY)
                for i in (int(start), int(start) + 1)
            ]
            frames.append(np.stack(pair))
    return np.stack(frames)


def _with_noise(frame: Frames, rng: np.random.Generator) -> Flow:
    return ((frame + rng.normal(0, NOISE, frame.shape)) / 255).astype(np.float32)


def _moved(flow: Flow, first: Frames, second: Frames, rng: np.random.Generator) -> list[float]:
    """Compute how far one draw of the noise moves OpenCV's field: mean px, share within 1."""
    import cv2

    from data.cache.flow import quantise

    solver = cv2.optflow.DualTVL1OpticalFlow_create()
    moved = solver.calc(_with_noise(first, rng), _with_noise(second, rng), None)
    level = np.abs(quantise(flow, 20.0).astype(int) - quantise(moved, 20.0))
    return [float(np.linalg.norm(flow - moved, axis=-1).mean()), float((level <= 1).mean())]


def make(frames: npt.NDArray[np.uint8], keep_frames: bool, path: Path, draws: int) -> None:
    """Compute OpenCV's fields of frames (P, 2, H, W), and how far noise moves them; write."""
    import cv2

    from model.tvl1 import opencv

    rng = np.random.default_rng(0)
    fields, noise = [], []
    for number, (first, second) in enumerate(frames, 1):
        flow = opencv.calc(first, second)
        noise.append([_moved(flow, first, second, rng) for _ in range(draws)])
        fields.append(np.rint(sample(flow.transpose(2, 0, 1)) * UNITS).astype(np.int16))
        by = [px for px, _ in noise[-1]]
        print(f"{number}/{len(frames)}: noise moves it by {min(by):.4f} to {max(by):.4f} px")
    content = {
        # Differences along the rows compress to half of the values.
        "flow": np.diff(np.stack(fields), axis=-1, prepend=np.int16(0)),
        "noise": np.array(noise, np.float32),
        "opencv": np.array(cv2.__version__),
    }
    if keep_frames:
        content["frames"] = frames
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **content)
    print(f"{path}: {len(frames)} pairs, {path.stat().st_size / 1e3:.0f} kB")


def main() -> None:
    """Parse the command line and write the file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", nargs="*", type=Path, default=[])
    parser.add_argument("--pairs", type=int, default=8, help="pairs a clip (default 8)")
    parser.add_argument("--frames", nargs="*", type=int, default=[], help="or these of each clip")
    parser.add_argument("--draws", type=int, default=DRAWS, help="of the noise, for each pair")
    parser.add_argument("--output", type=Path, default=DEFAULT)
    arguments = parser.parse_args()
    if arguments.clips:
        frames = _clip_pairs(arguments.clips, arguments.pairs, arguments.frames)
    else:
        frames = np.stack([np.stack(synthetic_pair(seed)) for seed in range(SYNTHETIC)])
    make(frames, bool(arguments.clips), arguments.output, arguments.draws)


if __name__ == "__main__":
    main()
