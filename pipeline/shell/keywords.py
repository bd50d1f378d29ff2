"""Python keywords, derived from option dataclasses: names, checks and help are those of the flags.

`--stack-length` is `stack_length`; a flag that Python keeps for itself gets an underscore,
`--lambda` is `lambda_`.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import inspect
import textwrap
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from data.errors import InputError
from pipeline.shell.flags import build, click_type, option_fields

T = TypeVar("T")
Function = TypeVar("Function", bound=Callable[..., Any])
Fields = dict[str, tuple["dataclasses.Field[Any]", Any]]


def keywords(*classes: type) -> Fields:
    """Return the fields of option dataclasses and their types, by the keyword of each."""
    entries: Fields = {}
    for cls in classes:
        for entry, hint in option_fields(cls):
            flag = entry.metadata.get("flag", entry.name)
            word = flag.lstrip("-").replace("-", "_")
            entries.setdefault(f"{word}_" if word == "lambda" else word, (entry, hint))
    return entries


def from_keywords(cls: type[T], options: Mapping[str, Any], **given: Any) -> T:
    """Build an option dataclass from keywords; those of other dataclasses are passed over.

    Parameters
    ----------
    cls : type
    options : mapping
        Values by keyword.
    **given
        Values by field, which no keyword sets.

    Raises
    ------
    InputError
        A value that the flag would refuse.
    """
    values = {
        entry.name: _checked(word, entry, hint, options[word])
        for word, (entry, hint) in keywords(cls).items()
        if word in options
    }
    return build(cls, values | given)


def explicit_fields(cls: type, options: Mapping[str, Any]) -> set[str]:
    """Return the names of the fields that keywords set."""
    return {entry.name for word, (entry, _) in keywords(cls).items() if word in options}


def takes(*classes: type, without: Collection[str] = ()) -> Callable[[Function], Function]:
    """Return a decorator for a function whose `**options` are the fields of option dataclasses.

    Its signature and docstring show them, and an unknown keyword is refused before anything is
    done. Fields that the function takes by a parameter of its own, and those named in `without`,
    are no keywords.
    """

    def decorate(function: Function) -> Function:
        signature = inspect.signature(function)
        own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
        entries = keywords(*classes)
        for name in (*(each.name for each in own), *without):
            entries.pop(name, None)
        known = {*entries, *(each.name for each in own)}

        @functools.wraps(function)
        def checked(*args: Any, **options: Any) -> Any:
            _refuse_unknown(function.__name__, options, known)
            return function(*args, **options)

        shown = [
            inspect.Parameter(word, inspect.Parameter.KEYWORD_ONLY, default=_default(entry))
            for word, (entry, _) in entries.items()
        ]
        checked.__signature__ = signature.replace(  # type: ignore[attr-defined]
            parameters=[*own, *shown]
        )
        checked.__doc__ = f"{inspect.cleandoc(function.__doc__ or '')}\n\n{_described(entries)}"
        return checked  # type: ignore[return-value]

    return decorate


def _checked(word: str, entry: dataclasses.Field[Any], hint: Any, value: Any) -> Any:
    """Return a value as the flag would give it."""
    if hint is bool:
        if not isinstance(value, bool):
            raise InputError(f"{word}: expected True or False, got {value!r}")
        return value
    if value is None:
        if entry.default is None:
            return None
        raise InputError(f"{word}: expected a value, got None; leave it out for the default")
    kind, multiple = click_type(hint, entry.metadata)
    several = value if multiple and not isinstance(value, str | Path) else [value]
    try:
        values = [kind.convert(str(each), None, None) for each in several]
    except click.UsageError as error:
        raise InputError(f"{word}: {error.message}") from error
    return tuple(values) if multiple else values[0]


def _default(entry: dataclasses.Field[Any]) -> Any:
    if entry.default_factory is not dataclasses.MISSING:
        return entry.default_factory()
    missing = entry.default is dataclasses.MISSING
    return inspect.Parameter.empty if missing else entry.default


def _refuse_unknown(function: str, options: Mapping[str, Any], known: Collection[str]) -> None:
    for word in options:
        if word not in known:
            near = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
            hint = f"; did you mean {near[0]!r}?" if near else f"; see help(pipeline.{function})"
            raise TypeError(f"{function}() has no option {word!r}{hint}")


def _described(entries: Fields) -> str:
    """Return the options as a section of a docstring, with the help of their flags."""
    lines = ["Other Parameters", "----------------"]
    for word, (entry, _) in entries.items():
        text = entry.metadata.get("help", "")
        lines += [word, *textwrap.wrap(text, 95, initial_indent="    ", subsequent_indent="    ")]
    return "\n".join(lines)
