"""`pipeline import-features`: arrays of other extractors to feature caches, without the videos.

Read downwards: the function that does it, the stage's answers, the flags. `plan.py` compares the
files, `video.py` writes one cache; planning, sweeping and summing up are those of every stage
(`pipeline.runner.stage`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.import_features.settings import ImportResult, ImportSettings
from pipeline.runner.jobs import JobOptions, Outcome, in_order, run_jobs, take_shard
from pipeline.runner.stage import StageOptions, run, summarise
from pipeline.shell.common import common_options
from pipeline.shell.console import emit, log
from pipeline.shell.flags import build, dataclass_options
from pipeline.shell.words import format_bytes

if TYPE_CHECKING:
    from data.cache.header import Header
    from data.sources import Source
    from pipeline.import_features.plan import Features

#: Bytes of input below which starting worker processes takes longer than the work.
SMALL = 500_000_000


def import_features(
    sources: Sequence[Source], settings: ImportSettings, options: StageOptions
) -> Outcome[Source, ImportResult]:
    """Write the feature caches of some files of arrays; valid ones that already exist are kept.

    Parameters
    ----------
    sources : sequence of Source
        Files, as `data.sources.find_sources` gives them for `data.folders.ARRAYS`.
    settings, options

    Returns
    -------
    Outcome
        Results and failures by the videos' names, in their order; empty after a dry run.

    Raises
    ------
    InputError
        No file can be used; caches made from other files or options are in the way.
    """
    from pipeline.import_features.plan import check_files, name_videos

    named = name_videos(sources, settings, options.output)
    contents, failures = check_files(named, settings)
    chosen = take_shard(named, options.jobs.shard)
    options = replace(options, jobs=replace(options.jobs, shard=None))
    if options.dry_run:
        for source in chosen:
            if source in failures:
                emit(f"cannot    {source.key}: {failures[source]}")
    usable = [source for source in chosen if source not in failures]
    outcome = run(ImportStage(settings, contents), usable, options)
    if not options.dry_run:
        for source in chosen:
            if source in failures:
                log.warning("%s: %s", source.key, failures[source])
                outcome.failures.append((source, failures[source]))
    return in_order(outcome, named)


@dataclass(frozen=True)
class ImportStage:
    """Files of arrays to feature caches."""

    settings: ImportSettings
    contents: Mapping[str, Features] = field(default_factory=dict)  # By key.
    name: str = "import-features"
    rows: str = "features"

    def digest(self, source: Source) -> str:
        """Digest of a file's content."""
        from data.video.reading import file_digest

        return file_digest(source.path)

    def header(self, source: Source, digest: str) -> Header:
        """Header of a valid cache of this file, as far as its fingerprint."""
        from data.cache.header import Header

        return Header("features", source_digest=digest, parameters=self.settings.parameters)

    def describe(self, path: Path) -> ImportResult:
        """Return what is known of a valid cache that already exists."""
        from pipeline.import_features.video import describe

        return describe(path)

    def forecast(self, sources: Sequence[Source]) -> list[str]:
        """Return how many features these files would give, and their size."""
        files = [self.contents[source.key] for source in sources]
        rows, values = sum(each.rows for each in files), sum(each.values for each in files)
        shape = "×".join(map(str, files[0].shape)) if files else "no shape"
        return [f"features  {rows:,} of {shape}, {format_bytes(2 * values)} before compression"]

    def compute(
        self, sources: Sequence[Source], options: StageOptions
    ) -> Outcome[Source, ImportResult]:
        """Write caches side by side; in this process where there is little to read."""
        from pipeline.import_features.video import import_one

        jobs = options.jobs
        if jobs.backend == "auto" and sum(s.path.stat().st_size for s in sources) < SMALL:
            jobs = JobOptions(jobs=1)
        one = partial(import_one, settings=self.settings, output=options.output)
        return run_jobs(one, sources, jobs, desc="import", name=lambda source: source.key)


EPILOG = """\b
Examples:
  pipeline import-features i3d/ -o features/ --rate 3.125 --extractor 'I3D, Kinetics-400'
  pipeline import-features maps/ -o features/ --array conv5 --times seconds
  pipeline import-features clip/ -o features/ --ending _clip --rate 2 --dry-run
  pipeline import-features other_program/ -o features/

\b
Then train-ranker, evaluate and report take --features features/, and new videos are scored by
  pipeline score run/ --features new_features/
"""


@click.command("import-features", epilog=EPILOG)
@click.argument("arrays", nargs=-1, required=True, metavar="ARRAYS...")
@dataclass_options(ImportSettings)
@dataclass_options(StageOptions, without=("device", "strict"))
@common_options()
@click.pass_context
def command(ctx: click.Context, /, arrays: tuple[str, ...], **params: Any) -> None:
    """Turn ARRAYS of other extractors into feature caches, without the videos.

    ARRAYS are folders, .npy, .npz or HDF5 files, @list.txt with a path a line, or a CSV with a
    column `video` or `path`. Each file is one video, by its name without the ending, and holds
    features (T, C) or maps (T, C, H, W), evenly spread (--rate) or with time stamps. HDF5 files
    with `maps`, `frame_index` and `time`, as the README describes caches, need no option.
    """
    from data.folders import ARRAYS
    from data.sources import find_sources

    options, settings = build(StageOptions, params), build(ImportSettings, params)
    outcome = import_features(find_sources(arrays, options.exclude, ARRAYS), settings, options)
    ctx.exit(summarise(ImportStage(settings), outcome, options))
