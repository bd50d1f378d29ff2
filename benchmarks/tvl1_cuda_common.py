"""What the parts of benchmarks/gpu.py share: sizes, timing, tables, a report that lasts."""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from model.tvl1.cuda.layout import Shape

INTERPRET = "--interpret" in sys.argv
DEVICE = "cpu" if INTERPRET else "cuda"
BOUND = 20.0
# The target at 340x256 on an H200-class device, pairs per second.
TARGET, AIM = 1000, 2500


@dataclass(frozen=True)
class Sizes:
    """How much is measured: all of it, or a smoke test's worth."""

    height: int = 256
    width: int = 340
    large: tuple[int, int] = (480, 640)
    pairs: int = 6
    batches: tuple[int, ...] = (1, 16, 32, 64, 132, 264, 512)
    stream: int = 1056
    shapes: tuple[Shape, ...] = (
        *(Shape(warps, stages) for warps in (8, 16, 32) for stages in (1, 2, 3, 4)),
        *(Shape(8, 2, 128), Shape(8, 2, 80), Shape(8, 3, 128), Shape(16, 2, 64)),
    )
    iterations: int = 60
    repeats: int = 5
    copy_bytes: int = 1 << 30


SMOKE = Sizes(18, 20, (20, 24), 2, (1, 2), 3, (Shape(16, 1), Shape(16, 2)), 4, 1, 1 << 20)


@dataclass
class Report:
    """Results of the sections, in a file as soon as each is there.

    A section that fails says so and does not stop the next; what has not begun when the time is
    over is left out.
    """

    path: Path | None = None
    seconds: float | None = None
    only: Sequence[str] | None = None
    results: dict[str, Any] = field(default_factory=dict)
    _began: float = field(default_factory=time.monotonic)

    def section(self, name: str, run: Callable[[], Any]) -> Any:
        """Run one section; return its result, or None where it failed or was left out."""
        if self.only is not None and name not in self.only:
            return None
        spent = time.monotonic() - self._began
        if self.seconds is not None and spent > self.seconds:
            print(f"\n{name}: left out after {spent:.0f} s")
            self.results[name] = {"left_out": f"after {spent:.0f} s"}
        else:
            try:
                self.results[name] = run()
            except Exception as error:  # Out of memory, a compiler's, a driver's: any.
                message = (str(error).splitlines() or [""])[0]
                print(f"\n{name}: FAILED: {type(error).__name__}: {message}")
                self.results[name] = {"failed": traceback.format_exc()}
        self.results.setdefault("seconds", {})[name] = time.monotonic() - self._began - spent
        self._write()
        sys.stdout.flush()
        failed = isinstance(self.results[name], dict) and {"failed", "left_out"} & set(
            self.results[name]
        )
        return None if failed else self.results[name]

    def _write(self) -> None:
        if self.path is not None:
            temporary = self.path.with_suffix(".part")
            temporary.write_text(json.dumps(self.results, indent=1))
            os.replace(temporary, self.path)

    @property
    def passed(self) -> bool:
        """Whether no section failed and every check in them passed."""
        sections = [result for result in self.results.values() if isinstance(result, dict)]
        return all("failed" not in r and r.get("passed", True) for r in sections)


def synchronise() -> None:
    """Wait for the device."""
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def seconds(run: Callable[[], Any], repeats: int) -> float:
    """Return the median wall-clock time of a call, after one that warms up and compiles."""
    if not INTERPRET:
        run()
    times = []
    for _ in range(repeats):
        synchronise()
        begin = time.perf_counter()
        run()
        synchronise()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def table(title: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table with aligned columns."""
    print(f"\n{title}")
    lines = [[str(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    for line in lines:
        print("  " + "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)))
    sys.stdout.flush()
