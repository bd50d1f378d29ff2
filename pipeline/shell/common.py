"""What every command has: `--config`, the flags of the console, and a way to run a sibling."""

from __future__ import annotations

import dataclasses
import functools
import typing
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import click

from pipeline.shell import config, console
from pipeline.shell.flags import Decorator, build, dataclass_options, option, shared_options


def common_options(*names: str) -> Decorator:
    """Return a decorator that adds flags of `Shared`, and those that every command has.

    Every command has `--config`, `--print-config`, `--log-format`, `-q`, `-v` and `--debug`,
    which are handled here and not passed to the command's function.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        return shared_options(*names)(_with_console(function))

    return decorate


@dataclass(frozen=True, kw_only=True)
class _Console:
    """Options of every command, handled by `common_options`."""

    print_config: bool = option("Print all values as TOML, and stop.", default=False, switch=True)
    log_format: Literal["text", "json"] = option(
        "Log lines as text or as JSON objects.", default="text"
    )
    quiet: bool = option("Show warnings and errors only.", default=False, switch=True, short="-q")
    verbose: bool = option("Show more.", default=False, switch=True, short="-v")
    debug: bool = option("Show everything, and tracebacks.", default=False, switch=True)


def _with_console(function: Callable[..., Any]) -> Callable[..., Any]:
    @click.option(
        "--config",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        is_eager=True,
        expose_value=False,
        callback=config.load,
        help="TOML file with values for these flags (see --print-config).",
    )
    @dataclass_options(_Console)
    @functools.wraps(function)
    def wrapper(**params: Any) -> Any:
        options = build(_Console, params)
        console.configure(
            verbosity=int(options.verbose) - int(options.quiet),
            json_lines=options.log_format == "json",
            debug=options.debug,
        )
        if options.print_config:
            console.emit_block(config.as_toml(click.get_current_context()))
            return 0
        names = {entry.name for entry in dataclasses.fields(_Console)}
        return function(**{name: value for name, value in params.items() if name not in names})

    return wrapper


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
    names = {"quiet", "verbose", "debug", "log_format"} & ctx.params.keys()
    shown = {name: ctx.params[name] for name in names}
    # The group's context is the parent: a value of the running command's configuration file may
    # have the other command's name as its key.
    return group.invoke(command, **shown, **params)
