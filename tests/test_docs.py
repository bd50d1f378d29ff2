"""README and docs/: every command is run as it stands there, and every link leads somewhere."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np
import pytest

from data.cache.features import create_features
from data.cache.folder import cache_path
from data.cache.header import Header
from data.judgements.options import DatasetOptions
from data.judgements.reading import read_dataset
from data.synthetic.options import SyntheticOptions
from data.synthetic.writer import generate
from pipeline import api
from pipeline.cli import COMMANDS, cli
from pipeline.evaluate import published
from tests.helpers import docs_pages
from tests.helpers.docs_pages import PAGES, ROOT, Line, blocks, commands, is_pipeline, steps
from tests.helpers.places import FIXTURES

# What is not run here, and why. Everything else in a ```sh block is.
NOT_RUN = {
    r"python3 -m venv |\S*pip install ": "installs; .ci/run does it from a clean checkout",
    r"\S*python -m pytest": "the tests themselves",
    r"(docker|apptainer) build ": "needs Docker or Apptainer",
}
# Lines of this program that need what is not there: parsed whole, with --print-config.
ONLY_PARSED = {
    r"\S*pipeline demo ": "minutes long; tests/demo/test_demo.py runs it at the smallest sizes",
    r"pipeline extract-features mit_dive/": "159 videos; the test writes such caches itself",
    r"pipeline explain demo/": "needs the demo's output",
    r"pipeline .*EPIC-Skills2018 .*--variant blend": "a dozen videos are too few for it; the tests "
    "of blend train it",
    r"pipeline .*--backend dask": "needs a cluster; tests/runner/test_jobs.py and others start one",
}
# How the code marks a deliberate difference.
MARK = re.compile(r"[Dd]iffers from (?:the paper|the authors|RAAN's code|torchvision)\b")
# Flags of other programs that the pages speak of.
FOREIGN = {"--trim"}
NAMES = [f"{person}_{n:02}.mp4" for person in ("anna", "ben", "carl", "dora") for n in (1, 3)]


@pytest.fixture(scope="module")
def small_videos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Nine short videos, in the order of their skill, best first."""
    folder = tmp_path_factory.mktemp("small")
    made = generate(folder, 9, 0, SyntheticOptions(picture_size=48, shortest=24, longest=26))
    made.sort(key=lambda video: -video.skill)
    return [folder / "videos" / video.name for video in made]


def own_videos(place: Path, small_videos: list[Path]) -> None:
    """Lay out what the tutorial starts from: `videos/`, `new/`, and judgements."""
    (place / "videos").mkdir()
    (place / "new").mkdir()
    *known, new = small_videos
    for name, video in zip(NAMES, known, strict=True):
        shutil.copyfile(video, place / "videos" / name)
    shutil.copyfile(new, place / "new" / "eve_01.mp4")
    better = [(a, b) for i, a in enumerate(NAMES) for b in NAMES[i + 1 :]]
    lines = [f"{Path(a).stem},{Path(b).stem}" for a, b in better]
    (place / "pairs.csv").write_text("\n".join(["better,worse", *lines]) + "\n")
    (place / "judgements").mkdir()
    for judge in ("anna", "ben"):
        rows = [f"{line},{judge},2026-01-01T10:00:00Z,5,no" for line in lines[:12]]
        table = "\n".join(["better,worse,judge,time,seconds,tie", *rows]) + "\n"
        (place / "judgements" / f"pairs_{judge}.csv").write_text(table)


def weight_files(place: Path, small_videos: list[Path]) -> None:
    """Lay out the tutorial's folder, and weight files in the forms that the page names."""
    import torch
    from torchvision.models import resnet101

    own_videos(place, small_videos)
    torch.manual_seed(0)
    # Branches that start at zero keep the maps of an untrained network within float16.
    state = {k: v.half() for k, v in resnet101(zero_init_residual=True).state_dict().items()}
    torch.save(state, place / "resnet101-63fe2227.pth")
    spatial = {name.replace("conv1.", "conv1_custom.", name == "conv1.weight"): value
               for name, value in state.items()}  # fmt: skip
    spatial = {name.replace("fc.", "fc_custom."): value for name, value in spatial.items()}
    torch.save({"state_dict": spatial}, place / "spatial.pth.tar")
    stem = state["conv1.weight"].mean(dim=1, keepdim=True).expand(-1, 20, -1, -1)
    motion = {f"module.{k}": v for k, v in (spatial | {"conv1_custom.weight": stem}).items()}
    torch.save({"state_dict": motion, "epoch": 1, "arch": "resnet101"}, place / "motion.pth.tar")


def the_demo(place: Path, small_videos: list[Path]) -> None:
    """Lay out a weight file, and what the demo leaves of its set."""
    weight_files(place, small_videos)
    videos = place / "demo64" / "synthetic" / "videos"
    videos.mkdir(parents=True)
    few = small_videos[:5]  # The page's inputs are not small.
    for video in few:
        shutil.copyfile(video, videos / video.name)
    better = [(a.name, b.name) for i, a in enumerate(few) for b in few[i + 1 :]]
    lines = ["better,worse", *(",".join(pair) for pair in better)]
    (videos.parent / "pairs.csv").write_text("\n".join(lines) + "\n")


def data_sets(place: Path, small_videos: list[Path]) -> None:
    """Lay out every data set as the page says: small annotations, a few tiny videos as all."""
    tiny = [tiny_video(place / f"tiny{seed}.avi", 6, seed) for seed in range(12)]
    epic, raan = place / "EPIC-Skills2018", place / "rank-aware-attention-network" / "data"
    shutil.copytree(FIXTURES / "annotations" / "EPIC-Skills2018", epic)
    shutil.copytree(FIXTURES / "annotations" / "RAAN", raan)
    for folder in ("infant_grasp", "JIGSAWS", "mit_dive"):
        shutil.copytree(FIXTURES / "annotations" / folder, place / folder)
    rows = (epic / "dough_rolling_segments.csv").read_text().split()
    (epic / "dough_rolling_segments.csv").write_text(
        "\n".join(re.sub(r",\d+,\d+,?$", ",1,5", row) for row in rows) + "\n"
    )
    files = [f"Dough_Rolling/{row.split(',')[0]}.avi" for row in rows[1:]]
    files += [
        f"{name}.mp4" for name in read_dataset(epic, DatasetOptions(task="chopstick_using")).videos
    ]
    files += [f"{name}.mp4" for name in read_dataset(epic, DatasetOptions(task="drawing")).videos]
    for name in read_dataset(epic, DatasetOptions(task="surgery")).videos:
        task, trial = name.split("/")
        files.append(f"{task}/{task}_{trial}_capture2.avi")
    wanted = [epic / "videos" / name for name in files]
    best = read_dataset(raan / "BEST", DatasetOptions(task="origami"))
    (raan / "BEST" / "BEST.csv").write_text(
        "\n".join(
            ["task,vid_id,start_seconds,end_seconds"]
            + [f"origami,{name.split('/')[1]},0.0,0.2" for name in best.videos]
        )
    )
    wanted += [place / "BEST" / f"{name}.mp4" for name in best.videos[1:]]  # one is gone
    infants = read_dataset(place / "infant_grasp").videos
    wanted += [place / "infant_grasp" / "videos" / f"{name}.mp4" for name in infants]
    trials = read_dataset(place / "JIGSAWS", DatasetOptions(task="suturing")).videos
    suturing = place / "JIGSAWS" / "Suturing" / "video"
    wanted += [suturing / f"{name}_capture{n}.avi" for name in trials for n in (1, 2)]
    shortest = tiny_video(place / "shortest.avi", 2)  # for the set of 159
    dives = [place / "mit_dive" / "videos" / f"{n:03}.avi" for n in range(1, 160)]
    for number, path in enumerate((*wanted, *dives)):
        path.parent.mkdir(parents=True, exist_ok=True)
        video = shortest if path in dives else tiny[number % len(tiny)]
        # Bytes after the end make each file a video of its own: copies would share a fold.
        path.write_bytes(video.read_bytes() + number.to_bytes(2, "big"))
    for path in dives:
        write_features(cache_path(place / "features" / "diving", path.name), path.name)


def write_features(path: Path, key: str) -> None:
    """Write the feature cache of a video of two snippets."""
    header = Header("features", source_digest=key, decoded_frames=2, weights={"fusion": "f"})
    frames, maps = np.arange(2), np.ones((2, 8, 1, 1), np.float16)
    with create_features(path, header, frames, frames / 25, maps.shape[1:]) as out:
        for row in frames:
            out.put(row, maps[row])


def tiny_video(path: Path, frames: int, seed: int = 0) -> Path:
    """Write a texture of 32 pixels a side that moves: stills calibrate no random trunk."""
    rng = np.random.default_rng(seed)
    texture = cv2.resize(rng.integers(0, 255, (12, 12, 3), np.uint8), (32, 32))
    step = rng.integers(1, 4, 2)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (32, 32))
    for t in range(frames):
        writer.write(np.roll(texture, tuple(t * step), axis=(0, 1)))
    writer.release()
    return path


def judged_names(place: Path, small_videos: list[Path]) -> None:
    """Lay out what the page of features starts from: judgements, and no video."""
    rows = ["anna,ben", "anna,carl", "anna,dora", "ben,carl", "ben,dora", "carl,dora"]
    (place / "pairs.csv").write_text("\n".join(["better,worse", *rows]) + "\n")


LAYOUTS: dict[str, Callable[[Path, list[Path]], None]] = {
    "README.md": own_videos,
    "tutorial.md": own_videos,
    "weights.md": weight_files,
    "accuracy.md": the_demo,
    "scaling.md": own_videos,
    "python.md": own_videos,
    "datasets.md": data_sets,
    "features.md": judged_names,
}


def reason(line: Line, table: dict[str, str]) -> str | None:
    return next((why for pattern, why in table.items() if re.match(pattern, line.text)), None)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_runs(
    page: Path, tmp_path: Path, small_videos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page whose commands fail, or fail in this order, stops a user who follows it."""
    lay_out = LAYOUTS.get(page.name)
    if lay_out is not None:
        lay_out(tmp_path, small_videos)
    monkeypatch.chdir(tmp_path)
    with_small_sizes(monkeypatch)
    for step in steps(page):
        if isinstance(step, str):
            exec(compile(step, page.name, "exec"), {})
        elif not reason(step, NOT_RUN):
            assert is_pipeline(step), f"{step}: neither run nor listed as not run"
            more = ("--print-config",) if reason(step, ONLY_PARSED) else ()
            result = docs_pages.run(step, *more)
            assert result.exit_code == 0, f"{step}\n{result.output[-2000:]}"


def with_small_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the functions of `pipeline` start from the small sizes, as the commands do."""
    commands = {
        api.FeatureSettings: "extract-features",
        api.FlowComputation: "extract-flow",
        api.StageOptions: "extract-features",
        api.TrainSettings: "train-ranker",
        api.EvaluateSettings: "evaluate",
        api.NewVideoOptions: "score",
    }
    build = api.from_keywords

    def small(cls: Any, options: dict[str, Any], **given: Any) -> Any:
        sizes = docs_pages.small_options(commands[cls]) if cls in commands else {}
        return build(cls, {**sizes, **options}, **given)

    monkeypatch.setattr(api, "from_keywords", small)


def test_the_commands_were_found() -> None:
    """A change of the pages' form must not empty the test above."""
    found = [line for page in PAGES for line in commands(page)]
    assert len([line for line in found if is_pipeline(line)]) >= 30
    for table in (NOT_RUN, ONLY_PARSED):
        for pattern in table:
            assert any(re.match(pattern, line.text) for line in found), f"no such line: {pattern}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_command_hides_in_another_kind_of_block(page: Path) -> None:
    """A command in a block of another language would be run by nobody."""
    for language in ("", "bash", "shell", "console", "text"):
        for block in blocks(page, language):
            assert not re.search(r"^\s*(\$ )?pipeline [a-z]", block, re.MULTILINE), block


def marks() -> dict[str, int]:
    """Return how many deliberate differences each module says that it has."""
    found = {}
    for package in ("data", "model", "pipeline"):
        for path in sorted((ROOT / package).rglob("*.py")):
            text = " ".join(path.read_text(encoding="utf-8").split())
            if number := len(MARK.findall(text)):
                found[path.relative_to(ROOT).as_posix()] = number
    return found


def test_every_difference_marked_in_the_code_stands_on_the_fidelity_page() -> None:
    """A difference that only the code knows of is one that a reader of results misses."""
    text = (ROOT / "docs" / "fidelity.md").read_text(encoding="utf-8")
    changed, listed = text.split("## Changed")[1].split("## Where the code says so")
    rows = set(re.findall(r"^\| ([^|]+?) \|", changed, re.MULTILINE))
    by_module = dict(re.findall(r"^\| `([\w/.]+)` \| (.+?) \|$", listed, re.MULTILINE))
    found = marks()
    assert len(found) >= 6
    assert by_module.keys() == found.keys()
    for module, named in by_module.items():
        assert set(named.split("; ")) <= rows, module
        assert len(named.split("; ")) == found[module], module


def test_options_named_on_the_pages_exist() -> None:
    """A table of options that a command no longer has sends its reader astray."""
    known = {
        flag
        for name in COMMANDS
        for option in cli.get_command(click.Context(cli), name).params
        for flag in (*option.opts, *option.secondary_opts)
    }
    for page in PAGES:
        prose = re.sub(r"^ *```.*?^ *```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
        for named in re.findall(r"`([^`\n]*)`", prose):
            benchmark = re.search(r"benchmarks/\w+\.py", named)
            # A benchmark parses its own options; each stands there in quotes.
            source = (ROOT / benchmark[0]).read_text(encoding="utf-8") if benchmark else ""
            for flag in re.findall(r"--[a-z][a-z-]+", named):
                there = flag in known | {"--help"} | FOREIGN or f'"{flag}"' in source
                assert there, f"{page.name}: {flag}"


def test_published_numbers_are_those_of_the_code() -> None:
    """The table on the fidelity page and the one that `evaluate` shows must not part."""
    text = (ROOT / "docs" / "fidelity.md").read_text(encoding="utf-8")
    for variant, numbers in published.PAPER.items():
        row = " | ".join(f"{number:.1f}" for number in numbers.values())
        assert f"| `{variant}` | {row} |" in text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_files_lead_somewhere(page: Path) -> None:
    """A link to a page, picture or file that has moved leads nowhere."""
    text = page.read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#]+)(?:#[\w-]*)?\)", text)
    for link in links:
        if not link.startswith("http"):
            assert (page.parent / link).exists(), f"{page.name}: {link}"
    for path in re.findall(r"`(?:python )?((?:benchmarks|model|tests|docs)/[\w/.]+\w)", text):
        assert (ROOT / path).exists(), f"{page.name}: {path}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_and_functions_named_on_the_pages_exist(page: Path) -> None:
    """A map that names what was moved sends its reader astray."""
    text = page.read_text(encoding="utf-8")
    named = r"`((?:pipeline|model|data|tests|benchmarks)/[\w/]*(?:\.py|/))(?::(\w+))?`"
    for path, name in re.findall(named, text):
        assert (ROOT / path).exists(), f"{page.name}: {path}"
        if name:
            source = (ROOT / path).read_text(encoding="utf-8")
            assert re.search(rf"^(def|class) {name}\b", source, re.MULTILINE), f"{path}: {name}"
