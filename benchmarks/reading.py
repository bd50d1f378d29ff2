"""How many files a reader of a command opens, and how often the reader returns to one.

    python benchmarks/reading.py extract-flow videos/ -o flow/ -j 1

runs the command and follows each function of this project at its first call, as a reader does.
*Files* are the entered ones of pipeline, model and data; a *return* is a step to another file that
was opened before. Modules that are only imported do not count.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import CodeType, FrameType

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

PACKAGES = ("pipeline", "model", "data")


class Walk:
    """The files of the functions that are called for the first time, in their order."""

    def __init__(self) -> None:
        self.codes: set[CodeType] = set()
        self.files: list[str] = []
        self.returns = 0

    def follow(self, frame: FrameType, event: str, argument: object) -> None:
        """Note a call (a function for `sys.setprofile`)."""
        code = frame.f_code
        if event != "call" or code in self.codes or code.co_name == "<module>":
            return
        path = Path(code.co_filename)
        if not path.is_relative_to(ROOT) or path.relative_to(ROOT).parts[0] not in PACKAGES:
            return
        self.codes.add(code)
        file = str(path.relative_to(ROOT))
        if self.files and file == self.files[-1]:
            return
        self.returns += file in self.files
        self.files.append(file)


def main() -> None:
    """Run the command of the arguments and print what its reader opens."""
    from pipeline.cli import cli

    walk = Walk()
    sys.setprofile(walk.follow)
    try:
        cli.main(sys.argv[1:])
    except SystemExit as end:
        code = end.code
    finally:
        sys.setprofile(None)
    print(f"{len(set(walk.files))} files, {walk.returns} returns (exit code {code})")
    if "-v" in sys.argv:
        print("\n".join(walk.files))


if __name__ == "__main__":
    main()
