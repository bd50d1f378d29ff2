"""Command-line flags: derived from the option dataclasses, plus those the commands share."""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar

import click
from click.core import ParameterSource

from data.errors import InputError
from data.options import FlowOptions
from model.tvl1.options import TVL1Options
from pipeline.shell import config, console
from pipeline.shell.console import log

T = TypeVar("T")
Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

_SCALARS: dict[Any, click.ParamType] = {
    int: click.INT,
    float: click.FLOAT,
    str: click.STRING,
    Path: click.Path(path_type=Path),
}

#: Flags that one sampling plan reads and the other ignores.
_PLAN_FLAGS = {"segments": ("segments", "candidates"), "dense": ("stride",)}


def dataclass_options(cls: type) -> Decorator:
    """Return a decorator that adds one flag for every field of an option dataclass.

    A field's metadata may hold `help`, `source` (where its default comes from), `flag`,
    `metavar`, `min` and `max`.
    """
    hints = typing.get_type_hints(cls)

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for entry in reversed(dataclasses.fields(cls)):
            function = _field_option(entry, hints[entry.name])(function)
        return function

    return decorate


def build(cls: type[T], params: dict[str, Any]) -> T:
    """Build an option dataclass from a command's parameters.

    Raises
    ------
    InputError
        If the dataclass refuses a value.
    """
    values = {field.name: params[field.name] for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    try:
        return cls(**values)
    except ValueError as error:
        raise InputError(str(error)) from error


def explicit_flags(ctx: click.Context) -> set[str]:
    """Return the names of the parameters that stand on the command line."""
    return {
        name for name in ctx.params if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }


def check_plan_and_size(ctx: click.Context) -> None:
    """Refuse two sizes of flow; warn of flags that the plan ignores."""
    explicit = explicit_flags(ctx)
    if {"size", "short_side"} <= explicit:
        raise InputError("--size and --short-side exclude each other: give one of them")
    plan = ctx.params["plan"]
    other = "dense" if plan == "segments" else "segments"
    for name in sorted(explicit.intersection(_PLAN_FLAGS[other])):
        log.warning("--%s has no effect on --plan %s; add --plan %s to use it", name, plan, other)


def refuse_flow_options(ctx: click.Context) -> None:
    """Refuse options of flow together with --flow, where they would have no effect."""
    fields = (*dataclasses.fields(FlowOptions), *dataclasses.fields(TVL1Options))
    names = {"engine", *(field.name for field in fields)} & explicit_flags(ctx)
    for param in ctx.command.params:
        if param.name in names:
            raise InputError(
                f"{param.opts[0]} has no effect on flow that was computed before; give it to "
                "extract-flow, or leave --flow out"
            )


def _field_option(entry: dataclasses.Field[Any], hint: Any) -> Decorator:
    flag = entry.metadata.get("flag") or "--" + entry.name.replace("_", "-")
    text = entry.metadata.get("help", "")
    if source := entry.metadata.get("source"):
        text = f"{text} ({source})"
    default = entry.default
    if default is dataclasses.MISSING and entry.default_factory is not dataclasses.MISSING:
        default = entry.default_factory()
    extra: dict[str, Any] = {
        "help": text,
        "default": default,
        "show_default": default is not None and default != (),
        "metavar": entry.metadata.get("metavar"),
    }
    if hint is bool:
        return click.option(f"{flag}/--no-{flag[2:]}", entry.name, **extra)
    kind, multiple = _click_type(hint, entry.metadata)
    return click.option(flag, entry.name, type=kind, multiple=multiple, **extra)


def _click_type(hint: Any, metadata: typing.Mapping[str, Any]) -> tuple[click.ParamType, bool]:
    """Return the click type of an annotation, and whether the flag may be repeated."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        inner = [each for each in arguments if each is not type(None)]
        return _click_type(inner[0], metadata)
    if origin is Literal:
        return click.Choice(list(arguments)), False
    if origin is tuple:
        return _click_type(arguments[0], metadata)[0], True
    low, high = metadata.get("min"), metadata.get("max")
    if low is not None or high is not None:
        bounds = click.IntRange if hint is int else click.FloatRange
        return bounds(low, high), False
    return _SCALARS[hint], False


_GROUPS: dict[str, list[Decorator]] = {
    "output": [
        click.option(
            "-o",
            "--output",
            type=click.Path(path_type=Path),
            required=True,
            help="Folder to write to; made if it is not there.",
        )
    ],
    "jobs": [
        click.option(
            "-j",
            "--jobs",
            type=click.INT,
            default=-1,
            show_default="all cores",
            help="Workers, one thread each.",
        ),
        click.option(
            "--backend",
            type=click.Choice(["auto", "loky", "threading", "dask"]),
            default="auto",
            show_default=True,
            help="How joblib runs the workers: loky's processes, threads, or a Dask cluster.",
        ),
        click.option(
            "--scheduler", metavar="HOST:PORT", help="Dask scheduler, for --backend dask."
        ),
        click.option(
            "--shard",
            metavar="I/N|auto",
            help="Do only part I of N of the videos; `auto` reads SLURM's array variables.",
        ),
    ],
    "device": [
        click.option(
            "--device",
            default="auto",
            show_default=True,
            metavar="auto|cpu|cuda[:n]",
            help="Where networks run; `auto` takes a GPU where there is one.",
        )
    ],
    "overwrite": [
        click.option(
            "--overwrite", is_flag=True, help="Replace results made with other options or input."
        )
    ],
    "strict": [
        click.option(
            "--strict", is_flag=True, help="Treat a damaged or miscounted video as a failure."
        )
    ],
    "dry_run": [
        click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
    ],
    "seed": [
        click.option(
            "--seed",
            type=click.INT,
            default=0,
            show_default=True,
            help="Seed of every random draw.",
        )
    ],
}


def common_options(*groups: str) -> Decorator:
    """Return a decorator that adds the named groups of shared flags, and those of every command.

    Every command gets `--config`, `--print-config`, `--log-format`, `-q`, `-v` and `--debug`,
    which are dealt with here and not handed to the command's function.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        wrapped = _with_console(function)
        for decorator in reversed([each for name in groups for each in _GROUPS[name]]):
            wrapped = decorator(wrapped)
        return wrapped

    return decorate


# Flags of every command that set up the log.
_CONSOLE = ("quiet", "verbose", "debug", "log_format")


def _with_console(function: Callable[..., Any]) -> Callable[..., Any]:
    @click.option(
        "--config",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        is_eager=True,
        expose_value=False,
        callback=config.load,
        help="TOML file with values for these flags (see --print-config).",
    )
    @click.option("--print-config", is_flag=True, help="Print all values as TOML, and stop.")
    @click.option(
        "--log-format",
        type=click.Choice(["text", "json"]),
        default="text",
        show_default=True,
        help="Log lines as text or as JSON objects.",
    )
    @click.option("-q", "--quiet", is_flag=True, help="Show warnings and errors only.")
    @click.option("-v", "--verbose", is_flag=True, help="Show more.")
    @click.option("--debug", is_flag=True, help="Show everything, and tracebacks.")
    @functools.wraps(function)
    def wrapper(**params: Any) -> Any:
        shown = {name: params.pop(name) for name in _CONSOLE}
        console.configure(
            verbosity=int(shown["verbose"]) - int(shown["quiet"]),
            json_lines=shown["log_format"] == "json",
            debug=shown["debug"],
        )
        if params.pop("print_config"):
            console.emit(config.as_toml(click.get_current_context()))
            return 0
        return function(**params)

    return wrapper


def configured_flags(ctx: click.Context) -> set[str]:
    """Return the names of the parameters that the command line or a configuration file sets."""
    default = click.core.ParameterSource.DEFAULT
    return {name for name in ctx.params if ctx.get_parameter_source(name) is not default}


def invoke_sibling(ctx: click.Context, name: str, **params: Any) -> Any:
    """Run another command of the same group, e.g. `report` for `--report`, without importing it.

    Parameters
    ----------
    ctx : Context
        Of the running command; its `-q`, `-v`, `--debug` and `--log-format` apply.
    name : str
        The other command.
    **params
        Its parameters; the others have their defaults.
    """
    group = ctx.find_root()
    command = typing.cast(click.Group, group.command).get_command(group, name)
    if command is None:
        raise click.UsageError(f"no such command: {name}")
    shared = {key: ctx.params[key] for key in _CONSOLE if key in ctx.params}
    # The group's context is the parent: a value of the running command's configuration file may
    # have the other command's name as its key.
    return group.invoke(command, **shared, **params)
