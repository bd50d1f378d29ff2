"""What is known about one path, as text for people and as JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.shell.words import counted, finite, printable

_LABEL_WIDTH = 12
_DIGEST_SHOWN = 12


@dataclass
class Report:
    """One path.

    Attributes
    ----------
    path : str
        As the user gave it, or below the folder that the user gave.
    kind : str
        What it is, in words: ``"video"``, ``"flow cache"``, …
    state : str
        Its state, in a word: ``"complete"``.
    brief : str
        Its content, in half a line.
    facts : dict
        Everything, under names that programs can rely on; the JSON document.
    rows : list of (label, text)
        The same for people; a text may have several lines, and a label may be empty.
    warnings : list of str
        What is odd but usable.
    problems : list of str
        What is broken or cannot be trusted; any makes the exit code 1.
    files : list of Report
        The files of a folder.
    listed : bool
        Whether all files are shown; otherwise those with problems are.
    """

    path: str
    kind: str
    state: str = ""
    brief: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    rows: list[tuple[str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    files: list[Report] = field(default_factory=list)
    listed: bool = False

    @property
    def shown_files(self) -> list[Report]:
        """Files that are shown one by one."""
        return [file for file in self.files if self.listed or file.all_problems]

    @property
    def all_problems(self) -> list[tuple[str, str]]:
        """(path, problem) of this path and of the files below it."""
        own = [(self.path, problem) for problem in self.problems]
        return own + [each for file in self.files for each in file.all_problems]

    def add(self, label: str, text: str) -> None:
        """Add a row for people."""
        self.rows.append((label, text))

    def line(self) -> str:
        """Return everything in one line."""
        if self.problems:
            return printable(f"{self.path}: {self.kind}: {'; '.join(self.problems)}")
        odd = "".join(f"; warning: {warning}" for warning in self.warnings)
        content = ", ".join(filter(None, (self.kind, self.state, self.brief)))
        return printable(f"{self.path}: {content}{odd}")

    def text(self) -> str:
        """Return everything in full, indented below the path."""
        if self.problems and not self.rows:
            return self.line()
        lines = [printable(f"{self.path}: {', '.join(filter(None, (self.kind, self.state)))}")]
        rows = [*self.rows, *(("warning", printable(each)) for each in self.warnings)]
        rows += [("PROBLEM", printable(each)) for each in self.problems]
        for label, text in rows:
            for number, part in enumerate(text.split("\n")):
                lines.append(f"  {label if number == 0 else '':{_LABEL_WIDTH}} {part}".rstrip())
        if shown := self.shown_files:
            lines.append("  files" if self.listed else f"  {counted(len(shown), 'problem')}")
        lines += [f"    {file.line()}" for file in shown]
        return "\n".join(lines)

    def as_json(self) -> dict[str, Any]:
        """Return the JSON object of this path; numbers that are not finite become null."""
        content = {
            "path": self.path,
            "kind": self.kind,
            **self.facts,
            "warnings": self.warnings,
            "problems": self.problems,
        }
        if self.shown_files:
            content["files"] = [file.as_json() for file in self.shown_files]
        result: dict[str, Any] = finite(content)
        return result


def failure(shown: str, path: Path, kind: str, error: Exception) -> Report:
    """Return the report of something that cannot be read."""
    return Report(shown, f"unusable {kind}", problems=[without_path(str(error), path)])


def without_path(message: str, path: str | Path) -> str:
    """Return a message without the path that it begins with, which the report names itself."""
    rest = message.removeprefix(str(path))
    return rest.lstrip(":, ") if rest[:1] in (":", ",", " ") else message


def document(reports: Iterable[Report]) -> str:
    """Return one JSON document for all paths: a list with an object for each."""
    return json.dumps([each.as_json() for each in reports], indent=2)


def short(digest: str) -> str:
    """Return the first characters of a digest, enough to compare by eye."""
    return digest[:_DIGEST_SHOWN] or "none"
