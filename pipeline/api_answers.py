"""From a trained ranker to answers, as functions: `score_videos`, `explain_videos`, the page."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from pipeline.api_options import Paths, as_paths, context, run_command, takes_options_of
from pipeline.api_results import Demonstration, Explained, Scored


@takes_options_of("score")
def score_videos(run: str | Path, videos: Paths, **options: Any) -> Scored:
    """Score videos with a trained run, flow and features included: `score`.

    Parameters
    ----------
    run : path
        A run folder; with ``ensemble=True`` a folder of runs.
    videos : path or sequence of paths
        Folders, files, ``@list.txt`` or a CSV with a column ``video``.
    **options
        Flags of the command; `csv`, `json` and `output` write files as it does.

    Returns
    -------
    Scored

    Raises
    ------
    InputError
        A run or options that cannot be used.
    """
    with tempfile.TemporaryDirectory() as folder:
        place = Path(options.get("output") or folder)
        target = Path(options.get("json") or place / "scores.json")
        arguments = [run, *as_paths(videos)]
        text, _ = run_command("score", {**options, "json": target}, arguments)
        found = json.loads(target.read_text(encoding="utf-8"))
    failures = {each["video"]: each["message"] for each in found["failures"]}
    return Scored(found["videos"], failures, text)


@takes_options_of("explain")
def explain_videos(run: str | Path, videos: Paths, output: str | Path, **options: Any) -> Explained:
    """Draw where in the frame a trained run looked: `explain`.

    Parameters
    ----------
    run : path
        A run folder.
    videos : path or sequence of paths
        As for `score_videos`.
    output : path
        Folder for a contact sheet (PNG) and a film (mp4) of each video.
    **options
        Flags of the command.

    Returns
    -------
    Explained

    Raises
    ------
    InputError
        A run without attention over the frame, or options that cannot be used.
    """
    from pipeline.explain.command import carry_out

    ctx = context("explain", {**options, "output": output}, [run, *as_paths(videos)])
    outcome = carry_out(ctx.params)
    return Explained(
        Path(output),
        {source.key: drawn.sheet for source, drawn in outcome.results},
        {source.key: drawn.film for source, drawn in outcome.results if drawn.film},
        {source.key: message for source, message in outcome.failures},
    )


@takes_options_of("report")
def write_report(run: str | Path, output: str | Path, **options: Any) -> Path:
    """Write one self-contained HTML page about a run: `report`.

    Parameters
    ----------
    run : path
        A run folder.
    output : path
        The page to write.
    **options
        Flags of the command.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    InputError
        A run or options that cannot be used.
    """
    run_command("report", {**options, "output": output}, [run])
    return Path(output)


@takes_options_of("inspect")
def describe(paths: Paths, **options: Any) -> list[dict[str, Any]]:
    """Say what is in videos, caches, folders, runs and judgements: `inspect --json`.

    Parameters
    ----------
    paths : path or sequence of paths
    **options
        Flags of the command.

    Returns
    -------
    list of dict
        What the command prints as JSON.

    Raises
    ------
    InputError
        A path that is not there, or options that cannot be used.
    """
    text, _ = run_command("inspect", {**options, "json": True}, as_paths(paths))
    found: list[dict[str, Any]] = json.loads(text)
    return found


@takes_options_of("demo")
def run_demo(output: str | Path, **options: Any) -> Demonstration:
    """Run everything end to end on synthetic videos: `demo`.

    Parameters
    ----------
    output : path
        Gets everything that is made.
    **options
        Flags of the command.

    Returns
    -------
    Demonstration

    Raises
    ------
    InputError
        Options that cannot be used, or results of other options in the folder.
    """
    text, failures = run_command("demo", {**options, "output": output})
    return Demonstration(Path(output), text, failures)
