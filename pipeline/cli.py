"""The command line: one group whose commands are imported only when they are used."""

from __future__ import annotations

import copy
import importlib
import os
import re
import sys
from collections.abc import Sequence
from typing import Any

import click

from data.errors import InputError, system_line
from pipeline.runner.signals import leave, leave_on_signals
from pipeline.shell import console

EXIT_FAILURES = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130

#: Command -> line of `pipeline --help`; `pipeline x-y` is `pipeline/x_y/command.py`.
COMMANDS = {
    "demo": "Everything end to end on a synthetic set, in a minute or two.",
    "judge": "Write a page on which experts compare videos, and that exports pairs.csv.",
    "extract-flow": "Stage 1a: videos to TV-L1 optical flow caches.",
    "extract-features": "Stage 1b: videos and flow to feature caches (two ResNet101s and "
    "ConvFusion).",
    "import-features": "Features of other extractors (.npy, .npz, HDF5) to feature caches.",
    "fit-fusion": "Learn ConvFusion on training pairs, then freeze it.",
    "train-ranker": "Stage 2: train the ranker on cached features.",
    "score": "Score new videos with a trained run, in one command.",
    "explain": "Show where in the frame a trained run looked.",
    "evaluate": "Cross-validate variants into a table like the paper's.",
    "report": "Write one self-contained HTML page about a run.",
    "inspect": "Show what is in videos, caches, runs and pair lists.",
}


class LazyGroup(click.Group):
    """A group that imports a command's module when the command is used, and maps errors to codes.

    Exit codes: 0 done, 1 finished with failures or an unexpected error, 2 wrong usage or
    unusable input, 130 interrupted.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands in the order in which they are used."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        if cmd_name not in COMMANDS:
            return super().get_command(ctx, cmd_name)
        module = importlib.import_module(f"pipeline.{cmd_name.replace('-', '_')}.command")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing any of them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; `--print-config` needs no arguments."""
        name, command, rest = super().resolve_command(ctx, args)
        if command is not None and "--print-config" in rest:
            command = _with_everything_optional(command)
        return name, command, rest

    def main(  # type: ignore[override]
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        **extra: Any,
    ) -> None:
        """Run, print every failure as one line, and exit with the right code."""
        extra.pop("standalone_mode", None)
        try:
            code = super().main(args, prog_name or "pipeline", standalone_mode=False, **extra)
        except click.ClickException as error:
            console.show(error)
            code = EXIT_USAGE
        except InputError as error:
            console.fail(str(error))
            code = EXIT_USAGE
        except click.Abort as error:
            if isinstance(error.__cause__, EOFError):  # Click takes it for the end of a dialogue.
                console.fail_unexpectedly(error.__cause__)
                code = EXIT_FAILURES
            else:
                code = _fail_interrupted()
        except KeyboardInterrupt:
            code = _fail_interrupted()
        except ImportError as error:
            code = _fail_to_load(error)
        except BrokenPipeError:
            # The reader of stdout has gone (`| head`); keep Python from complaining at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = EXIT_FAILURES
        except (OSError, MemoryError) as error:
            console.fail(system_line(error))
            code = EXIT_USAGE
        except Exception as error:
            console.fail_unexpectedly(error)
            code = EXIT_FAILURES
        code = code if isinstance(code, int) else 0
        sys.exit(max(code, EXIT_FAILURES) if console.results_lost() else code)


def _fail_interrupted() -> int:
    console.fail("interrupted; finished files are whole, run the same command to go on")
    return EXIT_INTERRUPTED


def _fail_to_load(error: ImportError) -> int:
    """Report a library that cannot be loaded; return the exit code."""
    if re.search(r"lib(GL|gthread|glib)\b", str(error)):
        console.fail(
            f"OpenCV cannot be loaded ({error}); install the library (Debian, Ubuntu: apt-get "
            "install libgl1 libglib2.0-0), or replace opencv-contrib-python by "
            "opencv-contrib-python-headless, which needs none"
        )
        return EXIT_USAGE
    if (error.name or "").partition(".")[0] in ("pipeline", "model", "data"):
        console.fail_unexpectedly(error)
        return EXIT_FAILURES
    console.fail(f"a library cannot be loaded ({error}); install this program's libraries again")
    return EXIT_USAGE


def _with_everything_optional(command: click.Command) -> click.Command:
    """Return a copy of `command` that `--print-config` can parse without its arguments."""
    clone = copy.copy(command)
    clone.params = [copy.copy(param) for param in command.params]
    for param in clone.params:
        param.required = False
    return clone


EPILOG = """\b
Examples:
  pipeline demo -o demo/
  pipeline extract-flow videos/ -o flow/
  pipeline extract-features videos/ --flow flow/ -o features/
  pipeline train-ranker --features features/ --pairs pairs.csv -o run/
"""


@click.group(cls=LazyGroup, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="dexterank", prog_name="pipeline")
def cli() -> None:
    """Judge manual skill from video: a score, a ranking, and where the model looked.

    Stage one caches TV-L1 optical flow and frozen two-stream features of every video; stage two
    trains a small attention ranker on them from judgements of the form "A is better than B".
    """


def _fill_closed_streams() -> None:
    """Open the null device where a standard stream is closed.

    Otherwise the next file that is opened, a cache perhaps, gets its number, and libraries write
    their messages into it.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # It gets the lowest number that is free: this one.


def _start_in_utf8() -> None:
    """Start again in Python's UTF-8 mode where the locale cannot express every file name.

    Caches, lists and records name files in UTF-8; under an ASCII locale such a name is not found.
    Output stays in the encoding of the terminal.
    """
    if sys.getfilesystemencoding() == "utf-8" or os.name == "nt":
        return
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    os.environ.setdefault("PYTHONIOENCODING", f"{encoding}:backslashreplace")
    os.environ["PYTHONUTF8"] = "1"
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def main() -> None:
    """Entry point of the `pipeline` command."""
    _fill_closed_streams()
    _start_in_utf8()
    leave_on_signals()
    try:
        cli.main()
    except SystemExit as end:
        leave(end.code if isinstance(end.code, int) else EXIT_FAILURES)


if __name__ == "__main__":
    main()
