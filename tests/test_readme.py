"""The README's commands are commands that exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from pipeline.cli import cli

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^ *(?:.*\.venv/bin/)?pipeline ([a-z].*)$", README, re.MULTILINE)
REPOSITORY_FILES = re.findall(r"`(?:python )?((?:benchmarks|model)/[\w/.]+)", README)


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_is_understood(line: str, tmp_path: Path) -> None:
    """A README whose commands misspell a flag stops a new user at the first try."""
    (tmp_path / "mine.toml").write_text("")
    words = shlex.split(line.partition(">")[0].replace("mine.toml", str(tmp_path / "mine.toml")))
    result = CliRunner().invoke(cli, [*words, "--print-config"])
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("path", REPOSITORY_FILES)
def test_every_file_it_names_is_there(path: str) -> None:
    """A link to a file that has moved leads nowhere."""
    assert (Path(__file__).parent.parent / path).exists()


def test_the_commands_were_found() -> None:
    """A change of the README's form must not empty the tests above."""
    assert len(COMMANDS) >= 8
    assert len(REPOSITORY_FILES) >= 3
