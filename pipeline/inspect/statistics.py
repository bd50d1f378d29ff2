"""Numbers that describe the arrays in a cache, read a row at a time."""

from __future__ import annotations

from typing import Any

import numpy as np

from data.cache.features import FeatureCache
from data.cache.flow import FlowCache

#: Fields or snippets that are looked at where not all are: enough for an even picture of a video.
SAMPLE = 200


def sampled_rows(count: int, everything: bool) -> np.ndarray:
    """Return the rows to look at: all, or `SAMPLE` spread evenly."""
    if everything or count <= SAMPLE:
        return np.arange(count)
    return np.unique(np.linspace(0, count - 1, SAMPLE).round().astype(np.int64))


def flow_statistics(flow: FlowCache, everything: bool) -> dict[str, Any]:
    """Describe the fields of a flow cache.

    Returns
    -------
    dict
        ``fields_read``; ``u_px`` and ``v_px``, least and greatest displacement; ``mean_speed_px``,
        ``fastest_px``; ``still_fields``, fields that are zero everywhere; ``not_finite``, values
        that are no numbers.
    """
    rows = sampled_rows(len(flow), everything)
    low, high = np.full(2, np.inf), np.full(2, -np.inf)
    total = fastest = 0.0
    still = not_finite = 0
    for row in rows.tolist():
        field = flow.read_px(row)
        bad = ~np.isfinite(field)
        if bad.any():
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
    """Describe the fused maps of a feature cache.

    Returns
    -------
    dict
        ``snippets_read``, ``least``, ``greatest``, ``mean``, ``deviation``, ``zeros`` (share of
        the values), ``not_finite`` (values that are no numbers).
    """
    rows = sampled_rows(len(features), everything)
    low, high, total, squares = np.inf, -np.inf, 0.0, 0.0
    zeros = not_finite = size = 0
    for row in rows.tolist():
        values = features.read(row).astype(np.float64)
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
