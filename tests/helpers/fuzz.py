"""Commands run on random input: what must hold of their answer, and how many examples are tried."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from click.testing import CliRunner, Result
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from pipeline.cli import cli

#: Examples of all tests together, and the share of each.
TOTAL = int(os.environ.get("DEXTERANK_FUZZ", "300"))
#: Lines that a command says under --quiet: its own, and those of wrong usage.
OURS = re.compile(r"(error|warning): |(Usage|Error): |Try '|$")

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**65), 10**65)
    | st.sampled_from([0, 1, -1, 2**31, 2**63, 10**400])
    | st.floats()
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)


def examples(share: float) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return the settings of a test that takes this share of the examples."""
    return settings(
        max_examples=max(1, int(TOTAL * share)),
        derandomize=TOTAL <= 2000,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


def check(*arguments: object, folder: Path, output: Path | None = None) -> Result:
    """Run a command on a folder: it answers in its own words, and writes to the output alone.

    Exit code 0, 1 or 2; on stderr one line an error, and nothing of Python or a library; no file
    changed, added or removed outside of `output`, and no temporary left in it.
    """
    before = contents(folder, output)
    with _silent_libraries():
        result = CliRunner().invoke(cli, [*map(str, arguments), "--quiet"])
    assert result.exit_code in (0, 1, 2), (result.exception, result.output)
    assert "unexpected" not in result.stderr.replace("unexpected end of file", ""), result.stderr
    assert "Traceback" not in result.output
    strange = [line for line in result.stderr.split("\n") if not OURS.match(line)]
    assert not strange, result.stderr
    assert contents(folder, output) == before
    assert output is None or not list(output.rglob(".dexterank-*"))
    if result.exit_code == 1:
        assert result.stderr.startswith(("error: ", "warning: "))
    if result.exit_code == 2:
        lines = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1 or re.search("^Error: ", result.stderr, re.M), result.stderr
    return result


def contents(folder: Path, output: Path | None) -> dict[bytes, bytes]:
    """Return what each file below a folder holds, but for those of the output."""
    return {
        os.fsencode(path): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not (output and path.is_relative_to(output))
    }


@contextmanager
def _silent_libraries() -> Iterator[None]:
    """Refuse what libraries write to the process's stderr past Python."""
    with tempfile.TemporaryFile() as file:
        kept = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
        file.seek(0)
        said = file.read()
    assert not said, said
