"""How arrays are read, and what caches record of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from data.cache.header import IMPORTED
from data.errors import InputError
from pipeline.shell.flags import option

#: Frames a second that indices count in where the video's own rate is not known.
MILLISECONDS = 1000.0


@dataclass(frozen=True, kw_only=True)
class ImportSettings:
    """Which array of a file is taken, when its features were, and what made them."""

    array: str | None = option(
        "Array of the features in .npz and HDF5 files; by default `maps`, `features`, or the only "
        "one of two or four axes.",
        default=None,
        metavar="NAME",
    )
    rate: float | None = option(
        "Features a second, evenly spread over the video.", default=None, min=1e-3, max=1e5
    )
    times: str | None = option(
        "Array of each feature's time stamp in .npz and HDF5 files; by default `time`.",
        default=None,
        metavar="NAME",
    )
    time_unit: Literal["s", "ms"] = option("Unit of the time stamps.", default="s")
    fps: float | None = option(
        "Frames a second of the videos: only where judgements or --snippet-stride count frames. "
        "Without it, frames are milliseconds, or the file's own `frame_index`.",
        default=None,
        min=1e-3,
        max=1e6,
    )
    scale: float = option(
        "Multiply all values by this, for values that float16 cannot hold.",
        default=1.0,
        min=1e-12,
        max=1e12,
    )
    extractor: str = option(
        "What made the features, e.g. 'I3D, Kinetics-400': features of another one are then "
        "refused by training and score.",
        default="",
        metavar="TEXT",
    )
    ending: str = option(
        "Take only files whose names end in this, and leave it out of the video's name, e.g. _rgb.",
        default="",
        metavar="TEXT",
    )

    def __post_init__(self) -> None:
        """Refuse two sources of time."""
        if self.rate is not None and self.times is not None:
            raise ValueError("--rate and --times exclude each other: give one of them")

    @property
    def frames_a_second(self) -> float:
        """Frames a second of frame indices that are made from times."""
        return self.fps or MILLISECONDS

    @property
    def parameters(self) -> dict[str, object]:
        """Parameters recorded in a cache: those that its arrays depend on."""
        return {
            IMPORTED: {
                "extractor": self.extractor,
                "array": self.array,
                "rate": self.rate,
                "times": self.times,
                "time_unit": self.time_unit,
                "fps": self.fps,
                "scale": self.scale,
            }
        }


@dataclass(frozen=True)
class ImportResult:
    """What became of one file."""

    path: Path  # Its cache.
    rows: int  # Features.
    computed: bool  # False when a valid cache already existed.
    warnings: tuple[str, ...]  # What was odd about the file.


def check_rate(rate: float | None, suffix: str) -> None:
    """Refuse a file that cannot hold time stamps where no rate is given.

    Raises
    ------
    InputError
    """
    if rate is None and suffix == ".npy":
        raise InputError("an .npy file holds no time stamps: give --rate, the features a second")
