"""Flags with which `score` and `explain` make, or find, the features of new videos."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from data.errors import InputError
from pipeline.runner.jobs import JobOptions
from pipeline.runs.folder import CHECKPOINT
from pipeline.shell.console import log
from pipeline.shell.flags import build, shared_options

if TYPE_CHECKING:
    from data.sources import Source

#: Folder below the output in which flow and features are kept.
CACHE = "cache"
#: Between a video's name and the ending of the pictures that `explain` writes of it.
ATTENTION = ".attention"
_OVERLAY = re.compile(re.escape(ATTENTION) + r"\.(mp4|webm|gif)$")


@dataclass(frozen=True)
class Making:
    """How features of new videos are made, and where they may be there already.

    Attributes
    ----------
    cache : Path, optional
        Where flow and features that are made are kept for the next time; without one they are
        not kept.
    features, flow : Path, optional
        Outputs of extract-features and extract-flow to take from first.
    rgb_weights, flow_weights : str, optional
        The trunks' weight files, where they were moved since training.
    engine : str
        Of TV-L1.
    jobs : JobOptions
    device : str
        Of the trunks.
    batch_size : int, optional
        Snippets a batch.
    strict : bool
        Damaged videos fail.
    """

    cache: Path | None = None
    features: Path | None = None
    flow: Path | None = None
    rgb_weights: str | None = None
    flow_weights: str | None = None
    engine: str = "auto"
    jobs: JobOptions = field(default_factory=JobOptions)
    device: str = "auto"
    batch_size: int | None = None
    strict: bool = False

    @classmethod
    def of(cls, params: dict[str, Any]) -> Making:
        """Build from a command's parameters; caches go below its output where no flag says else."""
        output: Path | None = params["output"]
        jobs = replace(build(JobOptions, params), shard=None)
        names = ("features", "flow", "rgb_weights", "flow_weights", "engine", "device", "strict")
        return cls(
            cache=params["cache"] or (output / CACHE if output is not None else None),
            jobs=jobs,
            batch_size=params["batch_size"],
            **{name: params[name] for name in names},
        )


@contextmanager
def with_cache(making: Making) -> Iterator[Making]:
    """Lend a temporary folder for flow and features where none was named to keep them in."""
    if making.cache is not None:
        yield making
        return
    with TemporaryDirectory(prefix="dexterank-") as folder:
        log.info("flow and features are not kept; --cache DIR keeps them for the next time")
        yield replace(making, cache=Path(folder))


def without_overlays(sources: Sequence[Source]) -> list[Source]:
    """Leave out the moving overlays that `explain` wrote, where they lie among the videos.

    Raises
    ------
    InputError
        There is nothing else.
    """
    kept = [source for source in sources if not _OVERLAY.search(source.key)]
    if not kept:
        raise InputError(f"{sources[0].path}: an overlay that explain wrote; name the videos")
    if left_out := len(sources) - len(kept):
        log.warning("%d overlays that explain wrote are not taken for videos", left_out)
    return kept


def check_run(run: Path, command: str) -> None:
    """Refuse what cannot be a run, before videos are looked at.

    Raises
    ------
    InputError
        It is not there, is a video, or holds no trained ranker.
    """
    if not run.exists():
        raise InputError(f"{run}: no such run; expected the output folder of train-ranker")
    order = f"the run comes first: pipeline {command} RUN VIDEOS..."
    if run.is_file():
        if run.suffix != ".safetensors":
            raise InputError(f"{run}: not a run; {order}")
    elif next(run.rglob(CHECKPOINT), None) is None:
        kept = "evaluate keeps rankers with --keep-rankers" if (run / "runs").is_dir() else order
        raise InputError(f"{run}: no trained ranker ({CHECKPOINT}) in it or below it; {kept}")


def make_folder(folder: Path, flag: str) -> None:
    """Make a folder for results now, rather than find out after hours that it cannot be.

    Raises
    ------
    InputError
        It cannot be made, or not be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be made ({error.strerror}); name another place with {flag}"
        ) from error
    if not os.access(folder, os.W_OK):
        raise InputError(f"{folder}: cannot be written to; name another place with {flag}")


def making_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the flags of `Making`, but for those that `common_options` brings."""
    folder = click.Path(path_type=Path)
    for decorator in reversed(
        [
            click.option(
                "--features",
                type=folder,
                help="Take features from this output of extract-features where they fit.",
            ),
            click.option(
                "--flow",
                type=folder,
                help="Take flow from this output of extract-flow where it fits.",
            ),
            click.option(
                "--cache",
                type=folder,
                show_default=f"{CACHE}/ in --output",
                help="Keep the flow and features that are made here for the next time.",
            ),
            click.option(
                "--rgb-weights",
                metavar="FILE",
                help="The RGB trunk's weights, where the file was moved since training.",
            ),
            click.option(
                "--flow-weights",
                metavar="FILE",
                help="The flow trunk's weights, where the file was moved since training.",
            ),
            click.option(
                "--batch-size",
                type=click.IntRange(1),
                default=None,
                show_default="auto",
                help="Snippets a batch; halved when memory runs out.",
            ),
        ]
    ):
        function = decorator(function)
    return shared_options("engine")(function)
