"""What train-ranker makes of judgements and data sets: used rightly, or refused in one line."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from data.cache.features import create_features
from data.cache.folder import cache_path
from data.cache.header import Header
from data.errors import InputError
from data.judgements.pairs import Pair
from model.ranker.options import TrainOptions
from pipeline.runs.folder import CHECKPOINT, load_run
from pipeline.runs.judgements import Judgements
from pipeline.train_ranker.plan import plan_training
from tests.helpers.places import FIXTURES
from tests.helpers.training import settings_of, train_ranker
from tests.train_ranker.material import (
    FLAGS,
    RANKER,
    C,
    run,
    train,
)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("better,worse\nA0,B1\nA0,nobody\n", "1 of 3 videos have no feature cache, e.g. nobody"),
        ("", "is empty"),
        ("A0,B1\n", "expected the columns"),
        ("better,worse\n", "no pairs"),
    ],
)
def test_bad_pairs_are_one_line_and_exit_2(place, tmp_path, text, told):
    """Fails if a list that cannot be meant trains a ranker, or ends in a traceback."""
    (tmp_path / "bad.csv").write_text(text)
    result = run(
        "train-ranker", "--features", place / "features", "--pairs", tmp_path / "bad.csv",
        "-o", tmp_path / "run",
    )  # fmt: skip
    assert result.exit_code == 2
    errors = [line for line in result.output.splitlines() if line.startswith("error")]
    assert len(errors) == 1
    assert told in errors[0]
    assert not (tmp_path / "run").exists()


def test_contradictory_pairs_are_reported_and_used_unless_strict(place, tmp_path):
    """Fails if contradictions are hidden, or treated otherwise than by evaluate."""
    (tmp_path / "both.csv").write_text("better,worse\nB1,A0\nA0,B1\nA2,A0\nB3,A0\n")
    result = train(place, tmp_path / "run", "--dry-run", pairs=tmp_path / "both.csv")
    assert result.exit_code == 0, result.output
    warned = next(line for line in result.stderr.splitlines() if line.startswith("warning"))
    assert "1 pair judged both ways, e.g. B1.mp4 > A0.mp4 (1 for, 1 against)" in warned
    assert "attainable pair accuracy: at most 75.00 %" in warned
    result = train(place, tmp_path / "run", "--strict", pairs=tmp_path / "both.csv")
    assert result.exit_code == 2
    assert "1 pair judged both ways" in result.stderr
    assert not (tmp_path / "run").exists()


def test_pairs_of_unknown_videos_are_left_out_when_asked_and_counted(place, tmp_path):
    """Fails if --missing skip drops pairs without a word, or keeps none."""
    (tmp_path / "typo.csv").write_text("better,worse\nB9,A0\nB9,nobody\nB9,A2\n")
    more = ["--missing", "skip", "--dry-run", "--protocol", "last"]
    result = train(place, tmp_path / "run", *more, pairs=tmp_path / "typo.csv")
    assert result.exit_code == 0, result.output
    assert "1 of 4 videos have no feature cache, e.g. nobody: 1 of 3 pairs left out" in (
        result.stderr
    )
    assert "2 training pairs of 3 videos" in result.output
    (tmp_path / "typo.csv").write_text("better,worse\nB9,nobody\n")
    result = train(place, tmp_path / "run", *more, pairs=tmp_path / "typo.csv")
    assert result.exit_code == 2
    assert "no pair is left" in result.stderr


def test_scored_videos_train_without_folds(place, tmp_path):
    """Fails if a `video,score` table that evaluate takes is refused, or too few for folds."""
    (tmp_path / "scores.csv").write_text("video,score\nA0,1\nB9,7.5\n")
    result = train(place, tmp_path / "run", "--epochs", "2", pairs=tmp_path / "scores.csv")
    assert result.exit_code == 0, result.output
    assert load_run(tmp_path / "run").training_videos == ("A0.mp4", "B9.mp4")


def test_only_the_judged_part_is_trained_on_and_the_run_says_so(place, tmp_path):
    """Fails if frames outside the judged part train or score, or the run hides the cut."""
    from data.judgements.dataset import Span

    pairs = [Pair("B9.mp4", "A0.mp4"), Pair("B9.mp4", "A2.mp4")]
    spans = {"B9.mp4": Span(8, 22, "frames")}  # of snippets at 0, 5, … 35 these: 10, 15, 20
    options = TrainOptions(epochs=2)
    whole = train_ranker(
        place / "features", pairs, tmp_path / "whole", ranker=RANKER, train=options
    )
    part = train_ranker(
        place / "features", pairs, tmp_path / "part", ranker=RANKER, train=options, spans=spans
    )
    assert part.scores.tolist() != whole.scores.tolist()
    saved = load_run(tmp_path / "part")
    assert saved.parts == {"B9.mp4": (8, 23)}
    assert "judged part alone of 1 of 3 videos" in saved.part_note()
    assert not load_run(tmp_path / "whole").part_note()
    with (tmp_path / "part" / "scores.csv").open() as file:
        frames = {row["video"]: row["frames"] for row in csv.DictReader(file)}
    assert frames == {"A0.mp4": "all", "A2.mp4": "all", "B9.mp4": "8 to 22"}
    settings = settings_of(place / "features", tmp_path, ranker=RANKER, train=options)
    plan = plan_training(settings, Judgements(train=pairs, spans=spans))
    assert [list(rows) for rows in plan.features.rows][-1] == [2, 3, 4]
    told = (
        "only the judged part of the file is used of 1 of 3 videos, e.g. frames 8 to 22 of B9.mp4"
    )
    assert told in " ".join(plan.lines())
    with pytest.raises(InputError, match="other features, pairs, seed or options"):
        train_ranker(
            place / "features", pairs, tmp_path / "part", ranker=RANKER, train=options, resume=True
        )


def test_whole_videos_of_best_are_cut_to_their_judged_seconds(tmp_path):
    """Fails if the command drops the judged parts that a data set gives."""
    frames = np.arange(10) * 250  # of 100 s at 25 frames a second
    for number in range(6):
        key = f"origami/or-{number}_x.mp4"
        header = Header("features", source_digest=key, decoded_frames=2500)
        path = cache_path(tmp_path / "features", key)
        with create_features(path, header, frames, frames / 25, (C, 2, 2)) as out:
            for row in range(len(frames)):
                out.put(row, np.full((C, 2, 2), number + row / 10))
    best = FIXTURES / "annotations" / "RAAN" / "BEST"
    result = run(
        "train-ranker", "--features", tmp_path / "features", "--pairs", best, "--task", "origami",
        "--fold", "1", "-o", tmp_path / "run", *FLAGS[:-1], "2",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "only the judged part of the file is used of 6 of 6 videos" in result.stderr
    # BEST.csv: 0.5 to 60.25 s of or-0_x.
    assert load_run(tmp_path / "run").parts["origami/or-0_x.mp4"] == (12, 1507)


def test_what_cannot_be_trained_is_one_line(place, tmp_path):
    """Fails if a diverging run writes a checkpoint, or a bad number ends in a traceback."""
    # Each step multiplies the weights by 1 - 10 · 10.
    flags = "--optimizer sgd --learning-rate 10 --weight-decay 10 --clip-norm 0 --epochs 60"
    result = train(place, tmp_path / "run", *flags.split(), "--protocol", "last")
    assert result.exit_code == 2
    assert "training diverged: the loss became" in result.stderr
    assert not (tmp_path / "run" / CHECKPOINT).exists()
    result = train(place, tmp_path / "other", "--seed", "-1")
    assert result.exit_code == 2
    assert "Invalid value for '--seed'" in result.stderr
    result = train(place, tmp_path / "other", "--segments", "9", "--dry-run")
    assert "8 of 8 videos have fewer snippets (8 at least) than 9 segments" in result.stderr


def test_a_variant_without_its_streams_is_refused(place, tmp_path):
    """Fails if video_lstm is trained on fused maps."""
    result = train(place, tmp_path / "run", "--variant", "video_lstm")
    assert result.exit_code == 2
    assert "--keep-streams" in result.output


def test_a_fold_of_a_data_set_trains_and_tests(place, tmp_path):
    """Fails if --fold mixes its sides, or --group-by splits a subject in validation."""
    more = ["--fold", "1", "--folds", "2", "--epochs", "2"]
    result = train(place, tmp_path / "fold", *more)
    assert result.exit_code == 0, result.output
    metrics = json.loads((tmp_path / "fold" / "metrics.json").read_text())
    assert metrics["pairs"]["test"] > 0
    # Every test pair of a fold names a video that no training pair names.
    assert not [name for name in metrics["accuracy"] if name.endswith("both seen")]
    result = train(place, tmp_path / "fold", "--fold", "9", "--folds", "2", "--overwrite")
    assert result.exit_code == 2
    assert "has 2 folds" in result.output
    result = train(
        place, tmp_path / "subject", "--group-by", "^[AB]", "--dry-run",
        "--protocol", "validation",
    )  # fmt: skip
    # Four videos of one subject left of eight: held out together.
    assert "they name 4 held-out training videos" in result.output


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--seed", "18446744073709551616"),
        ("--learning-rate", "nan"),
        ("--learning-rate", "1e30"),
        ("--margin", "inf"),
        ("--epochs", "999999999999999999999"),
        ("--hidden-size", "9" * 30),
        ("--fold-seed", str(2**64)),
        ("--score-gap", "-1"),
    ],
)
@pytest.mark.parametrize("by_file", [False, True])
def test_values_that_no_training_can_use_name_their_option(place, tmp_path, flag, value, by_file):
    """Fails if such a value trains to nonsense, or the message names another thing."""
    config = tmp_path / "c.toml"
    config.write_text(f"{flag[2:]} = {value}\n")
    given = ["--config", config] if by_file else [flag, value]
    result = train(place, tmp_path / "run", *given)
    if by_file and flag in ("--epochs", "--hidden-size"):  # FLAGS of the command line win
        return
    assert result.exit_code == 2, result.output
    assert f"Invalid value for '{flag}'" in result.stderr
    assert not (tmp_path / "run").exists()


def test_pairs_of_another_machine_with_ties_train(place, tmp_path):
    """Fails if a German spreadsheet's export with paths of Windows needs work by hand."""
    films = [("B1", "A0", "B1"), ("A2", "A0", "A2"), ("B1", "B3", "tie"), ("B3", "A0", "")]
    rows = ["sep=;", "Vid1;Vid2;Best"]
    for row in films:
        rows.append(";".join(f"D:\\films\\{n}.avi" if n[:1] in ("A", "B") else n for n in row))
    path = tmp_path / "pairs.csv"
    path.write_bytes("\r\n".join(rows).encode("utf-16"))
    result = train(place, tmp_path / "run", "--protocol", "last", pairs=path)
    assert result.exit_code == 0, result.output
    assert "2 ties left out" in result.stderr
    assert set(load_run(tmp_path / "run").training_videos) == {"A0.mp4", "A2.mp4", "B1.mp4"}
