"""A picture of one flow field: colours beside the video's frame, with the wheel as legend."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data.cache.flow import FlowCache, open_flow
from data.cache.folder import read_header
from data.cache.header import Header
from data.errors import InputError, VideoError
from data.judgements.options import DatasetOptions
from data.video.reading import file_digest, read_frames
from pipeline.inspect.kinds import file_kind
from pipeline.inspect.picture_options import FlowPictureOptions
from pipeline.inspect.statistics import sampled_rows
from pipeline.inspect.verify import locate_source
from pipeline.pictures.flow_layout import Panels, render
from pipeline.runner.files import write_bytes
from pipeline.shell.words import counted

#: Speed that is left to stand out beyond the full colour, as a percentile of the field.
_PERCENTILE = 99.0


@dataclass(frozen=True)
class Drawn:
    """A picture that was written.

    Attributes
    ----------
    facts : dict
        ``path``, ``row``, ``frame``, ``next_frame``, ``full_colour_px``, ``beyond_share``,
        ``frame_shown``.
    words : str
        The same in words.
    """

    facts: dict[str, Any]
    words: str


def check_request(paths: Sequence[str], image: Path) -> None:
    """Refuse what has no picture, before anything is done.

    Raises
    ------
    InputError
        Not one path, not a flow cache, or the picture is not to be a PNG.
    """
    if len(paths) != 1:
        raise InputError(f"--image draws one flow cache; found {len(paths)} paths")
    if image.suffix.lower() != ".png":
        raise InputError(f"--image {image}: expected a name that ends in .png")
    path = Path(paths[0])
    if path.is_dir():
        raise InputError(f"--image draws one flow cache, {path} is a folder; name a .h5 file in it")
    if path.exists() and file_kind(path, DatasetOptions()) != "cache":
        raise InputError(
            f"--image draws a flow cache, which {path} is not; `pipeline extract-flow` makes one"
        )
    header = read_header(path)
    if header.kind != "flow":
        raise InputError(
            f"{path}: holds {header.kind}, and only flow has a picture: the channels of fused maps "
            "mean nothing by themselves"
        )


def draw_flow(
    path: Path, image: Path, options: FlowPictureOptions, videos: Path | None = None
) -> Drawn:
    """Draw one pair of a flow cache.

    Parameters
    ----------
    path : Path
        The flow cache.
    image : Path
        PNG to write; replaced where it exists.
    options : FlowPictureOptions
    videos : Path, optional
        Where the video is, if it is no longer at its place.

    Raises
    ------
    InputError
        The cache cannot be read, holds nothing or not the pair asked for, or the picture cannot
        be written. A video that is gone or has changed is no error: flow alone is drawn.
    """
    with open_flow(path) as flow:
        row, chosen = choose_row(flow, options.frame)
        field = flow.read_px(row)
        first, second = int(flow.frame_index[row]), int(flow.next_index[row])
        seconds = float(flow.time[row])
        header = flow.header
    full, beyond, scale = full_colour(field, options.full_colour)
    picture, missing = source_frame(header, locate_source(header, videos), first)
    unit = "px/frame" if second - first == 1 else f"px in {second - first} frames"
    height, width = field.shape[1:]
    notes = [
        f"{path.name}: frames {first} → {second} at {seconds:.2f} s ({chosen})",
        f"full colour at {full:.3g} {unit} ({scale}); {100 * beyond:.1f} % of the pixels are "
        f"faster; flow in px of {width}×{height}",
    ]
    if missing:
        notes.append(f"without the video's frame: {missing}")
    panels = Panels(field, full, unit, picture, options.arrows, notes)
    with warnings.catch_warnings():
        # Scripts that matplotlib's font lacks are drawn as boxes; a picture is better than none.
        warnings.filterwarnings("ignore", message="Glyph")
        content = render(panels)
    write_bytes(image, content)
    facts = {
        "path": str(image),
        "row": row,
        "frame": first,
        "next_frame": second,
        "full_colour_px": full,
        "beyond_share": beyond,
        "frame_shown": picture is not None,
    }
    return Drawn(facts, "\n".join([str(image), *notes]))


def choose_row(flow: FlowCache, wanted: str) -> tuple[int, str]:
    """Choose the pair to draw, by its first frame's number or by how much moves.

    Returns
    -------
    int
        Row of the cache.
    str
        Why this one, in words.

    Raises
    ------
    InputError
        The cache is empty, or has no such pair.
    """
    if not len(flow):
        raise InputError(f"{flow.path}: holds no flow fields, so there is nothing to draw")
    if wanted.isdecimal():
        rows = np.flatnonzero(flow.frame_index == int(wanted))
        if len(rows):
            return int(rows[0]), "as asked"
        order = np.argsort(np.abs(flow.frame_index - int(wanted)), kind="stable")[:4]
        near = ", ".join(map(str, sorted({int(flow.frame_index[row]) for row in order})))
        raise InputError(
            f"{flow.path}: --frame {wanted} is the first of no pair in it; near it are {near}"
        )
    rows = sampled_rows(len(flow), everything=False)
    speeds = np.array([np.nanmean(np.hypot(*flow.read_px(int(row)))) for row in rows])
    moving = np.flatnonzero(speeds > 0)
    if not len(moving):
        return 0, "nothing moves in any pair"
    order = moving[np.argsort(speeds[moving], kind="stable")]
    place = order[-1] if wanted == "most" else order[(len(order) - 1) // 2]
    of = f"of {counted(len(rows), 'pair')}" + (
        "" if len(rows) == len(flow) else f", every {len(flow) / len(rows):.0f}th looked at"
    )
    return int(rows[place]), f"{wanted} motion {of}"


def full_colour(field: np.ndarray, asked: float | None) -> tuple[float, float, str]:
    """Choose the speed of full colour.

    Returns
    -------
    full : float
        In px.
    beyond : float
        Share of the pixels that are faster.
    words : str
        How it was chosen.
    """
    speed = np.hypot(*field.astype(np.float64))
    speed = speed[np.isfinite(speed)]
    if asked is not None:
        full, words = asked, "as asked"
    elif not speed.any():
        full, words = 1.0, "nothing moves"
    else:
        exact = float(np.percentile(speed, _PERCENTILE)) or float(speed.max())
        # Up to two digits, which the legend can show.
        digit = 10.0 ** (math.floor(math.log10(exact)) - 1)
        full, words = math.ceil(exact / digit - 1e-9) * digit, f"{_PERCENTILE:g}th percentile"
    return full, float((speed > full).mean()) if speed.size else 0.0, words


def source_frame(header: Header, place: Path, index: int) -> tuple[np.ndarray | None, str]:
    """Read a frame of the video that a cache was made from.

    Returns
    -------
    ndarray (H, W, 3) uint8 or None
        RGB; None where the video is gone or is another one now.
    str
        Why there is none; "" where there is one.
    """
    if not place.exists():
        return None, f"{place} is no longer there"
    try:
        if file_digest(place) != header.source_digest:
            return None, f"{place} has changed since"
        for _, frame in read_frames(place, [index]):
            return np.ascontiguousarray(frame[:, :, ::-1]), ""
    except VideoError as error:
        return None, str(error)
    return None, f"{place} has no frame {index}"
