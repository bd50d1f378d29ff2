"""What extract-features answers to the stage (`pipeline.runner.stage`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.extract_features.settings import FeatureResult, FeatureSettings
from pipeline.runner.jobs import Outcome
from pipeline.runner.stage import StageOptions

if TYPE_CHECKING:
    from data.cache.header import Header
    from data.sources import Source
    from pipeline.extract_features.snippets import VideoJob
    from pipeline.stage_one.networks import Networks


@dataclass(frozen=True)
class FeatureStage:
    """Videos and flow caches to feature caches.

    Attributes
    ----------
    settings : FeatureSettings
    devices : list of str
    jobs : mapping of str to VideoJob
        By key.
    networks : Networks, optional
        Stage one; a dry run needs none.
    """

    settings: FeatureSettings
    devices: list[str]
    jobs: Mapping[str, VideoJob]
    networks: Networks | None = None
    name: str = "extract-features"
    rows: str = "snippets"

    def digest(self, source: Source) -> str:
        """Digest of a video, which was compared with its flow cache's."""
        return self.jobs[source.key].header.source_digest

    def header(self, source: Source, digest: str) -> Header:
        """Header of a valid cache of this video."""
        return self.jobs[source.key].header

    def describe(self, path: Path) -> FeatureResult:
        """Return what is known of a valid cache that already exists."""
        from data.cache.features import open_features

        with open_features(path) as cache:
            return FeatureResult(path, len(cache), False, cache.header.warnings)

    def forecast(self, sources: Sequence[Source]) -> list[str]:
        """Return how many snippets these videos have, and how large their caches will be."""
        from pipeline.extract_features.plan import forecast

        jobs = [self.jobs[source.key] for source in sources]
        return forecast(jobs, self.settings, self.settings.networks(self.devices))

    def compute(
        self, sources: Sequence[Source], options: StageOptions
    ) -> Outcome[Source, FeatureResult]:
        """Compute videos on all devices."""
        from pipeline.extract_features.devices import compute_features

        if self.networks is None:
            raise ValueError("expected networks, got None")
        jobs = {source: self.jobs[source.key] for source in sources}
        failures = compute_features(
            list(jobs.values()), self.networks, self.settings, self.devices, options
        )
        results = [
            (source, FeatureResult(job.path, len(job.frame_index), True, job.header.warnings))
            for source, job in jobs.items()
            if source.key not in failures
        ]
        return Outcome(results, [(s, failures[s.key]) for s in sources if s.key in failures])
