"""Flags are derived from option dataclasses and configuration files."""

from __future__ import annotations

import dataclasses
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import click
import pytest
from click.testing import CliRunner

from data.errors import InputError
from pipeline.cli import cli
from pipeline.shell.common import common_options
from pipeline.shell.flags import build, dataclass_options, explicit_flags, shared


@dataclass(frozen=True)
class Sample:
    """One field of every kind that the flags understand."""

    count: int = field(default=3, metadata={"help": "How many.", "source": "ours", "min": 1})
    step: float = 0.25
    lam: float = field(default=0.15, metadata={"flag": "--lambda"})
    fold: bool = True
    mode: Literal["dense", "segments"] = "segments"
    side: int | None = None
    name: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.step <= 0:
            raise ValueError(f"step must be positive, found {self.step}")


def sample_command(seen: list[Any]) -> click.Command:
    @click.command("demo")
    @click.argument("videos", nargs=-1, required=True)
    @dataclass_options(Sample)
    @common_options("output", "seed")
    def command(videos: tuple[str, ...], output: Path, seed: int, **params: Any) -> None:
        seen.append((videos, output, seed, build(Sample, params)))

    return command


def run(*args: str) -> tuple[Any, list[Any]]:
    seen: list[Any] = []
    group = click.Group(commands=[sample_command(seen), click.Command("evaluate")])
    result = CliRunner().invoke(group, ["demo", *args])
    return result, seen


def test_defaults_come_from_the_dataclass_alone() -> None:
    """A default written a second time in the flags would make the two drift apart."""
    result, seen = run("v", "-o", "out")
    assert result.exit_code == 0, result.output
    assert seen[0][3] == Sample()


def test_every_kind_of_field_is_a_flag() -> None:
    """A field that no flag reaches would be an option that does nothing."""
    args = "--count 5 --step .5 --lambda 2 --no-fold --mode dense --side 7 --name a --name b"
    _, seen = run("v", "-o", "out", *args.split())
    expected = Sample(5, 0.5, 2.0, False, "dense", 7, ("a", "b"))
    assert seen[0][3] == expected


@dataclass(frozen=True, kw_only=True)
class Nested:
    """What commands compose: own fields, shared ones, and a dataclass of others."""

    source: Path = field(metadata={"short": "-s"})
    fast: bool = field(default=False, metadata={"switch": True})
    kind: str = field(default="a", metadata={"choices": ("a", "b")})
    device: str = shared("device", help="Where.")
    sample: Sample = field(default_factory=Sample)
    hidden: int = 7


def nested_command(built: list[Nested]) -> click.Command:
    @click.command("demo")
    @dataclass_options(Nested)
    @common_options("seed")
    def command(**params: Any) -> None:
        del params["hidden"]  # A field without a flag.
        built.append(build(Nested, params))

    return command


def test_nested_shared_and_required_fields_are_flags() -> None:
    """A command that composes its options would lose some, or repeat their declaration."""
    built: list[Nested] = []
    command = nested_command(built)
    arguments = ["-s", "x", "--fast", "--kind", "b", "--device", "cpu", "--count", "5"]
    assert CliRunner().invoke(command, arguments).exit_code == 0
    assert built == [
        Nested(source=Path("x"), fast=True, kind="b", device="cpu", sample=Sample(count=5))
    ]
    assert CliRunner().invoke(command, []).exit_code == 2  # --source is required
    assert CliRunner().invoke(command, ["-s", "x", "--no-fast"]).exit_code == 2
    assert CliRunner().invoke(command, ["-s", "x", "--kind", "c"]).exit_code == 2
    text = CliRunner().invoke(command, ["--help"]).output
    assert "Where." in text
    assert "Seed of every random draw." in text


def test_explicit_flags_are_those_of_the_command_line(tmp_path: Path) -> None:
    """A preset that overrides what the user typed, or a refusal of what only a file sets."""
    path = tmp_path / "c.toml"
    path.write_text("count = 9\n")
    names: list[set[str]] = []

    @click.command("demo")
    @dataclass_options(Sample)
    @common_options()
    @click.pass_context
    def command(ctx: click.Context, /, **params: Any) -> None:
        names.extend([explicit_flags(ctx), explicit_flags(ctx, config_file=True)])

    assert CliRunner().invoke(command, ["--config", str(path), "--step", "1"]).exit_code == 0
    assert "count" not in names[0]
    assert "step" in names[0]
    assert {"count", "step"} <= names[1]
    assert "mode" not in names[1]


@pytest.mark.parametrize("args", ["--count 0", "--mode other", "--side x"])
def test_values_out_of_range_are_usage_errors(args: str) -> None:
    """A bad value must be refused before any work starts."""
    result, seen = run("v", "-o", "out", *args.split())
    assert result.exit_code == 2
    assert not seen


def test_the_dataclass_has_the_last_word() -> None:
    """Checks in __post_init__ reach the user as one line, not as a traceback."""
    result, _ = run("v", "-o", "out", "--step", "-1")
    assert isinstance(result.exception, InputError)
    assert "step must be positive" in str(result.exception)


def test_configuration_file_sets_defaults_and_flags_win(tmp_path: Path) -> None:
    """Values in a file must reach the command, and a flag given by hand must beat them."""
    path = tmp_path / "c.toml"
    path.write_text(
        'count = 9\nlambda = 4.0\n[demo]\nmode = "dense"\ncount = 8\n[evaluate]\nx = 1\n'
    )
    _, seen = run("v", "-o", "out", "--config", str(path), "--lambda", "5")
    assert dataclasses.astuple(seen[0][3])[:5] == (8, 0.25, 5.0, True, "dense")


@pytest.mark.parametrize("text", ["cuont = 9", "[demo]\ncuont = 9", "[evalaute]", "count = "])
def test_misspelt_configuration_is_refused(tmp_path: Path, text: str) -> None:
    """A misspelt key that is passed over would silently run with the default."""
    path = tmp_path / "c.toml"
    path.write_text(text)
    result, seen = run("v", "-o", "out", "--config", str(path))
    assert result.exit_code == 2
    assert "c.toml" in result.output
    assert not seen


def test_values_of_a_file_are_checked_like_flags(tmp_path: Path) -> None:
    """Half an epoch would be cut to none without a word."""
    path = tmp_path / "c.toml"
    path.write_text("count = 1.5")
    result, seen = run("v", "-o", "out", "--config", str(path))
    assert result.exit_code == 2
    assert "--count" in result.output
    assert not seen


def test_printed_configuration_can_be_read_back(tmp_path: Path) -> None:
    """What --print-config prints must be a configuration file that gives the same values."""
    args = ("v", "-o", "out", "--count", "5", "--name", 'a"b', "--seed", "11")
    printed, seen = run(*args, "--print-config")
    assert not seen
    assert tomllib.loads(printed.stdout)["demo"]["count"] == 5
    path = tmp_path / "c.toml"
    path.write_text(printed.stdout)
    _, direct = run(*args)
    _, again = run("v", "--config", str(path))
    assert again == direct


def test_no_number_of_any_command_may_be_nan_or_infinite() -> None:
    """Everything computed from it would be nan, hours later."""
    context = click.Context(cli)
    count = 0
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command is not None
        for param in command.params:
            if not isinstance(param.type, click.types.FloatParamType):
                continue
            count += 1
            for value in ("nan", "inf", "-inf", "1e999"):
                with pytest.raises(click.BadParameter):
                    param.type.convert(value, param, None)
    assert count > 20
