"""The features of a cross-validation: of judged parts, their digest, and variants they allow."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from data.cache.features import open_features
from data.cache.folder import cache_path
from data.judgements.dataset import Span
from model.ranker.build import NEED_POSITIONS, NEED_STREAMS
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.runs.features import FeatureSet, find_feature_set, warn_of_repeats
from pipeline.shell.console import log
from pipeline.shell.words import format_bytes


def fitting_variants(
    variants: tuple[str, ...], settings: EvaluateSettings, key: str
) -> tuple[tuple[str, ...], str]:
    """Return variants without those of `all` that cannot take the maps, and what is left out.

    A variant that the user named stays, and is refused later.
    """
    free = set(variants) - set(settings.options.variants)
    with open_features(cache_path(settings.features, key)) as cache:
        streams, cells = cache.has_streams, cache.shape[2] * cache.shape[3]
    reasons = []
    unfit: set[str] = set()
    for needy, fits, why in (
        (
            NEED_STREAMS,
            streams,
            "the features hold no stream maps (extract-features --keep-streams)",
        ),
        (NEED_POSITIONS, cells > 1, "the features have a single cell"),
    ):
        names = [name for name in variants if name in needy & free and not fits]
        if names:
            reasons.append(f"{', '.join(names)} left out: {why}")
        unfit.update(names)
    return tuple(name for name in variants if name not in unfit), "; ".join(reasons)


def feature_sets(
    settings: EvaluateSettings,
    keys: Sequence[str],
    variants: Sequence[str],
    spans: Mapping[str, Span],
) -> dict[bool, FeatureSet]:
    """Return the snippets of the judged parts of some videos, without reading maps.

    Fused ones under False, which baselines need; stream maps under True where a variant needs
    them. Caches must be alike.
    """
    used = {variant in NEED_STREAMS for variant in variants}
    sets = {}
    for streams in sorted({False, *used}):
        sets[streams] = find_feature_set(
            settings.features,
            keys,
            settings.ranker.segments,
            streams=streams,
            snippet_stride=settings.snippet_stride,
            spans=spans,
        )
    warn_of_repeats(sets[False], settings.ranker.segments)
    for streams in sorted(used):
        kind, size = "stream" if streams else "fused", format_bytes(sets[streams].bytes)
        log.info("%d videos, %s of %s maps a worker", len(keys), size, kind)
    if parts := sets[False].parts:
        used_of = f"{len(parts)} of {len(keys)} videos"
        log.info("only the judged part of the file is used of %s", used_of)
    return sets


def features_digest(features: FeatureSet) -> str:
    """Return one digest of the content of all caches."""
    names = [*features.keys, *features.digests]
    return hashlib.sha256(" ".join(names).encode()).hexdigest()[:16]
