"""Configuration files: TOML in, TOML out, with the flags' own names as keys."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import click

# Flags of a single call, which `--print-config` leaves out.
_NOT_CONFIGURED = {"config", "print_config", "help", "dry_run", "debug", "quiet", "verbose"}


def load(ctx: click.Context, param: click.Parameter, path: Path | None) -> Path | None:
    """Take the defaults of a command's flags from a TOML file (callback of `--config`).

    Keys may stand at the top level or in a table named after the command; a key in the table
    wins. The tables of other commands are ignored.
    """
    if path is None:
        return None
    entries = _read(path)
    command = ctx.info_name or ""
    own = entries.pop(command, {})
    if not isinstance(own, dict):
        raise click.UsageError(f"{path}: [{command}] must be a table, found {own!r}")
    others = _commands(ctx)  # `report` is a flag as well, but then its value is no table.
    values = {
        key: value
        for key, value in entries.items()
        if not (key in others and isinstance(value, dict))
    } | own
    names = {_key(each): each.name for each in ctx.command.params}
    single = {_key(each) for each in ctx.command.params if not each.multiple and each.nargs == 1}
    for key, value in values.items():
        if isinstance(value, (list, dict)) and key in single:
            kind = "a list" if isinstance(value, list) else "a table"
            raise click.UsageError(f"{path}: {key} takes one value, found {kind}")
        if key not in names:
            raise click.UsageError(
                f"{path}: unknown key {key!r} for `{command}`; "
                f"see `pipeline {command} --print-config`"
            )
    ctx.default_map = {str(names[key]): _as_typed(value) for key, value in values.items()}
    return path


def as_toml(ctx: click.Context) -> str:
    """Return the values of a command as a TOML table; flags without a value are comments."""
    lines = [f"[{ctx.info_name}]"]
    for param in ctx.command.params:
        if param.name in _NOT_CONFIGURED or not isinstance(param, click.Option):
            continue
        value = ctx.params.get(str(param.name))
        if value is None or value == ():
            lines.append(f"# {_key(param)} =")
        else:
            lines.append(f"{_key(param)} = {_toml_value(value)}")
    return "\n".join(lines)


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise click.UsageError(f"{path}: not a TOML file: {error}") from error


def _as_typed(value: Any) -> Any:
    """Return a value as text, as on a command line, so that the flag's own checks apply."""
    if isinstance(value, list):
        return [str(each) for each in value]
    return value if isinstance(value, bool) else str(value)


def _key(param: click.Parameter) -> str:
    """Return the longest flag of a parameter without its dashes: `stack-length`."""
    return max(param.opts, key=len).lstrip("-")


def _commands(ctx: click.Context) -> list[str]:
    """Return the names of all commands of the group that this command belongs to."""
    group = ctx.parent.command if ctx.parent is not None else None
    return group.list_commands(ctx) if isinstance(group, click.Group) else []


def _toml_value(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_toml_value(each) for each in value) + "]"
    if isinstance(value, Path):
        value = str(value)
    # JSON's strings, booleans and numbers are TOML's as well.
    return json.dumps(value, ensure_ascii=False)
