"""What the user sees: log lines and progress on stderr, results on stdout."""

from __future__ import annotations

import io
import json
import logging
import sys
import threading
import time
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, TextIO

import click

from data.errors import system_reason
from pipeline.shell.words import printable

log = logging.getLogger("pipeline")

# Without a terminal, a bar would fill a log file: one line in this many seconds.
LOG_FILE_INTERVAL_S = 30.0
_SLOW_S = 3.0
_BAR_LOCK = threading.RLock()


@dataclass
class _Settings:
    level: int = logging.INFO
    json_lines: bool = False
    debug: bool = False
    results_lost: bool = False


_settings = _Settings()


class _StderrHandler(logging.Handler):
    """Write records to the current stderr, above any progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            _write_line(self.format(record))
        except Exception:
            self.handleError(record)


class _JsonFormatter(logging.Formatter):
    """One JSON object a line, for log collectors."""

    def format(self, record: logging.LogRecord) -> str:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(record.created))
        entry = {"time": moment, "level": record.levelname.lower(), "message": record.getMessage()}
        return json.dumps(entry)


class _TextFormatter(logging.Formatter):
    """The message in one line, after its level if it is a warning or worse."""

    def format(self, record: logging.LogRecord) -> str:
        message = printable(record.getMessage())
        if record.levelno >= logging.WARNING:
            return f"{record.levelname.lower()}: {message}"
        return message


def configure(verbosity: int = 0, json_lines: bool = False, debug: bool = False) -> None:
    """Set what is shown.

    Parameters
    ----------
    verbosity : int
        Negative shows errors and warnings only, 0 the usual lines, positive everything.
    json_lines : bool
        Log as one JSON object a line; also turns the progress bars off.
    debug : bool
        Show tracebacks.
    """
    level = logging.DEBUG if verbosity > 0 or debug else logging.INFO
    _settings.level = logging.WARNING if verbosity < 0 else level
    _settings.json_lines = json_lines
    _settings.debug = debug
    handler = _StderrHandler()
    handler.setFormatter(_JsonFormatter() if json_lines else _TextFormatter())
    log.handlers[:] = [handler]
    log.setLevel(_settings.level)
    log.propagate = False


def fail(message: str) -> None:
    """Show one error line; under `--debug` also the current traceback."""
    if not log.handlers:
        configure()
    if _settings.debug and sys.exc_info()[0] is not None:
        _write_line(traceback.format_exc().rstrip())
    log.error(message)


def show(error: click.ClickException) -> None:
    """Show an error of the command line itself, with the usage."""
    text = io.StringIO()
    error.show(text)
    _write_line(text.getvalue().rstrip("\n"))


def fail_unexpectedly(error: Exception) -> None:
    """Show an unexpected error, and how to get its traceback."""
    hint = "" if _settings.debug else " (run again with --debug for the traceback)"
    fail(f"unexpected {type(error).__name__}: {error}{hint}")


def emit(line: str = "") -> None:
    """Write a line of the command's result to stdout; control characters in it are escaped."""
    emit_block(printable(line))


def emit_block(text: str) -> None:
    """Write several lines of the command's result to stdout; names in them must be `printable`.

    Where that fails the work goes on; `results_lost` says so in the end.
    """
    if _settings.results_lost:
        return
    try:
        click.echo(_encodable(text, sys.stdout))
    except BrokenPipeError:
        raise
    except OSError as error:
        _settings.results_lost = True
        log.warning("results cannot be written to standard output (%s)", system_reason(error))


def results_lost() -> bool:
    """Whether some lines could not be written to stdout."""
    return _settings.results_lost


def progress(
    iterable: Iterable[Any] | None = None,
    *,
    total: int | None = None,
    desc: str = "",
    unit: str = "it",
) -> Any:
    """Return a tqdm bar on stderr with an ETA; silent under `-q` and JSON logs."""
    from tqdm import tqdm

    # Its own lock is a semaphore of the system's, which a worker that is killed would leave behind.
    tqdm.set_lock(_BAR_LOCK)
    terminal = sys.stderr is not None and sys.stderr.isatty()
    return tqdm(
        iterable,
        total=total,
        desc=printable(desc),
        unit=unit,
        file=_Lenient(sys.stderr),
        disable=_settings.level > logging.INFO or _settings.json_lines or sys.stderr is None,
        mininterval=0.1 if terminal else LOG_FILE_INTERVAL_S,
        maxinterval=10.0 if terminal else LOG_FILE_INTERVAL_S,
        dynamic_ncols=terminal,
        leave=terminal,
    )


@contextmanager
def log_if_slow(message: str) -> Iterator[None]:
    """Log a line, but only if the block takes so long that it looks like a hang."""
    timer = threading.Timer(_SLOW_S, log.info, (message,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


class _Lenient:
    """A stream, such as stderr on a full disk, whose failed writes stop nobody's work."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with suppress(OSError, ValueError, AttributeError):
            self._stream.write(text)  # type: ignore[union-attr]

    def flush(self) -> None:
        with suppress(OSError, ValueError, AttributeError):
            self._stream.flush()  # type: ignore[union-attr]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __eq__(self, other: object) -> bool:
        """Whether both are the same stream: tqdm clears a bar before it writes to its stream."""
        return isinstance(other, _Lenient) and other._stream is self._stream

    __hash__ = object.__hash__


def _write_line(text: str) -> None:
    if sys.stderr is None:  # Closed by the caller of the program.
        return
    text = _encodable(text, sys.stderr)
    tqdm_module = sys.modules.get("tqdm")
    with suppress(OSError):  # The log's disk is full: the work goes on.
        if tqdm_module is None:
            click.echo(text, err=True)
        else:  # A bar may be on screen: tqdm writes above it.
            tqdm_module.tqdm.write(text, file=_Lenient(sys.stderr))


def _encodable(text: str, stream: TextIO | None) -> str:
    """Escape what the stream's encoding lacks, and control characters other than newlines."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    text = printable(text, keep="\n\t")
    return text.encode(encoding, "backslashreplace").decode(encoding)
