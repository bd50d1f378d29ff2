"""Everything behind the page: copies, the pairs that are fixed, and what the page is told."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from data.cache.header import canonical_json
from data.errors import InputError
from data.sources import Source
from pipeline.judge.copies import Shown, copy_video, is_played, link_video
from pipeline.judge.page import render
from pipeline.judge.pairs import Numbers, least_sure_pairs, random_pairs
from pipeline.judge.settings import JudgeSettings, Length
from pipeline.runner.files import check_is_folder, check_writable, write_text
from pipeline.runner.jobs import Outcome, run_jobs
from pipeline.runs.folder import CHECKPOINT, is_page
from pipeline.runs.record import read_run_record
from pipeline.score.command import score_videos
from pipeline.score.settings import NewVideoOptions
from pipeline.shell.console import log

PAGE = "index.html"
# Looking again and answering, beyond the longer video's length.
_ANSWER_S = 5.0


@dataclass(frozen=True, kw_only=True)
class JudgePage:
    """A page that was written.

    Attributes
    ----------
    page : Path
    videos : tuple of str
        Those on it.
    length : Length
        Comparisons that a judge makes.
    seconds : float
        About how long they take.
    outcome : Outcome
        The videos that are on it, and why others are not.
    """

    page: Path
    videos: tuple[str, ...]
    length: Length
    seconds: float
    outcome: Outcome[Source, Shown]


def planned_pairs(videos: int, settings: JudgeSettings) -> int | None:
    """Return how many pairs are fixed beforehand; None where the answers choose them."""
    every = videos * (videos - 1) // 2
    if settings.pairs is not None:
        return min(settings.pairs, every)
    return min(2 * videos, every) if settings.run is not None else None


def build_page(
    sources: Sequence[Source], output: Path, settings: JudgeSettings, new: NewVideoOptions
) -> JudgePage:
    """Copy the videos and write the page.

    Raises
    ------
    InputError
        Fewer than two videos can be shown, the run cannot be used, or another file is in the way.
    """
    check_is_folder(output)
    page = output / PAGE
    if page.exists() and not is_page(page):
        raise InputError(f"{page}: not a page of this program; choose another --output")
    check_writable(output)
    scores = _scores(sources, settings, new)
    sources = [source for source in sources if scores is None or source.key in scores]
    outcome = _shown(sources, output, settings, new)
    if len(outcome.results) < 2:
        reason = outcome.failures[0][1] if outcome.failures else "there is one"
        raise InputError(f"at least two videos can be compared, found fewer: {reason}")
    keys = tuple(source.key for source, _ in outcome.results)
    videos = [shown for _, shown in outcome.results]
    plan = _plan(keys, settings, scores)
    length = Length.of(len(keys), settings, None if plan is None else len(plan))
    pace = sum(shown.seconds for shown in videos) / len(videos) + _ANSWER_S
    write_text(page, render(_content(keys, videos, plan, length, pace, settings)))
    return JudgePage(
        page=page,
        videos=keys,
        length=length,
        seconds=length.comparisons * pace,
        outcome=outcome,
    )


def _shown(
    sources: Sequence[Source], output: Path, settings: JudgeSettings, new: NewVideoOptions
) -> Outcome[Source, Shown]:
    if settings.copies:
        task = partial(copy_video, folder=output, side=settings.video_side)
        return run_jobs(task, sources, new.jobs, desc="copy", name=_key)
    if odd := [source.key for source in sources if not is_played(source)]:
        log.warning("%d videos may not play in a browser, e.g. %s; copies do", len(odd), odd[0])
    return run_jobs(partial(link_video, folder=output), sources, new.jobs, desc="link", name=_key)


def _key(source: Source) -> str:
    return source.key


def _scores(
    sources: Sequence[Source], settings: JudgeSettings, new: NewVideoOptions
) -> dict[str, float] | None:
    """Return the run's score of each video, in standard deviations; None without a run."""
    run = settings.run
    if run is None:
        return None
    several = run.is_dir() and not (run / CHECKPOINT).is_file()
    scored = score_videos(run, sources, new, ensemble=several).outcome
    for source, message in scored.failures:
        log.warning("%s: not on the page: %s", source.key, message)
    return {source.key: row.standardised for source, row in scored.results}


def _plan(
    keys: Sequence[str], settings: JudgeSettings, scores: dict[str, float] | None
) -> list[Numbers] | None:
    """Return the pairs that are fixed beforehand; None where the answers choose them."""
    count = planned_pairs(len(keys), settings)
    if count is None:
        return None
    if scores is None or settings.run is None:
        return random_pairs(len(keys), count, settings.seed)
    plan = least_sure_pairs([scores[key] for key in keys], count, _judged(settings.run, keys))
    if not plan:
        raise InputError(f"{settings.run}: all pairs of these videos are among its judgements")
    return plan


def _judged(run: Path, keys: Sequence[str]) -> set[Numbers]:
    """Return the pairs that the run was trained or tested on."""
    record = read_run_record(run) if run.is_dir() else None
    if record is None:
        return set()
    number = {key: i for i, key in enumerate(keys)}
    return {
        (min(both), max(both))
        for pair in (*record.train, *record.validation, *record.test)
        if len(both := [number[key] for key in (pair.better, pair.worse) if key in number]) == 2
    }


def _content(
    keys: Sequence[str],
    videos: Sequence[Shown],
    plan: list[Numbers] | None,
    length: Length,
    pace: float,
    settings: JudgeSettings,
) -> dict[str, Any]:
    """Return what the page is told; its `id` names the answers that the browser keeps."""
    name = hashlib.sha256(canonical_json([keys, plan]).encode()).hexdigest()[:16]
    return {
        "id": name,
        "question": settings.question,
        "videos": [
            {"name": key, "src": shown.src, "fps": round(shown.fps, 4)}
            for key, shown in zip(keys, videos, strict=True)
        ],
        "seed": settings.seed,
        "comparisons": length.comparisons,
        "repeatEvery": settings.repeat_every if settings.repeat_every > 1 else 0,
        "plan": plan,
        "pace": round(pace, 1),
        "showNames": settings.show_names,
    }
