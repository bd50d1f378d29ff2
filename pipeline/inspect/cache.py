"""What is in a flow or feature cache, whether it is complete, and how it was made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from data.cache.features import FeatureCache, open_features
from data.cache.flow import FlowCache, open_flow
from data.cache.folder import content_digest, read_header
from data.cache.header import Header
from data.errors import CacheError
from pipeline.inspect.report import Report, failure, short
from pipeline.inspect.statistics import flow_statistics, map_statistics
from pipeline.inspect.verify import (
    DAMAGE,
    Upstream,
    compare_upstream,
    locate_source,
    verify_cache,
)
from pipeline.shell.words import counted, format_bytes, options_text

#: Share of clipped flow values from which a warning is worth it; extract-flow warns at it too.
_CLIPPED_NOTICE = 0.01


def inspect_cache(
    path: Path,
    shown: str,
    *,
    values: bool = True,
    verify: bool = False,
    upstream: Upstream | None = None,
    videos: Path | None = None,
) -> Report:
    """Say what is in one cache.

    Parameters
    ----------
    path : Path
        An HDF5 file; damaged and foreign ones get a report with a problem.
    shown : str
        What to call it.
    values : bool
        Read the arrays too, for ranges and means; otherwise the header alone.
    verify : bool
        Read everything again and compare digests, those of the source video too.
    upstream : Upstream, optional
        The flow caches that there are, to find those that features were made from.
    videos : Path, optional
        Where source videos are that are no longer at their place.
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
        return report
    except CacheError as error:
        report = failure(path, "unusable cache", error)
    except DAMAGE as error:
        told = " ".join(str(error).split())
        report = failure(path, "unusable cache", CacheError(f"{path}: damaged ({told})"))
    report.path = shown
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
        apart = "/".join(map(str, steps))
        report.facts["first_pair"], report.facts["last_pair"] = map(list, ends)
        report.add(
            "pairs",
            f"frames {ends[0][0]} → {ends[0][1]} to {ends[-1][0]} → {ends[-1][1]} of "
            f"{len(flow.frame_time):,}, {apart} apart; "
            f"{flow.time[0]:.2f} to {flow.time[-1]:.2f} s",
        )
    if values and count:
        _add_flow_values(report, flow_statistics(flow, everything=verify), count)
    bound = _bound(flow.header)
    beyond = "nothing" if flow.clipped == 0 else f"{100 * flow.clipped:.2g} % of the values"
    stored = flow.dtype == np.uint8
    kept = " was clipped" if stored else " (and kept: float16 is not clipped)"
    report.add("clipped", f"{beyond} beyond ±{bound} px{kept}")
    if flow.clipped > _CLIPPED_NOTICE and stored:
        report.warnings.append(
            f"{100 * flow.clipped:.1f} % of the flow lies beyond the bound of {bound} px; "
            "a larger --bound keeps it"
        )
    return report


def _add_flow_values(report: Report, found: dict[str, Any], count: int) -> None:
    report.facts["values"] = found
    read = found["fields_read"]
    part = "" if read == count else f" (in {read} of {count:,} fields; --verify reads all)"
    report.add(
        "flow",
        f"u {found['u_px'][0]:+.2f} to {found['u_px'][1]:+.2f} px, "
        f"v {found['v_px'][0]:+.2f} to {found['v_px'][1]:+.2f} px; mean speed "
        f"{found['mean_speed_px']:.2f}, fastest {found['fastest_px']:.2f} px{part}",
    )
    if found["still_fields"]:
        report.add("still", f"{counted(found['still_fields'], 'field')} zero everywhere")
    if found["not_finite"]:
        report.problems.append(f"{counted(found['not_finite'], 'value')} of the flow no numbers")


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
    if count:
        report.facts["first_frame"] = int(features.frame_index[0])
        report.facts["last_frame"] = int(features.frame_index[-1])
        report.add(
            "snippets",
            f"at frames {features.frame_index[0]} to {features.frame_index[-1]} of "
            f"{features.header.decoded_frames:,}; "
            f"{features.time[0]:.2f} to {features.time[-1]:.2f} s",
        )
    if values and count:
        found = map_statistics(features, everything=verify)
        report.facts["values"] = found
        read = found["snippets_read"]
        part = "" if read == count else f" (in {read} of {count:,} snippets; --verify reads all)"
        report.add(
            "values",
            f"{found['least']:.3g} to {found['greatest']:.3g}, mean {found['mean']:.3g}, deviation "
            f"{found['deviation']:.3g}, {100 * found['zeros']:.1f} % zeros{part}",
        )
        if found["not_finite"]:
            report.problems.append(
                f"{counted(found['not_finite'], 'value')} of the maps no numbers"
            )
    return report


def _add_origin(report: Report, path: Path, header: Header, source: Path) -> None:
    """Add what both kinds record: source, options, weights, versions and digests."""
    size = path.stat().st_size
    content = content_digest(path)
    report.facts |= {
        "complete": True,
        "bytes": size,
        "source": header.source,
        "source_bytes": header.source_size,
        "source_sha256": header.source_digest,
        "decoded_frames": header.decoded_frames,
        "claimed_frames": header.claimed_frames if header.claimed_frames >= 0 else None,
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
    claims = header.claimed_frames if header.claimed_frames >= 0 else "no number"
    turned = f", turned by {header.rotation}°" if header.rotation else ""
    report.add(
        "source",
        f"{header.source}\n{state}; {format_bytes(header.source_size)}, "
        f"{header.decoded_frames:,} frames decoded, {claims} claimed{turned}",
    )
    report.add("options", options_text(header.parameters))
    if header.weights:
        report.add("weights", ", ".join(f"{k} {short(v)}" for k, v in header.weights.items()))
    report.add("versions", ", ".join(f"{k} {v}" for k, v in header.versions.items()))
    report.add(
        "file",
        f"{format_bytes(size)}, content {short(content)}, fingerprint {short(header.fingerprint)}",
    )


def source_state(header: Header, place: Path) -> str:
    """Say how a cache's source video is now, as far as can be seen without reading it."""
    still = "still there" if place == Path(header.source) else f"now {place}"
    try:
        if place.is_dir():
            return still
        size = place.stat().st_size
    except OSError:
        return "no longer there"
    if size != header.source_size:
        return f"CHANGED since: now {format_bytes(size)}"
    return f"{still}, of the same size"


def _bound(header: Header) -> str:
    """Return the bound that a flow cache was made with, as text."""
    stored = header.parameters.get("flow")
    if not isinstance(stored, dict) or not isinstance(stored.get("bound"), (int, float)):
        raise ValueError("it does not say which bound it was made with")
    return f"{stored['bound']:g}"
