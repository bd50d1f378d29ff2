"""Where the options of many caches agree, and a table of where they differ."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipeline.inspect.report import Report, short
from pipeline.shell.words import counted, options_text, table_text

_VERSIONS = "versions."


def add_options(report: Report, caches: Sequence[Report], kind: str, facts: dict[str, Any]) -> None:
    """Add what caches of one kind were made with: what they share once, the rest as a table.

    Parameters
    ----------
    report : Report
        Of the folder.
    caches : sequence of Report
        Each with the facts ``parameters``, ``weights`` and ``versions``.
    kind : str
        What to call them.
    facts : dict
        Receives ``common`` and ``groups``.
    """
    flat = [dict(_leaves(cache.facts)) for cache in caches]
    names = list(dict.fromkeys(name for each in flat for name in each))
    differing = [name for name in names if len({each.get(name) for each in flat}) > 1]
    common = {name: flat[0][name] for name in names if name not in differing}
    groups: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for cache, each in zip(caches, flat, strict=True):
        groups[tuple(each.get(name, "none") for name in differing)].append(cache.path)
    facts["common"] = common
    facts["groups"] = [
        {**dict(zip(differing, key, strict=True)), "count": len(paths), "example": paths[0]}
        for key, paths in groups.items()
    ]
    report.add("", options_text(_nested(common)))
    if not differing:
        return
    rows = sorted(groups.items(), key=lambda item: -len(item[1]))
    header = ["caches", *(_column(name) for name in differing), "e.g."]
    body = [[str(len(paths)), *key, paths[0]] for key, paths in rows]
    report.add("", f"they differ:\n{table_text([header, *body], left=[len(header) - 1])}")
    mixed = [_column(name) for name in differing if not name.startswith(_VERSIONS)]
    if mixed:
        report.warnings.append(
            f"{counted(len(caches), kind)} made in {len(rows)} ways ({', '.join(mixed)}): later "
            "stages refuse such a mixture"
        )


def _leaves(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield dotted names and texts of a cache's options, weights and versions."""
    for group in ("parameters", "weights", "versions"):
        yield from _flat(facts[group], f"{group}.")


def _flat(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            text = options_text({"": value}).strip()
            yield f"{prefix}{name}", short(text) if prefix == "weights." else text


def _nested(common: Mapping[str, str]) -> dict[str, Any]:
    """Turn dotted names back into groups, parameters without a group of their own."""
    found: dict[str, Any] = {}
    for name, value in common.items():
        group, _, rest = name.removeprefix("parameters.").rpartition(".")
        if group:
            found.setdefault(group, {})[rest] = value
        else:
            found[rest] = value
    return found


def _column(name: str) -> str:
    """Return an option's name as a column's header."""
    group, _, last = name.rpartition(".")
    told = last.replace("_", " ")
    return f"{group} {told}" if group in ("weights", "versions") else told
