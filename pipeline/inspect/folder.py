"""What is in a folder: videos, caches, runs, evaluations and judgements, counted and compared."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data.errors import InputError
from data.files import is_temporary
from data.folders import folders_below
from data.judgements.comparisons import read_pairs
from data.judgements.pairs import (
    check_pairs,
    is_score_table,
    pairs_from_scores,
    read_scores,
)
from data.sources import find_sources
from pipeline.inspect.report import Report, short
from pipeline.inspect.run import is_evaluation, is_run
from pipeline.shell.words import counted, format_bytes, format_duration, printable, value_text

_EXAMPLES = 3


@dataclass
class Contents:
    """Paths below a folder, by what they are.

    Attributes
    ----------
    videos, caches, runs, evaluations, weights, tables, temporaries
        Sorted; `weights` are files of weights outside runs, `tables` CSV files outside runs and
        evaluations.
    """

    videos: list[Path] = field(default_factory=list)
    caches: list[Path] = field(default_factory=list)
    runs: list[Path] = field(default_factory=list)
    evaluations: list[Path] = field(default_factory=list)
    weights: list[Path] = field(default_factory=list)
    tables: list[Path] = field(default_factory=list)
    temporaries: list[Path] = field(default_factory=list)


def survey(folder: Path, exclude: Sequence[str] = ()) -> Contents:
    """Sort the paths below a folder by what they are, without the videos to `exclude`."""
    contents = Contents()
    for here, folders, names in folders_below(folder):
        files = [here / name for name in sorted(names)]
        contents.temporaries += [file for file in files if is_temporary(file.name)]
        if here != folder and is_run(here):
            contents.runs.append(here)
        elif here != folder and is_evaluation(here):
            contents.evaluations.append(here)
            folders.clear()
        else:
            contents.caches += [file for file in files if file.suffix == ".h5"]
            contents.weights += [file for file in files if file.suffix == ".safetensors"]
            contents.tables += [file for file in files if file.suffix.lower() == ".csv"]
    try:
        contents.videos = [source.path for source in find_sources([folder], exclude)]
    except InputError:
        contents.videos = []
    return contents


def summarise(folder: Path, shown: str, contents: Contents, files: Sequence[Report]) -> Report:
    """Summarise the reports on a folder's files.

    Parameters
    ----------
    folder, shown
        The folder, and its name in the report.
    contents : Contents
        As `survey` returns them.
    files : sequence of Report
        Of its videos, caches, runs, evaluations and weights; their paths are below the folder.
    """
    report = Report(shown, "folder", files=list(files))
    _add_videos(report, [*_of_kind(files, "video"), *_of_kind(files, "folder of frames")])
    for kind, unit in (("flow cache", "field"), ("feature cache", "fused map")):
        caches = _of_kind(files, kind)
        if caches:
            _add_caches(report, caches, kind, unit)
    if unchecked := _of_kind(files, "unusable cache"):
        report.add("", f"not read, and so not checked: {counted(len(unchecked), 'cache')}")
    for kind in ("run", "evaluation", "weights"):
        for each in _of_kind(files, kind):
            if not each.problems:
                report.add(kind, f"{each.path}: {each.brief}")
    tables = _add_tables(report, folder, contents.tables)
    _add_temporaries(report, contents.temporaries)
    _count_faults(report, files)
    if not (files or tables or contents.temporaries):
        report.problems.append(
            "holds no videos, caches, runs, evaluations or judgements of a known form"
        )
    return report


def _of_kind(files: Iterable[Report], kind: str) -> list[Report]:
    return [file for file in files if file.kind.startswith(kind)]


def _add_videos(report: Report, videos: Sequence[Report]) -> None:
    if not videos:
        return
    size = sum(video.facts["bytes"] for video in videos)
    decoded = all("frames" in video.facts for video in videos)
    counts = [video.facts.get("frames", video.facts["claimed_frames"]) for video in videos]
    known = [count for count in counts if count is not None]
    sizes = sorted({(video.facts["width"], video.facts["height"]) for video in videos})
    shown = ", ".join(f"{width}×{height}" for width, height in sizes[:_EXAMPLES])
    more = f" and {len(sizes) - _EXAMPLES} more sizes" if len(sizes) > _EXAMPLES else ""
    report.facts["videos"] = {
        "count": len(videos),
        "bytes": size,
        "frames_decoded" if decoded else "frames_claimed": sum(known),
        "sizes": [list(each) for each in sizes],
    }
    duration = ""
    if decoded:
        duration = f", {format_duration(sum(v.facts['duration_s'] for v in videos))} in all"
    report.add(
        "videos",
        f"{counted(len(videos), 'video')}{_where(videos)}, {format_bytes(size)}\n"
        f"{_range(known)} frames{duration}, {shown}{more} px"
        + ("" if decoded else " (as the headers claim; --each decodes them)"),
    )


def _add_caches(report: Report, caches: Sequence[Report], kind: str, unit: str) -> None:
    size = sum(cache.facts["bytes"] for cache in caches)
    rows = sum(cache.facts["shape"][0] for cache in caches)
    shapes = sorted({tuple(cache.facts["shape"][1:]) for cache in caches})
    shown = ", ".join("×".join(map(str, shape)) for shape in shapes[:_EXAMPLES])
    more = f" and {len(shapes) - _EXAMPLES} more shapes" if len(shapes) > _EXAMPLES else ""
    facts: dict[str, Any] = {
        "count": len(caches),
        "bytes": size,
        "rows": rows,
        "shapes": [list(shape) for shape in shapes],
    }
    report.facts[kind.replace(" ", "_") + "s"] = facts
    report.add(
        "flow" if kind == "flow cache" else "features",
        f"{counted(len(caches), kind)}{_where(caches)}, complete, {format_bytes(size)}\n"
        f"{counted(rows, unit)} of {shown}{more}",
    )
    if kind == "flow cache":
        clipped = max(cache.facts["clipped_share"] for cache in caches)
        report.add("", f"at most {100 * clipped:.2g} % of a cache's values beyond the bound")
    _add_options(report, caches, kind, facts)
    checked = [cache.facts["verified"] for cache in caches if "verified" in cache.facts]
    if checked:
        same = sum(each["source"] is True for each in checked)
        good = sum(each["content"] for each in checked)
        report.add(
            "",
            f"verified: {good} of {len(caches)} hold what was written, "
            f"{same} of {len(caches)} source videos are present and unchanged",
        )
    linked = [cache.facts.get("upstream_unchanged") for cache in caches]
    if kind == "feature cache" and any(each is not None for each in linked):
        report.add("", f"{linked.count(True)} of {len(caches)} made from the flow that is present")


def _add_options(
    report: Report, caches: Sequence[Report], kind: str, facts: dict[str, Any]
) -> None:
    """Add the options that all caches share, and a line for each group of the others."""
    flat = [dict(_flat(cache.facts)) for cache in caches]
    common = set(flat[0].items()).intersection(*(each.items() for each in flat))
    groups: dict[tuple[tuple[str, str], ...], list[str]] = defaultdict(list)
    for cache, options in zip(caches, flat, strict=True):
        groups[tuple(each for each in options.items() if each not in common)].append(cache.path)
    facts["common"] = {name: value for name, value in flat[0].items() if (name, value) in common}
    facts["groups"] = [
        {**dict(group), "count": len(paths), "example": paths[0]} for group, paths in groups.items()
    ]
    report.add("", "\n".join(_option_lines(facts["common"])))
    if len(groups) == 1:
        return
    for group, paths in sorted(groups.items(), key=lambda item: -len(item[1])):
        differing = "; ".join(_option_lines(dict(group)))
        report.add("", f"{counted(len(paths), kind)}, e.g. {printable(paths[0])}: {differing}")
    names = dict.fromkeys(name for group in groups for name, _ in group)
    mixed = [name.rpartition(".")[2] for name in names if not name.startswith("versions.")]
    if mixed:
        ways = f"{len(groups)} ways ({', '.join(mixed).replace('_', ' ')})"
        report.warnings.append(
            f"{counted(len(caches), kind)} made in {ways}: later stages refuse such a mixture"
        )


def _flat(facts: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield dotted names and texts of a cache's options, weights and versions."""
    for name, value in facts.items():
        if not prefix and name not in ("parameters", "weights", "versions"):
            continue
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", short(value) if prefix == "weights." else value_text(value)


def _option_lines(options: Mapping[str, str]) -> list[str]:
    """Return options by dotted name as a line for each group: `flow: bound 20, dtype uint8`."""
    lines: dict[str, list[str]] = defaultdict(list)
    for name, value in options.items():
        group, _, last = name.removeprefix("parameters.").rpartition(".")
        lines[group].append(f"{last.replace('_', ' ')} {value}")
    return [f"{group}: {', '.join(parts)}".removeprefix(": ") for group, parts in lines.items()]


def _add_tables(report: Report, folder: Path, tables: Sequence[Path]) -> int:
    """Add the tables that hold judgements, and return their number."""
    count = 0
    for path in tables:
        try:
            scores = read_scores(path) if is_score_table(path) else None
            pairs = read_pairs(path) if scores is None else pairs_from_scores(scores)
        except InputError:
            continue  # Another table: a list of videos, boxes, metrics.
        name = path.relative_to(folder).as_posix()
        if scores is not None:
            text = f"scores of {counted(len(scores), 'video')}"
        else:
            checked = check_pairs(pairs)
            text = (
                f"{counted(checked.distinct, 'pair')} of {counted(checked.videos, 'video')}, "
                f"attainable {checked.attainable_text}"
            )
        report.facts.setdefault("judgements", {})[name] = text
        report.add("judgements", f"{name}: {text}")
        count += 1
    return count


def _add_temporaries(report: Report, temporaries: Sequence[Path]) -> None:
    """Warn of caches that are being written, or were left by a process that was killed."""
    sizes, ages = [], []
    for path in temporaries:
        try:
            state = path.stat()
        except FileNotFoundError:  # Its writer has finished in the meantime.
            continue
        sizes.append(state.st_size)
        ages.append(max(time.time() - state.st_mtime, 0.0))
    if not sizes:
        return
    report.facts["unfinished"] = {"count": len(sizes), "bytes": sum(sizes)}
    report.warnings.append(
        f"{counted(len(sizes), 'unfinished file')} ({format_bytes(sum(sizes))}, last written "
        f"{format_duration(min(ages))} ago): being written now, or left by a process that was "
        "killed; the next run of its command deletes them"
    )


def _count_faults(report: Report, files: Sequence[Report]) -> None:
    """Count files with warnings and problems, with examples of the warnings."""
    odd = [file for file in files if file.warnings]
    if odd:
        shown = "; ".join(f"{file.path}: {file.warnings[0]}" for file in odd[:_EXAMPLES])
        report.warnings.append(f"{counted(len(odd), 'file')} with warnings, e.g. {shown}")
    report.facts["files_with_warnings"] = len(odd)
    report.facts["files_with_problems"] = sum(bool(file.all_problems) for file in files)


def _where(files: Sequence[Report]) -> str:
    """Return in which folder the files lie, if it is not the folder itself."""
    parents = {str(Path(file.path).parent) for file in files}
    common = os.path.commonpath(parents)
    if common in ("", "."):
        return "" if len(parents) == 1 else f" in {len(parents)} folders"
    return f" in {common}/" + ("" if len(parents) == 1 else f" ({len(parents)} folders)")


def _range(values: Sequence[int]) -> str:
    if not values:
        return "an unknown number of"
    low, high = min(values), max(values)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
