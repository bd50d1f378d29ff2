"""`pipeline inspect --image`: one flow field as colours, next to the video's frame."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data.cache.flow import FlowCache, open_flow
from data.cache.folder import read_header
from data.cache.header import Header
from data.errors import InputError, VideoError
from data.judgements.options import DatasetOptions
from data.video.reading import file_digest, read_frames
from pipeline.inspect.cache import sampled_rows
from pipeline.inspect.kinds import file_kind
from pipeline.inspect.options import FlowPictureOptions
from pipeline.inspect.report import Report
from pipeline.inspect.verify import locate_source
from pipeline.pictures.flow import FULL_PERCENTILE, draw_flow, png
from pipeline.runner.files import write_bytes
from pipeline.shell.words import counted


def check_request(paths: Sequence[str], image: Path) -> None:
    """Refuse a request that cannot give a picture, before anything is done.

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


def add_picture(
    report: Report, path: Path, options: FlowPictureOptions, videos: Path | None
) -> None:
    """Draw one pair of a flow cache, and add the picture to the cache's report.

    If the video is gone or has changed, the flow is drawn without its frame. A cache with problems
    gets no picture.

    Parameters
    ----------
    report : Report
    path : Path
        The flow cache.
    options : FlowPictureOptions
        Its `image` is the PNG to write; replaced if it exists.
    videos : Path, optional
        Where the video is, if it was moved.

    Raises
    ------
    InputError
        The cache holds no fields or no such pair, or the picture cannot be written.
    """
    if report.problems or options.image is None:
        return
    with open_flow(path) as flow:
        row, reason = choose_row(flow, options.frame)
        field = flow.read_px(row)
        first, second = int(flow.frame_index[row]), int(flow.next_index[row])
        seconds = float(flow.time[row])
        header = flow.header
    full, beyond, scale = full_colour(field, options.full_colour)
    frame, missing = source_frame(header, locate_source(header, videos), first, seconds)
    unit = "px/frame" if second - first == 1 else f"px in {second - first} frames"
    height, width = field.shape[1:]
    notes = [
        f"{path.name}: frames {first} → {second} at {seconds:.2f} s ({reason})",
        f"full colour at {full:.3g} {unit} ({scale}); {100 * beyond:.1f} % of the pixels are "
        f"faster; flow in px of {width}×{height}",
    ]
    if missing:
        notes.append(f"without the video's frame: {missing}")
    write_bytes(options.image, png(draw_flow(field, full, unit=unit, frame=frame, notes=notes)))
    report.facts["image"] = {
        "path": str(options.image),
        "row": row,
        "frame": first,
        "next_frame": second,
        "full_colour_px": full,
        "beyond_share": beyond,
        "frame_shown": frame is not None,
    }
    report.add("image", "\n".join([str(options.image), *notes]))


def choose_row(flow: FlowCache, choice: str) -> tuple[int, str]:
    """Return the row of the pair to draw, and the reason in words.

    Parameters
    ----------
    flow : FlowCache
    choice : str
        Number of the pair's first frame, or "median" or "most" motion.

    Raises
    ------
    InputError
        The cache is empty, or has no such pair.
    """
    if not len(flow):
        raise InputError(f"{flow.path}: holds no flow fields, so there is nothing to draw")
    if choice.isdecimal():
        rows = np.flatnonzero(flow.frame_index == int(choice))
        if len(rows):
            return int(rows[0]), "as asked"
        order = np.argsort(np.abs(flow.frame_index - int(choice)), kind="stable")[:4]
        near = ", ".join(map(str, sorted({int(flow.frame_index[row]) for row in order})))
        raise InputError(
            f"{flow.path}: --frame {choice} is not the first frame of any pair; the nearest are "
            f"{near}"
        )
    rows = sampled_rows(len(flow))
    speeds = np.array([np.nanmean(np.hypot(*flow.read_px(int(row)))) for row in rows])
    moving = np.flatnonzero(speeds > 0)
    if not len(moving):
        return 0, "nothing moves in any pair"
    order = moving[np.argsort(speeds[moving], kind="stable")]
    place = order[-1] if choice == "most" else order[(len(order) - 1) // 2]
    part = "" if len(rows) == len(flow) else f", every {len(flow) / len(rows):.0f}th examined"
    return int(rows[place]), f"{choice} motion of {counted(len(rows), 'pair')}{part}"


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
        exact = float(np.percentile(speed, FULL_PERCENTILE)) or float(speed.max())
        # Rounded up to two digits, which the title can show.
        digit = 10.0 ** (math.floor(math.log10(exact)) - 1)
        full, words = math.ceil(exact / digit - 1e-9) * digit, f"{FULL_PERCENTILE:g}th percentile"
    return full, float((speed > full).mean()) if speed.size else 0.0, words


def source_frame(
    header: Header, place: Path, index: int, second: float
) -> tuple[np.ndarray | None, str]:
    """Read a frame, shown at a second, of the video that a cache was made from.

    Returns
    -------
    ndarray (H, W, 3) uint8 or None
        RGB; None if the video is gone or has changed.
    str
        Why there is none, or "".
    """
    if not place.exists():
        return None, f"{place} is no longer there"
    try:
        if file_digest(place) != header.source_digest:
            return None, f"{place} has changed since"
        for _, frame in read_frames(place, [index], [second]):
            return np.ascontiguousarray(frame[:, :, ::-1]), ""
    except VideoError as error:
        return None, str(error)
    return None, f"{place} has no frame {index}"
