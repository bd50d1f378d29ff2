"""What is in a flow or feature cache, whether it is complete, and how it was made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from data.cache.features import FeatureCache, open_features
from data.cache.flow import FlowCache, dequantise, open_flow
from data.cache.folder import content_digest, read_header
from data.cache.header import Header
from data.cache.schema import DAMAGE
from data.errors import CacheError, VideoError
from pipeline.inspect.report import Report, failure, short
from pipeline.inspect.verify import (
    Upstream,
    compare_upstream,
    locate_source,
    source_state,
    verify_cache,
)
from pipeline.shell.words import counted, format_bytes, options_text, printable

#: A larger share of clipped flow values gives a warning, as in extract-flow.
_CLIPPED_NOTICE = 0.01
#: Number of fields or snippets, spread evenly, that are read if not all are.
_SAMPLE = 200


def inspect_cache(
    path: Path,
    shown: str,
    *,
    values: bool = True,
    verify: bool = False,
    upstream: Upstream | None = None,
    videos: Path | None = None,
) -> Report:
    """Report what is in one cache.

    Parameters
    ----------
    path : Path
        An HDF5 file; for a damaged or foreign one the report has a problem.
    shown : str
        The name in the report.
    values : bool
        Read the arrays too, for ranges and means; otherwise the header alone.
    verify : bool
        Read everything again and compare digests, also those of the source video.
    upstream : Upstream, optional
        Known flow caches, from which features may have been made.
    videos : Path, optional
        Where moved source videos are.
    """
    try:
        header = read_header(path)
        if header.kind == "flow":
            with open_flow(path) as flow:
                report = _flow_report(flow, shown, values, verify)
        else:
            with open_features(path) as features:
                report = _feature_report(features, shown, values, verify)
        source = locate_source(header, videos)
        _add_origin(report, path, header, source)
        if header.kind == "features":
            compare_upstream(report, header, upstream or Upstream())
        if verify:
            verify_cache(report, path, header, source)
    except (CacheError, VideoError) as error:
        return failure(shown, path, "cache", error)
    except DAMAGE as error:
        reason = " ".join(str(error).split())
        return failure(shown, path, "cache", CacheError(f"{path}: damaged ({reason})"))
    return report


def _flow_report(flow: FlowCache, shown: str, values: bool, verify: bool) -> Report:
    count, _, height, width = flow.shape
    steps = np.unique(flow.next_index - flow.frame_index).tolist()
    report = Report(shown, "flow cache", state="complete")
    report.facts = {
        "shape": list(flow.shape),
        "dtype": str(flow.dtype),
        "scale": flow.scale,
        "offset": flow.offset,
        "clipped_share": flow.clipped,
        "pair_distances_frames": steps,
    }
    report.brief = f"{counted(count, 'field')} of {width}×{height} px, {flow.dtype}"
    report.add("holds", f"{report.brief}; px = (value − {flow.offset:g}) · {flow.scale:.6g}")
    if count:
        ends = [(int(flow.frame_index[row]), int(flow.next_index[row])) for row in (0, -1)]
        report.facts["first_pair"], report.facts["last_pair"] = map(list, ends)
        report.add(
            "pairs",
            f"frames {ends[0][0]} → {ends[0][1]} to {ends[-1][0]} → {ends[-1][1]} of "
            f"{len(flow.frame_time):,}, {'/'.join(map(str, steps))} apart; "
            f"{flow.time[0]:.2f} to {flow.time[-1]:.2f} s",
        )
        if values:
            _add_flow_values(report, flow, verify)
    _add_clipping(report, flow)
    return report


def _add_flow_values(report: Report, flow: FlowCache, everything: bool) -> None:
    values = report.facts["values"] = flow_statistics(flow, everything)
    report.add(
        "flow",
        f"u {values['u_px'][0]:+.2f} to {values['u_px'][1]:+.2f} px, "
        f"v {values['v_px'][0]:+.2f} to {values['v_px'][1]:+.2f} px; mean speed "
        f"{values['mean_speed_px']:.2f}, fastest {values['fastest_px']:.2f} px"
        + _part_read(values["fields_read"], len(flow), "fields"),
    )
    if values["still_fields"]:
        report.add("still", f"{counted(values['still_fields'], 'field')} zero everywhere")
    if values["not_finite"]:
        report.problems.append(f"{counted(values['not_finite'], 'value')} of the flow not finite")


def _add_clipping(report: Report, flow: FlowCache) -> None:
    stored = flow.header.parameters.get("flow")
    if not isinstance(stored, dict) or not isinstance(stored.get("bound"), (int, float)):
        raise ValueError("it does not say which bound it was made with")
    bound = f"{stored['bound']:g}"
    clips = flow.dtype == np.uint8
    beyond = "nothing" if flow.clipped == 0 else f"{100 * flow.clipped:.2g} % of the values"
    kept = " was clipped" if clips else " (and kept: float16 is not clipped)"
    report.add("clipped", f"{beyond} beyond ±{bound} px{kept}")
    if flow.clipped > _CLIPPED_NOTICE and clips:
        report.warnings.append(
            f"{100 * flow.clipped:.1f} % of the flow lies beyond the bound of {bound} px; "
            "a larger --bound keeps it"
        )


def _feature_report(features: FeatureCache, shown: str, values: bool, verify: bool) -> Report:
    count, channels, height, width = features.shape
    report = Report(shown, "feature cache", state="complete")
    report.facts = {
        "shape": list(features.shape),
        "dtype": "float16",
        "stream_shape": list(features.stream_shape) if features.stream_shape else None,
    }
    report.brief = f"{counted(count, 'fused map')} of {channels}×{height}×{width}"
    if features.stream_shape:
        kept = "×".join(map(str, features.stream_shape[1:]))
        report.brief += f", with both stream maps of {kept}"
    report.add("holds", f"{report.brief}, float16")
    if not count:
        return report
    first, last = int(features.frame_index[0]), int(features.frame_index[-1])
    report.facts |= {"first_frame": first, "last_frame": last}
    frames = f"at frames {first} to {last} of {features.header.decoded_frames:,}; "
    report.add(
        "snippets",
        frames * (not features.header.imported)
        + f"{features.time[0]:.2f} to {features.time[-1]:.2f} s",
    )
    if values:
        _add_map_values(report, features, verify)
    return report


def _add_map_values(report: Report, features: FeatureCache, everything: bool) -> None:
    values = report.facts["values"] = map_statistics(features, everything)
    report.add(
        "values",
        f"{values['least']:.3g} to {values['greatest']:.3g}, mean {values['mean']:.3g}, deviation "
        f"{values['deviation']:.3g}, {100 * values['zeros']:.1f} % zeros"
        + _part_read(values["snippets_read"], len(features), "snippets"),
    )
    if values["not_finite"]:
        report.problems.append(f"{counted(values['not_finite'], 'value')} of the maps not finite")


def _part_read(read: int, count: int, rows: str) -> str:
    return "" if read == count else f" (in {read} of {count:,} {rows}; --verify reads all)"


def _add_origin(report: Report, path: Path, header: Header, source: Path) -> None:
    """Add what both kinds record: source, options, weights, versions and digests."""
    size = path.stat().st_size
    content = content_digest(path)
    claimed = header.claimed_frames if header.claimed_frames >= 0 else None
    report.facts |= {
        "complete": True,
        "bytes": size,
        "source": header.source,
        "source_bytes": header.source_size,
        "source_sha256": header.source_digest,
        "decoded_frames": header.decoded_frames,
        "claimed_frames": claimed,
        "rotation": header.rotation,
        "parameters": header.parameters,
        "weights": header.weights,
        "upstream": header.upstream or None,
        "versions": header.versions,
        "fingerprint": header.fingerprint,
        "content_sha256": content,
    }
    report.warnings += header.warnings
    report.brief += f", {format_bytes(size)}"
    state = source_state(header, source)
    if state.startswith("CHANGED"):
        report.warnings.append(f"stale: the source video has {state.replace('CHANGED', 'changed')}")
    turned = f", turned by {header.rotation}°" if header.rotation else ""
    frames = (
        ""
        if header.imported
        else f", {header.decoded_frames:,} frames decoded, "
        f"{'no number' if claimed is None else claimed} claimed{turned}"
    )
    report.add(
        "source",
        f"{printable(header.source)}\n{printable(state)}; {format_bytes(header.source_size)}"
        f"{frames}",
    )
    report.add("options", options_text(header.parameters))
    if header.weights:
        report.add("weights", ", ".join(f"{k} {short(v)}" for k, v in header.weights.items()))
    report.add("versions", ", ".join(f"{k} {v}" for k, v in header.versions.items()))
    report.add(
        "file",
        f"{format_bytes(size)}, content {short(content)}, fingerprint {short(header.fingerprint)}",
    )


def sampled_rows(count: int, everything: bool = False) -> np.ndarray:
    """Return the rows to read: all, or some spread evenly."""
    if everything or count <= _SAMPLE:
        return np.arange(count)
    return np.unique(np.linspace(0, count - 1, _SAMPLE).round().astype(np.int64))


def flow_statistics(flow: FlowCache, everything: bool) -> dict[str, Any]:
    """Describe the fields of a flow cache, read one at a time.

    Speeds and displacements are in px; ``still_fields`` are zero everywhere, ``not_finite`` counts
    values that are not finite.
    """
    rows = sampled_rows(len(flow), everything)
    low, high = np.full(2, np.inf), np.full(2, -np.inf)
    total = fastest = 0.0
    still = not_finite = 0
    for row in rows.tolist():
        field = dequantise(flow.read(row, check=False), flow.scale, flow.offset)
        bad = ~np.isfinite(field)
        not_finite += int(bad.sum())
        field[bad] = 0
        low = np.minimum(low, field.min(axis=(1, 2)))
        high = np.maximum(high, field.max(axis=(1, 2)))
        speed = np.hypot(*field)
        total += float(speed.mean(dtype=np.float64))
        fastest = max(fastest, float(speed.max()))
        still += not field.any()
    return {
        "fields_read": len(rows),
        "u_px": [float(low[0]), float(high[0])],
        "v_px": [float(low[1]), float(high[1])],
        "mean_speed_px": total / max(len(rows), 1),
        "fastest_px": fastest,
        "still_fields": still,
        "not_finite": not_finite,
    }


def map_statistics(features: FeatureCache, everything: bool) -> dict[str, Any]:
    """Describe the fused maps of a feature cache, read one at a time; ``zeros`` is a share."""
    rows = sampled_rows(len(features), everything)
    low, high, total, squares = np.inf, -np.inf, 0.0, 0.0
    zeros = not_finite = size = 0
    for row in rows.tolist():
        values = features.read(row, check=False).astype(np.float64)
        bad = ~np.isfinite(values)
        not_finite += int(bad.sum())
        values[bad] = 0
        low, high = min(low, float(values.min())), max(high, float(values.max()))
        total += float(values.sum())
        squares += float(np.square(values).sum())
        zeros += int(np.count_nonzero(values == 0)) - int(bad.sum())
        size += values.size
    mean = total / max(size, 1)
    return {
        "snippets_read": len(rows),
        "least": low,
        "greatest": high,
        "mean": mean,
        "deviation": float(np.sqrt(max(squares / max(size, 1) - mean**2, 0))),
        "zeros": zeros / max(size, 1),
        "not_finite": not_finite,
    }
