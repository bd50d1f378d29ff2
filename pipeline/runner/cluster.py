"""Dask's workers behind joblib: the client, and what becomes of work that kills its workers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from data.errors import InputError

KILLED = (
    "the Dask workers that did it were killed one after the other, most likely for lack of memory; "
    "give them more and run the same command again"
)


@dataclass(frozen=True)
class _Failed:
    """An item whose workers failed it, by its number, and Dask's reason."""

    index: int
    error: BaseException


@contextmanager
def on_cluster(scheduler: str | None, killed: Callable[[int], Any]) -> Iterator[None]:
    """Let joblib use the workers of a scheduler.

    Parameters
    ----------
    scheduler : str
        ``HOST:PORT``.
    killed : function
        Given the number of an item, its first argument, whose workers were killed again and again:
        the answer in its place.

    Raises
    ------
    InputError
        No scheduler is named or answers, or `distributed` is not installed.
    """
    if scheduler is None:
        raise InputError(
            "--backend dask needs --scheduler HOST:PORT (start one with `dask scheduler`)"
        )
    try:
        from distributed import Client
    except ModuleNotFoundError as error:
        raise InputError(
            "--backend dask needs the package `distributed`; install `dexterank[dask]`"
        ) from error
    try:
        client = Client(scheduler, timeout="20s")
    except (OSError, ValueError) as error:
        raise InputError(
            f"--scheduler {scheduler}: no Dask scheduler answers there ({error})"
        ) from error
    levels = _silence()
    with client:
        import joblib

        with joblib.parallel_config(_backend(killed)):
            yield
    for logger, level in levels.items():
        logger.setLevel(level)


def _silence() -> dict[logging.Logger, int]:
    """Silence Dask, whose losses are said in one line by the caller; return the levels of before.

    After an error they stay silent: parts of a client go on for a while, and complain.
    """
    names = [each for each in logging.root.manager.loggerDict if each.startswith("distributed")]
    levels = {
        logger: logger.level
        for logger in map(logging.getLogger, names)
        if logger.level or logger.name == "distributed"
    }
    for logger in levels:
        logger.setLevel(logging.CRITICAL)
    return levels


def _backend(killed: Callable[[int], Any]) -> Any:
    """Return joblib's backend for Dask, which by itself waits for ever for work that Dask gave up.

    It tells joblib of results and of errors within the work, but not where Dask itself gives up
    an item, after it has killed four workers.
    """
    from joblib._dask import DaskDistributedBackend

    class Backend(DaskDistributedBackend):
        def submit(self, func: Any, callback: Any = None) -> Any:
            return _watched(super().submit(func, callback), func, callback)

        def apply_async(self, func: Any, callback: Any = None) -> Any:  # before joblib 1.5
            return _watched(super().apply_async(func, callback), func, callback)

        def retrieve_result_callback(self, out: Any) -> Any:
            if not isinstance(out, _Failed):
                return super().retrieve_result_callback(out)
            if type(out.error).__name__ == "KilledWorker":
                return [killed(out.index)]
            raise out.error

    return Backend()


def _watched(future: Future[Any], func: Any, callback: Any) -> Future[Any]:
    """Tell joblib's callback of an error as well; it ignores what it was told already."""
    if callback is not None:
        future.add_done_callback(partial(_tell, func.items[0][1][0], callback))
    return future


def _tell(index: int, callback: Any, future: Future[Any]) -> None:
    if not future.cancelled() and (error := future.exception()) is not None:
        callback(_Failed(index, error))
