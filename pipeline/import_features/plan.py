"""Before anything is written: which array of each file is taken, and whether files fit together."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from data.errors import InputError
from data.sources import Source
from pipeline.import_features.arrays import Array, ArrayFile, check_array, open_arrays
from pipeline.import_features.settings import ImportSettings
from pipeline.import_features.timing import FRAME_INDEX, TIME, read_timing
from pipeline.shell.console import log, progress

#: Names under which features are looked for first.
_NAMES = ("maps", "features")
_FLOATS = ("float16", "float32", "float64")
#: Most values of one feature; the largest maps of stage one have 2048×14×14, 0.4 million.
_MOST_VALUES = 64_000_000


@dataclass(frozen=True)
class Features:
    """What one file holds: T features of shape (C, H, W)."""

    array: Array

    @property
    def rows(self) -> int:
        """Number of features, T."""
        return self.array.shape[0]

    @property
    def values(self) -> int:
        """Number of values of all features."""
        return math.prod(self.array.shape)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (C, H, W) of one feature; (C, 1, 1) where the array is (T, C)."""
        channels, height, width = (*self.array.shape[1:], 1, 1)[:3]
        return channels, height, width


def name_videos(sources: Sequence[Source], settings: ImportSettings, output: Path) -> list[Source]:
    """Return the files under the names of their videos: without the arrays' own ending.

    Files below the output, and those without `--ending`, are left out.

    Raises
    ------
    InputError
        No file is left, or two files are of one video.
    """
    place = output.resolve()
    others = [each for each in sources if not each.path.resolve().is_relative_to(place)]
    ending = settings.ending
    files: dict[str, Source] = {}
    for source in others:
        name = source.key.removesuffix(Path(source.key).suffix)
        key = name.removesuffix(ending)
        if not name.endswith(ending) or not key or key.endswith("/"):
            continue
        if key in files:
            raise InputError(
                f"{files[key].path} and {source.path} are both video '{key}': leave one out with "
                "--exclude, or choose with --ending"
            )
        files[key] = replace(source, key=key)
    if not files:
        raise InputError(f"none of {len(sources)} files ends in --ending {ending}")
    if left_out := len(others) - len(files):
        log.info("%d files without the ending %s are left out", left_out, ending)
    return sorted(files.values(), key=lambda source: source.key)


def check_files(
    sources: Sequence[Source], settings: ImportSettings
) -> tuple[dict[str, Features], dict[Source, str]]:
    """Look at all files without reading features: return what they hold by key, and failures.

    Raises
    ------
    InputError
        No file can be used; gives the first reason.
    """
    contents: dict[str, Features] = {}
    failures: dict[Source, str] = {}
    for source in progress(sources, total=len(sources), desc="look", unit="file"):
        try:
            with open_arrays(source.path) as file:
                features = find_features(source.path, file, settings)
                read_timing(source.path, file, features.rows, settings)
            contents[source.key] = features
        except InputError as error:
            failures[source] = str(error)
    failures |= _unlike(sources, contents)
    if len(failures) == len(sources):
        of = f" (like all {len(sources)} files)" if len(sources) > 1 else ""
        raise InputError(f"{next(iter(failures.values()))}{of}")
    return contents, failures


def _unlike(sources: Sequence[Source], contents: Mapping[str, Features]) -> dict[Source, str]:
    """Return a failure for each file whose features differ in shape from those of most files."""
    if not contents:
        return {}
    shapes = Counter(features.shape for features in contents.values())
    shape, count = shapes.most_common(1)[0]
    return {
        source: f"{source.path}: holds features of {_cross(contents[source.key].shape)}, {count} "
        f"other files of {_cross(shape)}; is time its first axis, and the extractor the same?"
        for source in sources
        if source.key in contents and contents[source.key].shape != shape
    }


def _cross(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape))


def find_features(path: Path, file: ArrayFile, settings: ImportSettings) -> Features:
    """Return the array of a file that holds the features, checked but not read.

    Raises
    ------
    InputError
        There is none, there are several, or it is of a type or shape that cannot be used.
    """
    array = _choose(path, file.arrays, settings)
    check_array(path, file, array)
    name = f"{path}: {array.name}".rstrip(": ")
    if array.dtype.hasobject:
        raise InputError(
            f"{name}: holds Python objects (a pickle), which are never loaded; save an array of "
            "numbers, e.g. np.save(path, np.asarray(features, 'float32'))"
        )
    if array.dtype.newbyteorder("=").name not in _FLOATS:
        raise InputError(
            f"{name}: holds {array.dtype}, expected {', '.join(_FLOATS[:-1])} or {_FLOATS[-1]}; "
            "save features.astype('float32')"
        )
    if len(array.shape) not in (2, 4) or 0 in array.shape:
        shape = ", ".join(map(str, array.shape))
        raise InputError(f"{name}: has the shape ({shape}), expected (T, C) or (T, C, H, W)")
    features = Features(array)
    if array.row_bytes > _MOST_VALUES * array.dtype.itemsize:
        raise InputError(
            f"{name}: one feature is {_cross(features.shape)}, expected at most {_MOST_VALUES:,} "
            "values; is time the first axis?"
        )
    return features


def _choose(path: Path, arrays: Mapping[str, Array], settings: ImportSettings) -> Array:
    """Return the array that is named, or that can only be meant."""
    listed = ", ".join(map(str, arrays.values())) or "none"
    if "" in arrays:  # An .npy file's only one.
        return arrays[""]
    if settings.array is not None:
        if settings.array not in arrays:
            raise InputError(f"{path}: no array {settings.array}; it holds {listed}")
        return arrays[settings.array]
    for name in _NAMES:
        if name in arrays:
            return arrays[name]
    candidates = [
        array
        for name, array in arrays.items()
        if name not in (settings.times, TIME, FRAME_INDEX) and len(array.shape) in (2, 4)
    ]
    if len(candidates) == 1:
        return candidates[0]
    number = "several arrays" if candidates else "no array"
    raise InputError(
        f"{path}: {number} of two or four axes; name the features with --array, out of {listed}"
    )
