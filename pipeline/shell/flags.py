"""Command-line flags: derived from option dataclasses, each option declared once.

A field of a dataclass is the flag, its key in a configuration file and in `--print-config`, and
the keyword of the Python function. Options that several commands share are fields of `Shared`.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import click
from click.core import ParameterSource

from data.errors import InputError
from model.ranker.options import PRESETS
from model.tvl1.engines import NAMES as ENGINES

#: Seeds of later repetitions, which count on from here, still fit into the 64 bits of PyTorch.
MAX_SEED = 2**63 - 1

T = TypeVar("T")
Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


class _FiniteFloat(click.types.FloatParamType):
    """A number; `nan` and `inf`, which no option can mean, are refused."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return _finite(self, super().convert(value, param, ctx), param, ctx)


class _FiniteRange(click.FloatRange):
    """A number within bounds; `nan`, which is within any, is refused."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return _finite(self, super().convert(value, param, ctx), param, ctx)


def _finite(
    kind: click.ParamType, value: Any, param: click.Parameter | None, ctx: click.Context | None
) -> Any:
    if not math.isfinite(value):
        kind.fail(f"{value!r} is not a finite number.", param, ctx)
    return value


_SCALARS: dict[Any, click.ParamType] = {
    int: click.INT,
    float: _FiniteFloat(),
    str: click.STRING,
    Path: click.Path(path_type=Path),
}


def option(text: str, default: Any = MISSING, **metadata: Any) -> Any:
    """Return a field of an option dataclass, from its help; without a default it is required.

    The metadata may hold `source` (where the default comes from), `flag` (if it is not the field's
    name), `short` (`-o`), `metavar`, `choices`, `min`, `max`, `show_default` and `switch` (no
    `--no-` form).
    """
    return field(default=default, metadata={"help": text, **metadata})


@dataclass(frozen=True, kw_only=True)
class Shared:
    """Options of several commands; `shared` makes one a field of another dataclass."""

    output: Path = option("Folder to write to; created if it does not exist.", short="-o")
    exclude: tuple[str, ...] = option(
        "Leave out videos whose path, or a file or folder name in it, matches this pattern "
        "(repeatable), e.g. 'preview*'.",
        default=(),
        metavar="PATTERN",
    )
    features: Path = option("Output of extract-features.")
    pairs: Path = option(
        "Judgements: a CSV with the columns better,worse or video,score, a folder of several "
        "judges' CSVs, or a data set's folder."
    )
    preset: str = option(
        "Training as in the authors' code for a data set; explicit flags override it.",
        default="small",
        choices=PRESETS,
    )
    snippet_stride: int | None = option(
        "Use snippets at least this many frames apart; by default the preset's value.",
        default=None,
        min=1,
    )
    report: Path | None = option(
        "Also write a page about the run; see pipeline report.",
        default=None,
        metavar="FILE.html",
    )
    engine: str = option(
        "TV-L1 engine; auto takes the fastest one that is available.",
        default="auto",
        choices=ENGINES,
    )
    jobs: int = option(
        "Workers, one thread each.", default=-1, short="-j", show_default="all cores"
    )
    backend: str = option(
        "How joblib runs the workers: loky's processes, threads, or a Dask cluster.",
        default="auto",
        choices=("auto", "loky", "threading", "dask"),
    )
    scheduler: str | None = option(
        "Dask scheduler, for --backend dask.", default=None, metavar="HOST:PORT"
    )
    shard: str | None = option(
        "Process only part I of N of the videos; `auto` reads SLURM's array variables.",
        default=None,
        metavar="I/N|auto",
    )
    device: str = option(
        "Where networks run; `auto` takes a GPU if there is one.",
        default="auto",
        metavar="auto|cpu|cuda[:n]",
    )
    overwrite: bool = option(
        "Replace results made with other options or input.", default=False, switch=True
    )
    strict: bool = option(
        "Treat a damaged or miscounted video as a failure.", default=False, switch=True
    )
    dry_run: bool = option("Report what would be done, and do nothing.", default=False, switch=True)
    seed: int = option("Seed of every random draw.", default=0, min=0, max=MAX_SEED)


def shared(name: str, **metadata: Any) -> Any:
    """Return a shared option as a field of another dataclass.

    Parameters
    ----------
    name : str
        A field of `Shared`.
    **metadata
        What differs for the command, e.g. `help`.
    """
    return taken(Shared, name, **metadata)


def taken(cls: Any, name: str, default: Any = None, **metadata: Any) -> Any:
    """Return a field of one option dataclass as a field of another.

    Parameters
    ----------
    cls : type
        The dataclass that declares it.
    name : str
    default
        In place of its own, where given.
    **metadata
        What differs, e.g. `source`.
    """
    entry = cls.__dataclass_fields__[name]
    own = entry.default if default is None else default
    return field(default=own, metadata={**entry.metadata, **metadata})


def option_fields(cls: type) -> Iterator[tuple[dataclasses.Field[Any], Any]]:
    """Yield the fields of an option dataclass with their types, nested dataclasses flattened."""
    hints = typing.get_type_hints(cls)
    for entry in dataclasses.fields(cls):
        if dataclasses.is_dataclass(hints[entry.name]):
            yield from option_fields(hints[entry.name])
        else:
            yield entry, hints[entry.name]


def dataclass_options(cls: type, *, without: Collection[str] = ()) -> Decorator:
    """Return a decorator that adds a flag for every field of an option dataclass but `without`.

    `option` says what a field's metadata may hold; a field without a default is a required flag.
    """
    return _options([each for each in option_fields(cls) if each[0].name not in without])


def shared_options(*names: str, **metadata: Any) -> Decorator:
    """Return a decorator that adds flags of `Shared`.

    Parameters
    ----------
    *names : str
        Fields of `Shared`.
    **metadata
        What differs for the command, e.g. `help`.
    """
    hints = typing.get_type_hints(Shared)
    entries = [shared(name, **metadata) for name in names]
    for entry, name in zip(entries, names, strict=True):
        entry.name = name
    return _options([(entry, hints[entry.name]) for entry in entries])


def build(cls: type[T], params: Mapping[str, Any]) -> T:
    """Build an option dataclass, also a nested one, from a command's parameters.

    A field for which the command has no flag keeps its default.

    Raises
    ------
    InputError
        If the dataclass refuses a value.
    """
    hints = typing.get_type_hints(cls)
    values = {}
    for entry in dataclasses.fields(cls):  # type: ignore[arg-type]
        if dataclasses.is_dataclass(hints[entry.name]):
            values[entry.name] = build(hints[entry.name], params)
        elif entry.name in params:
            values[entry.name] = params[entry.name]
    try:
        return cls(**values)
    except ValueError as error:
        raise InputError(str(error)) from error


def _options(fields: Sequence[tuple[dataclasses.Field[Any], Any]]) -> Decorator:
    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for entry, hint in reversed(fields):
            function = _option(entry, hint)(function)
        return function

    return decorate


def _option(entry: dataclasses.Field[Any], hint: Any) -> Decorator:
    metadata = entry.metadata
    flag = metadata.get("flag") or "--" + entry.name.replace("_", "-")
    names = [name for name in (metadata.get("short"), flag) if name]
    text = metadata.get("help", "")
    if source := metadata.get("source"):
        text = f"{text} ({source})"
    if metadata.get("switch"):
        return click.option(*names, entry.name, is_flag=True, help=text)
    default = entry.default
    if default is MISSING and entry.default_factory is not MISSING:
        default = entry.default_factory()
    extra: dict[str, Any] = {"help": text, "metavar": metadata.get("metavar")}
    if default is MISSING:
        extra["required"] = True
    else:
        shown = metadata.get("show_default", default is not None and default != ())
        extra |= {"default": default, "show_default": shown}
    if hint is bool:
        return click.option(f"{flag}/--no-{flag[2:]}", entry.name, **extra)
    kind, multiple = click_type(hint, metadata)
    return click.option(*names, entry.name, type=kind, multiple=multiple, **extra)


def click_type(hint: Any, metadata: Mapping[str, Any]) -> tuple[click.ParamType, bool]:
    """Return the click type of an annotation, and whether the flag may be repeated."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        inner = [each for each in arguments if each is not type(None)]
        return click_type(inner[0], metadata)
    if origin is tuple:
        return click_type(arguments[0], metadata)[0], True
    choices = arguments if origin is Literal else metadata.get("choices")
    if choices:
        return click.Choice(list(choices)), False
    low, high = metadata.get("min"), metadata.get("max")
    if low is not None or high is not None:
        bounds = click.IntRange if hint is int else _FiniteRange
        return bounds(low, high), False
    return _SCALARS[hint], False


def explicit_flags(ctx: click.Context, *, config_file: bool = False) -> set[str]:
    """Return the parameters that the command line sets, or also those of a `config_file`.

    Presets yield to both. Refusals look at the command line alone, because several commands may
    share one file.
    """
    sources = {ParameterSource.COMMANDLINE}
    if config_file:
        sources.add(ParameterSource.DEFAULT_MAP)
    return {name for name in ctx.params if ctx.get_parameter_source(name) in sources}
