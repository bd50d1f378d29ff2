"""The commands of README and docs/: found in their pages, and run one after the other."""

from __future__ import annotations

import glob
import re
import shlex
import shutil
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from pipeline.cli import cli
from pipeline.stage_one.file import FILE_NAME as STAGE_ONE
from tests.helpers.places import ROOT

PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))

# Sizes that let every command end within seconds; a page's own flags go before them.
SMALL = """
[extract-flow]
engine = "opencv"
short-side = 16
segments = 2
candidates = 1
jobs = 1
device = "cpu"
[extract-features]
weights = "random"
trunk-stage = "conv4"
input-size = 32
fusion-hidden = 8
fusion-channels = 8
training-snippets = 8
segments = 2
candidates = 1
jobs = 1
device = "cpu"
[fit-fusion]
segments = 2
hidden-size = 4
attention-size = 4
epochs = 2
device = "cpu"
[train-ranker]
segments = 2
hidden-size = 4
attention-size = 4
epochs = 2
device = "cpu"
[evaluate]
segments = 2
hidden-size = 4
attention-size = 4
epochs = 1
seeds = 1
draws = 100
jobs = 1
device = "cpu"
[score]
cache = "cache"
engine = "opencv"
jobs = 1
device = "cpu"
[explain]
cache = "cache"
engine = "opencv"
video-side = 64
jobs = 1
device = "cpu"
[judge]
cache = "cache"
engine = "opencv"
video-side = 64
jobs = 1
device = "cpu"
[report]
jobs = 1
[inspect]
jobs = 1
"""


@dataclass(frozen=True)
class Line:
    """One command of a page."""

    page: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}: {self.text}"


def blocks(page: Path, language: str) -> list[str]:
    """Return the fenced blocks of a page in one language."""
    text = page.read_text(encoding="utf-8")
    return re.findall(rf"^ *```{language}\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)


def steps(page: Path) -> list[Line | str]:
    """Return a page's ```sh commands as lines and its ```python blocks as text, in order.

    Continued lines are joined, and the parts of `&&` stand apart.
    """
    text = page.read_text(encoding="utf-8")
    found: list[Line | str] = []
    for language, block in re.findall(
        r"^ *```(sh|python)\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL
    ):
        if language == "python":
            found.append(block)
            continue
        for line in block.replace("\\\n", " ").splitlines():
            for part in line.split("&&"):
                words = part.strip()
                if words and not words.startswith("#"):
                    found.append(Line(page.name, re.sub(r"\s+", " ", words)))
    return found


def commands(page: Path) -> list[Line]:
    """Return the commands of a page."""
    return [step for step in steps(page) if isinstance(step, Line)]


def is_pipeline(line: Line) -> bool:
    """Whether a line runs this program."""
    return re.match(r"(\S*/bin/)?pipeline ", line.text) is not None


def small_options(command: str) -> dict[str, Any]:
    """Return the small sizes of a command as keywords, for the functions of `pipeline`."""
    table = tomllib.loads(SMALL).get(command, {})
    return {key.replace("-", "_"): value for key, value in table.items()}


# Random networks that an earlier line drew: later lines without weights of their own take them
# over, as every extraction does that finds them in its folder. Drawing them costs seconds.
_drawn: list[Path] = []


def _take_over_networks(words: list[str]) -> Path | None:
    """Put earlier networks into the output folder of an extraction; return where they lie."""
    own = {"--weights", "--rgb-weights", "--fusion", "--keep-streams"}  # Fusions know their trunks.
    if words[0] != "extract-features" or own & {*words}:
        return None
    place = Path(words[words.index("-o") + 1]) / STAGE_ONE
    if _drawn and _drawn[0].exists() and not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(_drawn[0], place)
    return place


def run(line: Line, *more: str) -> Result:
    """Run a line in the working folder as a shell would, with the small sizes."""
    command, _, target = line.text.partition(" > ")
    words = [
        found
        for word in shlex.split(command)[1:]
        for found in (sorted(glob.glob(word)) if "*" in word and glob.glob(word) else [word])
    ]
    if "--config" not in words:
        tables = re.split(r"^(?=\[)", SMALL, flags=re.MULTILINE)
        own = next((table for table in tables if table.startswith(f"[{words[0]}]")), "")
        Path("small.toml").write_text(own, encoding="utf-8")
        more = ("--config", "small.toml", *more)
    networks = None if "--print-config" in more else _take_over_networks(words)
    result = CliRunner().invoke(cli, [*words, *more])
    if networks is not None and networks.exists():
        _drawn[:] = [networks.resolve()]
    if target:
        Path(target.strip()).write_text(result.stdout, encoding="utf-8")
    return result
