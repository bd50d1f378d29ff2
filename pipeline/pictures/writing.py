"""Files of moving overlays: mp4 and webm by OpenCV, gif by Pillow, each whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from data.errors import InputError
from data.files import temporary_name
from pipeline.pictures.attention import OverlayOptions
from pipeline.pictures.legend import colour_bar
from pipeline.runner.files import check_room

CODECS = {"mp4": "mp4v", "webm": "VP80"}
#: A picture (BGR, even sides), and how often it is shown.
Shown = tuple[np.ndarray, int]


def write_pictures(
    path: Path, pictures: Iterator[Shown], fps: float, kind: str, overlay: OverlayOptions
) -> None:
    """Write pictures as a video.

    Parameters
    ----------
    path : Path
    pictures : iterator of Shown
        Read one at a time; only a gif's are kept in memory.
    fps : float
        Pictures a second; a gif shows each for whole hundredths of a second.
    kind : {"mp4", "webm", "gif"}
    overlay : OverlayOptions
        Colours that a gif's palettes must hold.

    Raises
    ------
    InputError
        The file cannot be written, or the disk is full.
    """
    check_room(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _whole(path) as temporary:
        if kind == "gif":
            _write_gif(temporary, pictures, fps, overlay)
        else:
            _write_video(temporary, pictures, fps, CODECS[kind])
        check_room(path)  # OpenCV is silent about a video that found no more room.


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """Give a temporary name with the same ending; rename at the end, or leave nothing."""
    temporary = path.parent / (temporary_name() + path.suffix)
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        temporary.unlink(missing_ok=True)


def _write_video(path: Path, pictures: Iterator[Shown], fps: float, codec: str) -> None:
    writer: cv2.VideoWriter | None = None
    try:
        for picture, repeats in pictures:
            if writer is None:
                size = (picture.shape[1], picture.shape[0])
                code = cv2.VideoWriter.fourcc(*codec)
                with _silenced():
                    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, code, fps, size)
                if not writer.isOpened():
                    raise InputError(
                        f"this OpenCV cannot write {path.suffix} ({codec}) to {path.parent}; try "
                        "another --format, or --format none"
                    )
            for _ in range(repeats):
                writer.write(picture)
    finally:
        if writer is not None:
            writer.release()


@contextmanager
def _silenced() -> Iterator[None]:
    """Keep OpenCV from printing that a webm's codec has another tag than it was given."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _write_gif(
    path: Path,
    pictures: Iterator[Shown],
    fps: float,
    overlay: OverlayOptions,
) -> None:
    """Write a gif; a frame that stays is shown longer, not again."""
    images, shown = [], []
    for picture, repeats in pictures:
        images.append(_in_256_colours(picture[:, :, ::-1], overlay))
        shown.append(round(1000 / fps) * repeats)
    images[0].save(path, save_all=True, append_images=images[1:], duration=shown, loop=0)


def _in_256_colours(picture: np.ndarray, overlay: OverlayOptions) -> Any:
    """Return an RGB picture with a palette of its own, which has room for the legend's colours.

    Chosen for the picture alone, it would lack those that the frame has not reached.
    """
    height, width = picture.shape[:2]
    weighted = np.vstack([picture, colour_bar(overlay, width, height // 8)])
    palette = Image.fromarray(weighted).quantize(256)
    plain = Image.fromarray(np.ascontiguousarray(picture))
    return plain.quantize(palette=palette, dither=Image.Dither.NONE)
