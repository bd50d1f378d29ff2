"""`pipeline inspect` of folders: summaries, mixtures and the list of problems."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from data.files import temporary_name
from tests.helpers.inspected import run, write_flow, write_video


def described(*arguments: object) -> list[dict]:
    result = run(*arguments, "--json")
    return json.loads(result.stdout)


def test_an_empty_folder_is_a_failure_and_a_missing_path_a_usage_error(tmp_path: Path) -> None:
    """Exit code 0 for a mistyped name would let a script go on."""
    empty = run(tmp_path)
    assert empty.exit_code == 1
    assert "holds no videos" in empty.stdout
    missing = run(tmp_path / "nothing", tmp_path)
    assert missing.exit_code == 2
    assert missing.stdout == ""
    assert "no such file or folder" in missing.stderr


def test_a_folder_is_summed_up_and_its_mixture_reported(tmp_path: Path) -> None:
    """A cache made with other options among hundreds would only be noticed when training stops."""
    write_video(tmp_path / "videos/a.avi")
    for name in ("a", "b", "c"):
        write_flow(tmp_path / f"flow/{name}.avi.h5")
    other = {"flow": {"bound": 15.0, "dtype": "uint8", "short_side": 64}, "engine": "OpenCV 5"}
    write_flow(tmp_path / "flow/d.avi.h5", parameters=other)
    (tmp_path / "pairs.csv").write_text("better,worse\na,b\nb,c\n")
    (report,) = described(tmp_path)
    assert report["videos"]["count"] == 1
    caches = report["flow_caches"]
    assert (caches["count"], caches["rows"]) == (4, 8)
    assert caches["bytes"] == sum(p.stat().st_size for p in (tmp_path / "flow").iterdir())
    groups = {group["parameters.flow.bound"]: group["count"] for group in caches["groups"]}
    assert groups == {"20": 3, "15": 1}
    assert caches["common"]["parameters.flow.short_side"] == "64"
    assert report["judgements"]["pairs.csv"].startswith("2 pairs of 3 videos")
    result = run(tmp_path)
    assert result.exit_code == 0
    assert "made in 2 ways (bound, " in result.stdout
    assert "flow/a.avi.h5: flow cache" not in result.stdout


def test_caches_that_agree_are_no_mixture(tmp_path: Path) -> None:
    """A false alarm on every folder would teach people to ignore it."""
    for name in ("a", "b"):
        write_flow(tmp_path / f"{name}.h5")
    (report,) = described(tmp_path)
    assert report["warnings"] == []
    assert len(report["flow_caches"]["groups"]) == 1


@pytest.mark.parametrize("flag", ["--each", "-v"])
def test_each_gives_every_file_a_line(flag: str, tmp_path: Path) -> None:
    """Without it, the one odd file among many stays hidden."""
    write_video(tmp_path / "a.avi")
    write_flow(tmp_path / "a.avi.h5")
    text = run(tmp_path, flag).stdout
    assert "a.avi: video, 6 frames of 80×64 px, 25 fps, constant" in text
    assert "a.avi.h5: flow cache, complete, 2 fields of 16×12 px" in text
    assert "as the headers claim" not in text


def test_damaged_files_of_a_folder_are_listed_and_the_rest_counted(tmp_path: Path) -> None:
    """One damaged cache must neither hide the others nor be hidden among them."""
    for number in range(9):  # enough for several workers
        write_flow(tmp_path / f"{number}.h5")
    content = (tmp_path / "3.h5").read_bytes()
    (tmp_path / "3.h5").write_bytes(content[: len(content) // 2])
    result = run(tmp_path, "-j", 2)
    assert result.exit_code == 1
    assert "8 flow caches" in result.stdout
    assert "3.h5: unusable cache: not a readable HDF5 file" in result.stdout
    assert "3.h5" in result.stderr
    assert "4.h5" not in result.output


def test_unfinished_caches_are_reported(tmp_path: Path) -> None:
    """The hidden temporary of a killed process takes space unseen."""
    write_flow(tmp_path / "a.h5")
    (tmp_path / temporary_name()).write_bytes(b"x" * 100)
    (report,) = described(tmp_path)
    assert report["unfinished"] == {"count": 1, "bytes": 100}
    assert "1 unfinished file (100 B" in report["warnings"][0]


def test_a_folder_that_holds_itself_ends(tmp_path: Path) -> None:
    """A link to a folder above would be followed forever."""
    write_flow(tmp_path / "sub/a.h5")
    (tmp_path / "sub/loop").symlink_to(tmp_path)
    (report,) = described(tmp_path)
    assert report["flow_caches"]["count"] == 1


def test_folders_may_be_named_from_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Paths with dots, and the present folder, are what people type."""
    write_video(tmp_path / "videos/a.avi")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    for given in ("../videos", "../elsewhere/../videos"):
        assert "1 video, " in run(given).stdout
    monkeypatch.chdir(tmp_path / "videos")
    assert "1 video, " in run(".").stdout


def test_logs_stay_off_stdout(tmp_path: Path) -> None:
    """A progress bar or an error in the JSON document would break whoever reads it."""
    for number in range(9):
        write_flow(tmp_path / f"{number}.h5")
    (tmp_path / "9.h5").write_bytes(b"")
    result = run(tmp_path, "--json", "--each")
    assert result.exit_code == 1
    (report,) = json.loads(result.stdout)
    assert len(report["files"]) == 10


def test_shadows_of_caches_are_no_damaged_caches(tmp_path: Path) -> None:
    """A copy by macOS, or a file server's previews, would end every look at a folder in exit 1."""
    write_flow(tmp_path / "flow/a.avi.h5")
    for name in ("._a.avi.h5", "@eaDir/a.avi.h5", "#recycle/b.avi.h5"):
        path = tmp_path / "flow" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"Mac OS X")
    result = run(tmp_path / "flow")
    assert result.exit_code == 0, result.output
    assert "1 flow cache" in result.stdout


def test_excluded_videos_are_not_looked_at(tmp_path: Path) -> None:
    """A damaged preview that no command uses would be a problem."""
    write_video(tmp_path / "a.avi")
    (tmp_path / "preview.avi").write_bytes(b"x")
    assert run(tmp_path).exit_code == 1
    assert run(tmp_path, "--exclude", "preview*").exit_code == 0
