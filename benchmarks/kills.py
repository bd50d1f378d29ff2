"""Kill each command with SIGKILL at random moments, run it again, and compare with a run in peace.

Each trial starts a command, kills it, and looks at what it left: whatever stands under a final name
must be whole, that is equal to the file of a run that nobody disturbed. Then the same command runs
again; it must succeed, leave the files of the undisturbed run byte by byte (durations aside) and no
temporary. Half of the kills strike at a random time, half at a random operation on the output's
files, where a crash would do most harm. Commands are forked from a process that has loaded the
libraries, so that kills strike the work and not the start. Example::

    nice -n 10 python benchmarks/kills.py --work /tmp/kills --kills 100 --json kills.json
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import random
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pipeline import cli
from pipeline.train_ranker import training
from tests.evaluate.material import VIDEOS, write_features
from tests.helpers import scored_material as scored

#: Files that change while a run goes on, so that a killed run may leave another content whole.
PROGRESS = {"state.pt"}
#: Names of values that differ between two runs in peace.
DURATIONS = {"seconds", "train_seconds"}
#: A command that takes so many times as long as in peace hangs.
PATIENCE = 60
AUDITED = {"open", "os.rename", "os.mkdir", "os.link", "os.remove", "os.listdir", "os.scandir"}


def material(work: Path) -> dict[str, list[str]]:
    """Make videos, caches and a run; return the commands, which end before their output."""
    world = scored.World(work / "world")
    if not world.planted.exists():
        scored.make_world(world.root)
        write_features(world.root / "maps")
        rows = [f"v{a:02},v{b:02}" for a in range(VIDEOS) for b in range(a + 1, VIDEOS)]
        (world.root / "all.csv").write_text("\n".join(["better,worse", *rows]) + "\n")
        scored.write_new(world.root / "new", "landscape.mp4")
        scored.write_new(world.root / "new", "portrait.mp4")
    maps = ("--features", world.root / "maps", "--pairs", world.root / "all.csv")
    small = ("--segments", 4, "--hidden-size", 8, "--device", "cpu")
    flow = ("--flow", world.flow)
    commands: dict[str, Sequence[object]] = {
        "extract-flow": (world.videos, "--short-side", 32, *scored.STAGE_ONE),
        "extract-features": (world.videos, *flow, *scored.STAGE_ONE, *scored.TRUNKS),
        "train-ranker": (*maps, *small, "--epochs", 12),
        "evaluate": (*maps, *small, "--epochs", 15, "--seeds", 1, "--folds", 3, "-j", 1),
        "score": (world.run, world.root / "new", "-j", 1, "--device", "cpu"),
    }
    return {name: [name, *map(str, rest), "-o"] for name, rest in commands.items()}


def start(arguments: Sequence[str], log: Path, strike: int = 0) -> int:
    """Fork a command; return its number. It kills itself at file operation `strike`, if any."""
    child = os.fork()
    if child:
        return child
    os.setsid()

    def kill(number: int) -> None:
        if number == strike:
            os.kill(os.getpid(), signal.SIGKILL)

    if strike:
        count_operations(arguments, kill)
    run_here(arguments, log)


def count_operations(arguments: Sequence[str], tell: Callable[[int], object]) -> None:
    """Count this process's operations on files of the output; `tell` gets the number of each."""
    output, seen = arguments[arguments.index("-o") + 1], [0]

    def count(event: str, values: tuple[object, ...]) -> None:
        if event in AUDITED and values and output in str(values[0]):
            seen[0] += 1
            tell(seen[0])

    sys.addaudithook(count)


def run_here(arguments: Sequence[str], log: Path) -> NoReturn:
    """Run a command in this process, as the command line does, and end."""
    for number in (1, 2):
        os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    sys.argv = ["pipeline", *arguments]
    cli.main()
    os._exit(99)  # Not reached: the command leaves by itself.


def wait(child: int, limit: float) -> int:
    """Return a command's exit code; after `limit` seconds it is killed with all its workers."""
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        number, status = os.waitpid(child, os.WNOHANG)
        if number:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    with contextlib.suppress(ProcessLookupError):  # It has not made its group yet.
        os.killpg(child, signal.SIGKILL)
    os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def content(path: Path) -> object:
    """Return what a file holds, without durations."""
    if path.suffix == ".json":
        return json.loads(path.read_bytes(), object_hook=_lasting)
    return path.read_bytes()


def _lasting(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in DURATIONS}


def files(folder: Path) -> dict[str, object]:
    """Content of each file below a folder; None for one that is not readable as what it is."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")) if folder.exists() else ():
        if path.is_file():
            try:
                found[path.relative_to(folder).as_posix()] = content(path)
            except ValueError:
                found[path.relative_to(folder).as_posix()] = None
    return found


def operations(arguments: Sequence[str], log: Path) -> int:
    """Count the file operations of a command in peace."""
    shutil.rmtree(arguments[-1], ignore_errors=True)
    counter = os.open(log.with_suffix(".count"), os.O_RDWR | os.O_CREAT)
    child = os.fork()
    if not child:
        count_operations(
            arguments, lambda number: os.pwrite(counter, number.to_bytes(8, "little"), 0)
        )
        run_here(arguments, log)
    os.waitpid(child, 0)
    total = int.from_bytes(os.pread(counter, 8, 0), "little")
    os.close(counter)
    return total


def trial(
    arguments: Sequence[str],
    output: Path,
    peace: dict[str, object],
    kill: Callable[[Path], int],
    limit: float,
) -> Counter[str]:
    """Kill a command once, look, run it again, and compare."""
    shutil.rmtree(output, ignore_errors=True)
    log = output.with_suffix(".log")
    log.unlink(missing_ok=True)
    counts: Counter[str] = Counter(kills=1)
    counts["struck"] += kill(log) == -signal.SIGKILL
    left = files(output)
    whole = {name: value for name, value in left.items() if ".dexterank-" not in name}
    counts["temporaries"] += len(left) - len(whole)
    counts["with files"] += bool(whole)
    for name, value in whole.items():
        if name not in PROGRESS and value != peace.get(name):
            counts["not whole"] += 1
            print(f"not whole after the kill: {name}", flush=True)
    again = ["--resume"] if arguments[0] == "train-ranker" else []
    code = wait(start([*arguments, str(output), *again], log), limit)
    after = files(output)
    counts["failed again"] += code != 0
    counts["other results"] += after != peace
    if code or after != peace:
        names = [name for name in {*after, *peace} if after.get(name) != peace.get(name)]
        print(f"exit {code}; differing: {names}\n{log.read_text()[-2000:]}", flush=True)
        shutil.copytree(output, output.with_name(f"{output.name}-{int(time.time())}"))
    return counts


def try_command(arguments: Sequence[str], place: Path, kills: int, seed: int) -> dict[str, Any]:
    """Kill one command many times; return the figures."""
    rng = random.Random(f"{arguments[0]} {seed}")
    place.mkdir(parents=True, exist_ok=True)
    references, seconds = [], math.inf
    for number in range(2):
        began = time.monotonic()
        output, log = place / f"peace{number}", place / f"peace{number}.log"
        shutil.rmtree(output, ignore_errors=True)
        code = wait(start([*arguments, str(output)], log), 600)
        if code:
            raise SystemExit(f"{' '.join(arguments)}: exit {code}\n{log.read_text()}")
        references.append(files(output))
        seconds = min(seconds, time.monotonic() - began)
    if references[0] != references[1]:
        raise SystemExit(f"{arguments[0]}: two runs in peace differ")
    total = operations([*arguments, str(place / "counted")], place / "counted.log")
    counts: Counter[str] = Counter()
    output = place / "killed"

    def at_a_time(log: Path) -> int:
        return wait(start([*arguments, str(output)], log), rng.uniform(0, seconds))

    def at_a_file(log: Path) -> int:
        return wait(start([*arguments, str(output)], log, rng.randint(1, total)), 600)

    for number in range(kills):
        kill = at_a_file if number % 2 else at_a_time
        counts += trial(arguments, output, references[0], kill, PATIENCE * (1 + seconds))
        if sys.stderr.isatty() or number % 10 == 9:
            print(arguments[0], dict(counts), file=sys.stderr, flush=True)
    return {"seconds": round(seconds, 2), "operations": total, **counts}


def load_libraries() -> None:
    """Import what the commands import, so that their copies have it."""
    import importlib

    for name in cli.COMMANDS:
        importlib.import_module(f"pipeline.{name.replace('-', '_')}.command")
    for name in (
        *("torch", "torchvision", "h5py", "numba", "cv2", "av", "matplotlib.pyplot", "scipy.stats"),
        *("joblib", "safetensors.torch", "model.tvl1.cpu.calc", "pipeline.score.features"),
        *("pipeline.extract_features.stage", "pipeline.evaluate.output"),
    ):
        importlib.import_module(name)
    training.STATE_INTERVAL = 0.0  # A state after every epoch, for kills between and in them.


def main() -> None:
    """Print one line of figures a command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--work", type=Path, required=True, help="Folder for videos and outputs.")
    parser.add_argument("--kills", type=int, default=100, help="Kills of each command.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--command", action="append", help="Only these commands.")
    parser.add_argument("--json", type=Path, help="Write the figures here as well.")
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    load_libraries()
    work = arguments.work.absolute()
    child = os.fork()  # The material is made elsewhere: threads that start here are not forked.
    if not child:
        material(work)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        raise SystemExit("the material could not be made")
    figures = {}
    for name, command in material(work).items():
        if arguments.command and name not in arguments.command:
            continue
        figures[name] = try_command(command, work / name, arguments.kills, arguments.seed)
        print(name, json.dumps(figures[name]), flush=True)
        if arguments.json:
            arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
