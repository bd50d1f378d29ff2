"""Keyword arguments that are the flags of a command: same names, defaults, checks and help."""

from __future__ import annotations

import contextlib
import difflib
import functools
import inspect
import io
import logging
import textwrap
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from data.errors import InputError
from pipeline.cli import cli
from pipeline.shell.console import log

Function = TypeVar("Function", bound=Callable[..., Any])
#: One path, or several.
Paths = str | Path | Sequence[str | Path]

# Flags that `pipeline.shell.flags.common_options` deals with itself.
_OF_THE_CONSOLE = {"config", "print_config", "log_format", "quiet", "verbose", "debug"}
#: Flags that only make sense on a command line.
OF_THE_TERMINAL = _OF_THE_CONSOLE | {"dry_run", "help"}


def load_command(name: str) -> click.Command:
    """Import a command of the command line."""
    command = cli.get_command(click.Context(cli), name)
    if command is None:
        raise ValueError(f"{name}: no such command")
    return command


def as_paths(given: Paths) -> list[str]:
    """Return one path, or several, as a command's arguments."""
    several = [given] if isinstance(given, str | Path) else given
    return [str(each) for each in several]


def context(name: str, options: Mapping[str, Any], arguments: Sequence[Any] = ()) -> click.Context:
    """Parse options as the command line does, and return the context with all parameters.

    Parameters
    ----------
    name : str
        Of the command.
    options : mapping
        Values by keyword; keywords that the command does not have are passed over.
    arguments : sequence
        The command's arguments, such as videos.

    Raises
    ------
    InputError
        A value that the flag refuses.
    """
    command = load_command(name)
    known = {keyword(option): option for option in _options(command)}
    given = {key: value for key, value in options.items() if key in known}
    ctx = click.Context(
        command,
        info_name=name,
        parent=click.Context(cli),
        default_map={
            str(known[key].name): _as_typed(key, value, known[key]) for key, value in given.items()
        },
    )
    try:
        command.parse_args(ctx, ["--", *map(str, arguments)])
    except click.UsageError as error:
        raise InputError(error.format_message()) from error
    return ctx


def run_command(
    name: str, options: Mapping[str, Any], arguments: Sequence[Any] = ()
) -> tuple[str, tuple[str, ...]]:
    """Do what a command does, by its own code, without its output to the terminal.

    Parameters
    ----------
    name, options, arguments
        As for `context`.

    Returns
    -------
    text : str
        What the command would print as its result.
    failures : tuple of str
        What it would list as failed; empty where nothing did.

    Raises
    ------
    InputError
        Whatever the command refuses.
    """
    ctx = context(name, options, arguments)
    # Under the layer that sets up log and progress, which are the caller's own affair here.
    body = ctx.command.callback.__wrapped__  # type: ignore[union-attr]
    params = {key: value for key, value in ctx.params.items() if key not in _OF_THE_CONSOLE}
    printed, errors, code = io.StringIO(), _Errors(), 0
    log.addFilter(errors)
    try:
        with ctx, contextlib.redirect_stdout(printed):
            body(**params)
    except click.exceptions.Exit as end:
        code = end.exit_code
    except click.UsageError as error:
        raise InputError(error.format_message()) from error
    finally:
        log.removeFilter(errors)
    return printed.getvalue(), tuple(errors.lines) if code else ()


class _Errors(logging.Filter):
    """Collects the lines that a command logs about what failed, and lets every line pass.

    No handler: beside one, Python no longer prints warnings where nobody has set up logging.
    """

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno >= logging.ERROR:
            self.lines.append(record.getMessage().strip())
        return True


def keyword(option: click.Parameter) -> str:
    """Return the keyword of a flag: `--stack-length` is `stack_length`.

    A flag that Python keeps for itself gets an underscore, `--lambda` is `lambda_`.
    """
    word = max(option.opts, key=len).lstrip("-").replace("-", "_")
    return f"{word}_" if word == "lambda" else word


def takes_options_of(
    *commands: str, without: Collection[str] = ()
) -> Callable[[Function], Function]:
    """Return a decorator for a function whose `**options` are the flags of some commands.

    The function's signature and docstring then show them, and an unknown keyword is refused
    before anything is done. A flag that the function takes by a parameter of its own is left out,
    as are those named in `without`.
    """

    def decorate(function: Function) -> Function:
        own = [
            each
            for each in inspect.signature(function).parameters.values()
            if each.kind is not inspect.Parameter.VAR_KEYWORD
        ]
        flags: dict[str, click.Option] = {}
        for command in commands:
            for option in _options(load_command(command)):
                flags.setdefault(keyword(option), option)
        for name in (*(each.name for each in own), *without):
            flags.pop(name, None)

        @functools.wraps(function)
        def checked(*args: Any, **kwargs: Any) -> Any:
            _refuse_unknown(function.__name__, kwargs, {each.name for each in own} | flags.keys())
            return function(*args, **kwargs)

        shown = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=_default(option))
            for name, option in flags.items()
        ]
        checked.__signature__ = inspect.Signature([*own, *shown])  # type: ignore[attr-defined]
        checked.__doc__ = f"{inspect.cleandoc(function.__doc__ or '')}\n\n{_described(flags)}"
        return checked  # type: ignore[return-value]

    return decorate


def _options(command: click.Command) -> list[click.Option]:
    return [
        each
        for each in command.params
        if isinstance(each, click.Option) and each.name not in OF_THE_TERMINAL
    ]


def _default(option: click.Option) -> Any:
    """Return the default to show; click marks a missing one with an object of its own."""
    plain = isinstance(option.default, bool | int | float | str | tuple)
    return option.default if plain else False if option.is_flag else None


def _as_typed(key: str, value: Any, option: click.Option) -> Any:
    """Return a value as somebody would have typed it, so that the flag's own checks apply."""
    if option.is_flag:
        if not isinstance(value, bool):
            raise InputError(f"{key}: expected True or False, got {value!r}")
        return value
    if value is None:
        raise InputError(f"{key}: expected a value, got None; leave it out for the default")
    if option.multiple:
        several = [value] if isinstance(value, str | Path) else value
        return [str(each) for each in several]
    return str(value)


def _refuse_unknown(function: str, given: Mapping[str, Any], known: Collection[str]) -> None:
    for word in given:
        if word not in known:
            near = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
            hint = f"; did you mean {near[0]!r}?" if near else f"; see help(pipeline.{function})"
            raise TypeError(f"{function}() has no option {word!r}{hint}")


def _described(flags: Mapping[str, click.Option]) -> str:
    """Return the options as a section of a docstring, with the flags' own help."""
    lines = ["Other Parameters", "----------------"]
    for name, option in flags.items():
        lines.append(name)
        lines += textwrap.wrap(
            option.help or "", 95, initial_indent="    ", subsequent_indent="    "
        )
    return "\n".join(lines)
