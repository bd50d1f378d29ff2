"""Configuration files: TOML in, TOML out, with the flags' own names as keys."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import click

# Flags about a single run, which no configuration file should carry on.
_NOT_CONFIGURED = {"config", "print_config", "help", "dry_run", "debug", "quiet", "verbose"}


def load(ctx: click.Context, param: click.Parameter, path: Path | None) -> Path | None:
    """Take the defaults of a command's flags from a TOML file (callback of `--config`).

    Keys may stand at the top level or in a table named after the command; a key in the table
    wins. A top-level key that only another command knows is passed over.
    """
    if path is None:
        return None
    table = _read(path)
    name = ctx.info_name or ""
    known = {_key(each): each for each in ctx.command.params if each.name is not None}
    own = table.pop(name, {})
    if not isinstance(own, dict):
        raise click.UsageError(f"{path}: [{name}] must be a table, found {own!r}")
    values = {
        key: value for key, value in table.items() if key in known and not _is_table(key, value)
    } | own
    unknown = [key for key in own if key not in known]
    unknown += [key for key, value in table.items() if not _belongs(key, value, known)]
    if unknown:
        raise click.UsageError(
            f"{path}: unknown key {unknown[0]!r} for `{name}`; see `pipeline {name} --print-config`"
        )
    ctx.default_map = {str(known[key].name): value for key, value in values.items()}
    return path


def as_toml(ctx: click.Context) -> str:
    """Return the values that a command was given or defaults to, as a TOML table.

    Arguments and values that are not set stand as comments.
    """
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
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise click.UsageError(f"{path}: not a TOML file: {error}") from error


def _key(param: click.Parameter) -> str:
    """Return the longest flag of a parameter without its dashes: `stack-length`."""
    return max(param.opts, key=len).lstrip("-")


def _belongs(key: str, value: Any, known: dict[str, click.Parameter]) -> bool:
    """Tell whether a top-level entry is this command's, or another command's whole table."""
    return key in known or _is_table(key, value)


def _is_table(key: str, value: Any) -> bool:
    """Tell whether a top-level entry is a command's table (`report` is a flag as well)."""
    from pipeline.cli import COMMANDS

    return isinstance(value, dict) and key in COMMANDS


def _toml_value(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_toml_value(each) for each in value) + "]"
    if isinstance(value, Path):
        value = str(value)
    # JSON's strings, booleans and numbers are TOML's as well.
    return json.dumps(value, ensure_ascii=False)
