"""Every published annotation form, from small files of the same form that travel with the tests."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from data.errors import InputError
from data.judgements.dataset import Dataset, Span
from data.judgements.formats import infant_grasp, jigsaws
from data.judgements.options import DatasetOptions
from data.judgements.pairs import Pair, check_pairs
from data.judgements.reading import read_dataset
from data.judgements.splits import group_of
from tests.helpers.places import FIXTURES

EPIC = FIXTURES / "annotations" / "EPIC-Skills2018"
RAAN = FIXTURES / "annotations" / "RAAN" / "EPIC-Skills"


def _counts(dataset: Dataset) -> tuple[int, int, list[int], list[int]]:
    return (
        len(dataset.videos),
        len(dataset.pairs),
        [len(f.train) for f in dataset.folds],
        [len(f.test) for f in dataset.folds],
    )


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ("Chopstick-Using", (4, 8, [3, 3, 5, 5], [5, 5, 3, 3])),
        ("dough_rolling", (4, 8, [3, 3, 5, 5], [5, 5, 3, 3])),
        ("knot tying", (4, 6, [3] * 4, [3] * 4)),
        ("drawing", (8, 12, [6] * 4, [6] * 4)),
        ("surgery", (12, 18, [9] * 4, [9] * 4)),
    ],
)
def test_epic_skills_counts(task: str, expected: tuple[int, int, list[int], list[int]]) -> None:
    """A quirk (CRLF, trailing comma, triple listing, merged tasks) would change the counts."""
    assert _counts(read_dataset(EPIC, DatasetOptions(task=task))) == expected


def test_epic_skills_reads_the_winner_of_each_pair() -> None:
    """Reading columns one and two as better and worse would reverse half of the judgements."""
    for task in ("chopstick_using", "hand_drawing", "suturing"):
        assert all(p.better < p.worse for p in read_dataset(EPIC, DatasetOptions(task=task)).pairs)


def test_epic_skills_from_one_task_folder() -> None:
    """A user with one task only could not use it."""
    data = read_dataset(EPIC / "annotations" / "Suturing")
    assert data.name == "EPIC-Skills 2018, suturing"
    assert data.groups is not None
    assert set(data.groups.values()) == {"surgeon B", "surgeon C"}
    assert data.known is None
    assert read_dataset(EPIC, DatasetOptions(task="surgery")).known == "surgery"


def test_epic_skills_names_fit_video_files() -> None:
    """Annotations that do not find their videos are of no use."""
    surgery = read_dataset(EPIC, DatasetOptions(task="surgery"))
    keys = [
        f"{task}/video/{task}_{trial}_capture{camera}.avi"
        for task in ("Suturing", "Knot_Tying", "Needle_Passing")
        for trial in ("B001", "B002", "C001", "C002")
        for camera in (1, 2)
    ]
    matching = surgery.match(keys)
    assert matching.keys["Suturing/B001"] == "Suturing/video/Suturing_B001_capture2.avi"
    assert len(matching.keys) == 12
    drawing = read_dataset(EPIC, DatasetOptions(task="drawing"))
    keys = [
        f"{kind}/{video}-S.mp4" for kind in ("Hand", "Sonic") for video in ("A1", "A2", "B1", "B2")
    ]
    assert drawing.match(keys).keys["Sonic_Drawing/B2"] == "Sonic/B2-S.mp4"


def test_dough_names_carry_their_segments() -> None:
    """Whole kitchen videos would be judged in place of the rolling."""
    dough = read_dataset(EPIC, DatasetOptions(task="dough_rolling"))
    assert dough.spans["Dough_Rolling/S08"] == Span(101, 901, "frames")
    assert dough.match(["x/S08_Pizza_0001.MP4"]).keys == {
        "Dough_Rolling/S08": "x/S08_Pizza_0001.MP4"
    }


@pytest.mark.parametrize("task", ["chopstick_using", "dough_rolling", "drawing", "surgery"])
def test_raan_folds_are_epic_skills_folds(task: str) -> None:
    """The same folds under other names would count as different data."""
    ours, theirs = (
        read_dataset(RAAN, DatasetOptions(task=task)),
        read_dataset(EPIC, DatasetOptions(task=task)),
    )
    for a, b in zip(ours.folds, theirs.folds, strict=True):
        assert sorted(a.train, key=str) == sorted(b.train, key=str)
        assert sorted(a.test, key=str) == sorted(b.test, key=str)
    assert ours.known == theirs.known


def test_best_has_one_split_without_common_videos() -> None:
    """BEST's test videos must be unseen, and its cut times known."""
    data = read_dataset(
        FIXTURES / "annotations" / "RAAN", DatasetOptions(dataset="best", task="Tie-Tie")
    )
    assert _counts(data) == (6, 7, [6], [1])
    assert data.folds[0].unseen() == [2]
    assert data.spans["tie_tie/ti-1_x"] == Span(1.5, 61.25, "seconds")
    assert data.match(["ti-1_x.mp4"]).keys == {"tie_tie/ti-1_x": "ti-1_x.mp4"}


def test_best_refuses_a_video_on_both_sides(tmp_path: Path) -> None:
    """A test video listed for training as well would leak unnoticed."""
    shutil.copytree(FIXTURES / "annotations" / "RAAN" / "BEST", tmp_path / "BEST")
    listing = tmp_path / "BEST" / "splits" / "origami" / "train_vid_list.txt"
    listing.write_text(listing.read_text() + "or-4_x\n")
    with pytest.raises(InputError, match="1 videos are listed for training and for testing"):
        read_dataset(tmp_path / "BEST", DatasetOptions(task="origami"))


def test_infant_grasp_labels_and_folds() -> None:
    """A sign error would train on reversed judgements; a lost cross pair changes the test."""
    data = read_dataset(FIXTURES / "annotations" / "infant_grasp")
    assert len(data.videos) == 9
    assert len(data.pairs) == 29  # 36 lines, 7 undecided
    assert all(p.better < p.worse for p in data.pairs)
    assert data.known == "infant-grasp"
    assert "7 undecided" in data.folds_source
    held = [sorted(fold.held_out) for fold in data.folds]
    # Quarters of floor(9 / 4) = 2 in order; the ninth video is never tested unseen.
    assert held == [["00_L", "01_L"], ["02_L", "03_L"], ["04_L", "05_L"], ["06_L", "07_L"]]
    for fold in data.folds:
        assert len(fold.train) + len(fold.test) == 29
        assert set(fold.unseen()) == {1, 2}


def test_infant_grasp_refuses_other_labels(tmp_path: Path) -> None:
    """A label of another scheme (1 and 2) must not be taken for a preference."""
    (tmp_path / "annotation.txt").write_text("a b 1\na c 2\n")
    with pytest.raises(InputError, match="line 2: expected two videos and a label"):
        infant_grasp.read(tmp_path)


def test_jigsaws_meta_file_and_groups() -> None:
    """Doubled tabs would shift the columns, and surgeons would be cut across folds."""
    trials = jigsaws.read_trials(
        FIXTURES / "annotations" / "JIGSAWS/Suturing/meta_file_Suturing.txt"
    )
    assert trials[0] == jigsaws.Trial("Suturing_B001", "N", 16, (2, 3, 4, 5, 1, 1))
    assert [t.level for t in trials] == list("NNNIIIEEE")
    data = read_dataset(
        FIXTURES / "annotations" / "JIGSAWS", DatasetOptions(task="suturing", group_by="subject")
    )
    subjects = group_of(data.videos, jigsaws.GROUPS["subject"])
    assert len(data.folds) == 3
    for fold in data.folds:
        assert len({subjects[v] for v in fold.held_out}) == 1
    left_out = read_dataset(FIXTURES / "annotations" / "JIGSAWS", DatasetOptions(task="suturing"))
    assert sorted({v[-3:] for v in f.held_out}.pop() for f in left_out.folds) == [
        "001",
        "002",
        "003",
    ]
    assert all(len({v[-3:] for v in f.held_out}) == 1 for f in left_out.folds)
    assert data.scores is not None
    assert all(data.scores[p.better] > data.scores[p.worse] for p in data.pairs)
    assert data.match(["Suturing/video/Suturing_B001_capture2.avi"]).keys


def test_mit_dive_split_and_gap() -> None:
    """Other dives or small score gaps would make results incomparable with the published."""
    data = read_dataset(FIXTURES / "annotations" / "mit_dive")
    fold = data.folds[0]
    assert data.scores is not None
    assert len(data.scores) == 159
    assert {int(v) for v in fold.train_videos} <= set(range(1, 101))
    assert {int(v) for v in fold.held_out} <= set(range(101, 160))
    assert set(fold.unseen()) == {2}
    assert min(data.scores[p.better] - data.scores[p.worse] for p in data.pairs) > 5


def test_mit_dive_arrays_and_tables_agree(tmp_path: Path) -> None:
    """The published score file comes as .npy, .mat and .csv: all must read the same."""
    from scipy.io import savemat

    text = read_dataset(FIXTURES / "annotations" / "mit_dive")
    assert text.scores is not None
    values = np.array(list(text.scores.values()))
    np.save(tmp_path / "diving_overall_scores.npy", values[:, None])
    savemat(tmp_path / "a.mat", {"overall_scores": values[None]})
    # Numbers without zeros in front: sorted as text they would be in another order.
    rows = "".join(f"{i},{v}\n" for i, v in enumerate(values, 1))
    (tmp_path / "a.csv").write_text(f"video,score\n{rows}")
    for path in (tmp_path, tmp_path / "a.mat", tmp_path / "a.csv"):
        assert read_dataset(path, DatasetOptions(dataset="mit-dive")).pairs == text.pairs
    np.save(tmp_path / "evil.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="cannot read it"):
        read_dataset(tmp_path / "evil.npy")  # a pickle could run code


def test_own_tables() -> None:
    """Anybody's own file must work without a word about its form."""
    pairs = read_dataset(FIXTURES / "annotations" / "own/pairs.csv", DatasetOptions(folds=2))
    assert len(pairs.pairs) == 10
    assert len(pairs.folds) == 2
    assert pairs.scores is None
    scored = read_dataset(FIXTURES / "annotations" / "own/scores.csv", DatasetOptions(folds=2))
    assert len(scored.pairs) == 27  # of 28, dan_1 and dan_2 are equal
    wide = read_dataset(
        FIXTURES / "annotations" / "own/scores.csv", DatasetOptions(folds=2, score_gap=3)
    )
    assert len(wide.pairs) == 12  # a gap of exactly 3 is too small
    by_person = read_dataset(
        FIXTURES / "annotations" / "own/pairs.csv", DatasetOptions(folds=0, group_by=r"^([a-z]+)_")
    )
    assert len(by_person.folds) == 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("video,score\na,x\n", "line 2: expected a video and a finite score"),
        ("video,score\na,1\na,2\n", "line 3: 'a' is listed twice"),
        ("video,score\na,1\nb,1\n", "no two scores differ"),
        ("video,score\na,nan\n", "finite"),
    ],
)
def test_bad_score_tables_are_refused(tmp_path: Path, text: str, message: str) -> None:
    """A slip in a table must be shown with its line, not trained on."""
    (tmp_path / "s.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        read_dataset(tmp_path / "s.csv")


def test_unclear_folders_ask_what_they_are(tmp_path: Path) -> None:
    """Guessing among data sets, tasks or files would evaluate the wrong one."""
    with pytest.raises(InputError, match="not clear, found none"):
        read_dataset(tmp_path)
    with pytest.raises(InputError, match=r"several \(raan, best\): choose one by --dataset"):
        read_dataset(FIXTURES / "annotations" / "RAAN")
    with pytest.raises(InputError, match=r"choose one by --task from .*Surgery"):
        read_dataset(EPIC)
    with pytest.raises(InputError, match="has no task 'knitting'"):
        read_dataset(EPIC, DatasetOptions(task="knitting"))
    with pytest.raises(InputError, match="does not exist"):
        read_dataset(tmp_path / "absent")


def test_matching_reports_unknown_ambiguous_and_shared_videos() -> None:
    """Wrong videos under a name, or silently fewer videos, would spoil every number."""
    data = Dataset("x", [Pair("a", "b"), Pair("a", "c")], [])
    matching = data.match(["s1/a.avi", "b.mp4"])
    assert matching.keys == {"a": "s1/a.avi", "b": "b.mp4"}
    assert matching.complaint("features/") == "1 of 3 annotated videos are not in features/, e.g. c"
    with pytest.raises(InputError, match="'a' may be any of 2 videos"):
        data.match(["s1/a.avi", "s2/a.avi"])
    with pytest.raises(InputError, match="both video"):
        Dataset("x", [Pair("a", "s1/a")], []).match(["s1/a.avi"])
    # Frame folders have no extension, and a dot in their names is part of the name.
    assert Dataset("x", [Pair("v.1", "v.2")], []).match(["v.1", "v.2"]).unknown == ()


def test_fixtures_are_consistent() -> None:
    """The other tests rely on fixtures without contradictions."""
    for data in (
        read_dataset(EPIC, DatasetOptions(task="surgery")),
        read_dataset(FIXTURES / "annotations" / "infant_grasp"),
    ):
        report = check_pairs(data.pairs)
        assert not report.contradictions
        assert not report.cycles
