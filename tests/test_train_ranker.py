"""train-ranker as a user runs it: what it writes, resumes and refuses."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from data.cache import cache_path
from data.cache_header import Header
from data.errors import InputError
from data.feature_cache import create_features
from data.pairs import Pair
from model.ranker.options import RankerOptions, TrainOptions
from pipeline import ranker_plan, ranker_run, ranker_state, run_folder
from pipeline.cli import cli
from pipeline.run_folder import CHECKPOINT, load_run
from pipeline.train_ranker import train_ranker

V, S, C, SIDE = 10, 8, 4, 3
FLAGS = ["--segments", "4", "--hidden-size", "6", "--attention-size", "4", "--epochs", "12"]
RANKER = RankerOptions(segments=4, hidden_size=6, attention_size=4)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Ten caches whose first channel tells skill, two subjects, and all pairs but two videos'."""
    folder = tmp_path_factory.mktemp("stage_two")
    rng = np.random.default_rng(0)
    for video in range(V):
        key = f"{'AB'[video % 2]}{video}.mp4"
        header = Header(
            "features", source_digest=key, decoded_frames=5 * S, weights={"rgb": "r", "fusion": "u"}
        )
        path = cache_path(folder / "features", key)
        frames = np.arange(S) * 5
        with create_features(path, header, frames, frames / 25, (C, SIDE, SIDE)) as out:
            for row in range(S):
                maps = rng.normal(size=(C, SIDE, SIDE))
                maps[0] += video / 3
                out.put(row, maps)
    names = [f"{'AB'[video % 2]}{video}" for video in range(V)]
    train = [(names[a], names[b]) for a in range(V) for b in range(a) if {a, b}.isdisjoint({4, 7})]
    write_pairs(folder / "pairs.csv", train)
    write_pairs(folder / "test.csv", [(names[7], names[4]), (names[9], names[4])])
    return folder


def write_pairs(path, pairs):
    path.write_text("better,worse\n" + "".join(f"{a},{b}\n" for a, b in pairs))


def run(*arguments):
    return CliRunner().invoke(cli, list(map(str, arguments)))


def train(place, output, *more, pairs="pairs.csv"):
    return run(
        "train-ranker", "--features", place / "features", "--pairs", place / pairs,
        "-o", output, *FLAGS, *more,
    )  # fmt: skip


def contents(folder):
    """Return each file's bytes; of the record all but its time, which no two runs share."""
    found = {p.name: p.read_bytes() for p in sorted(folder.iterdir())}
    if "record.json" in found:
        found["record.json"] = json.loads(found["record.json"]) | {"seconds": None}
    return found


def test_the_run_folder_holds_everything_and_the_same_bytes_each_time(place, tmp_path):
    """Fails if a file is missing or differs between equal runs, or scores are not the model's."""
    for name in ("one", "two"):
        result = train(place, tmp_path / name, "--test-pairs", place / "test.csv")
        assert result.exit_code == 0, result.output
    assert "pair accuracy: train" in result.output
    assert set(contents(tmp_path / "one")) == set(run_folder.FILES)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    with (tmp_path / "one" / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["video", "score", "rank", "percentile"]
    assert [int(row["rank"]) for row in rows] == list(range(1, V + 1))
    assert [float(row["percentile"]) for row in rows] == [95 - 10 * i for i in range(V)]
    saved = load_run(tmp_path / "one")
    by_key = dict(zip(saved.keys, saved.scores, strict=True))
    assert {row["video"]: float(row["score"]) for row in rows} == by_key
    assert (saved.ranker, saved.shape) == (RANKER, (C, SIDE, SIDE))
    metrics = json.loads((tmp_path / "one" / "metrics.json").read_text())
    assert metrics["accuracy"]["test"] == 1.0
    assert (tmp_path / "one" / "learning_curves.png").read_bytes().startswith(b"\x89PNG")


def test_a_loaded_run_scores_exactly_as_it_did(place, tmp_path):
    """Fails if the checkpoint loses a weight or an option that scoring depends on."""
    from model.ranker.training import score
    from pipeline.feature_set import load_feature_set

    train_ranker(
        place / "features", [Pair("B9.mp4", "A0.mp4")], tmp_path, ranker=RANKER,
        train=TrainOptions(epochs=2),
    )  # fmt: skip
    saved = load_run(tmp_path)
    videos = load_feature_set(place / "features", saved.keys, saved.ranker.segments)
    again = score(saved.model, videos, saved.ranker.segments, saved.train.sampling)
    assert again.score.tolist() == list(saved.scores)


def test_validation_holds_out_training_videos_and_never_sees_test_pairs(place):
    """Fails if a test video trains or chooses, or a validation video is trained on."""
    keys = [f"{'AB'[v % 2]}{v}.mp4" for v in range(V)]
    pairs = [Pair(keys[a], keys[b]) for a in range(V) for b in range(a)]
    pairs = [p for p in pairs if not {p.better, p.worse} & {keys[4], keys[7]}]
    test = [Pair(keys[7], keys[4])]
    for groups in (None, {key: key[0] for key in keys}):
        plan = ranker_plan.plan_training(
            place / "features", pairs, test, RANKER, TrainOptions(), groups, 1, 0
        )
        trained = {v for p in plan.train_pairs for v in (p.better, p.worse)}
        validated = {v for p in plan.validation_pairs for v in (p.better, p.worse)}
        held = validated - trained
        assert held
        assert trained
        assert not (trained | validated) & {keys[4], keys[7]}
        assert all({p.better, p.worse} & held for p in plan.validation_pairs)
        assert len(plan.train_pairs) + len(plan.validation_pairs) == len(pairs)
        if groups:
            assert {key[0] for key in held}.isdisjoint(key[0] for key in trained)


def test_a_subject_on_both_sides_of_validation_is_told(place, tmp_path):
    """Fails if single videos are held out in silence where the names give one group only."""
    two = train(place, tmp_path, "--group-by", "^([AB])", "--dry-run")
    assert two.exit_code == 0, two.output
    assert "too few groups" not in two.stderr
    one = train(place, tmp_path, "--group-by", "()", "--dry-run")
    assert one.exit_code == 0, one.output
    assert "too few groups to hold one out" in one.stderr


def test_the_authors_protocol_is_labelled_in_every_output(place, tmp_path):
    """Fails if numbers chosen on the test pairs can be mistaken for honest ones."""
    more = ["--protocol", "authors", "--test-pairs", place / "test.csv"]
    result = train(place, tmp_path, *more)
    assert result.exit_code == 0, result.output
    assert "AUTHORS' PROTOCOL" in result.output
    for name in ("metrics.json", "scores.csv"):
        assert "AUTHORS' PROTOCOL" in (tmp_path / name).read_text()
    assert ",authors\n" in (tmp_path / "metrics.csv").read_text()
    assert "AUTHORS' PROTOCOL" in load_run(tmp_path).protocol
    result = train(place, tmp_path / "other", "--protocol", "authors")
    assert result.exit_code == 2
    assert "--test-pairs" in result.output


def test_resume_ends_with_the_bytes_of_an_uninterrupted_run(place, tmp_path, monkeypatch):
    """Fails if an interruption changes the outcome in any file."""
    assert train(place, tmp_path / "whole").exit_code == 0
    monkeypatch.setattr(ranker_run, "STATE_INTERVAL_S", 0.0)
    save = ranker_state.save_state

    def interrupted(folder, state, fingerprint):
        save(folder, state, fingerprint)
        if state.epoch == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(ranker_state, "save_state", interrupted)
    assert train(place, tmp_path / "broken").exit_code == 130
    assert set(contents(tmp_path / "broken")) == {"state.pt"}
    monkeypatch.setattr(ranker_state, "save_state", save)
    result = train(place, tmp_path / "broken", "--resume")
    assert result.exit_code == 0, result.output
    assert contents(tmp_path / "broken") == contents(tmp_path / "whole")


def test_an_earlier_run_is_never_lost_or_mixed_unasked(place, tmp_path):
    """Fails if a finished run is overwritten, or resumed with other options, without a word."""
    assert train(place, tmp_path).exit_code == 0
    (tmp_path / "notes.txt").write_text("mine")
    before = contents(tmp_path)
    result = train(place, tmp_path)
    assert result.exit_code == 2
    assert "holds a run already" in result.output
    result = train(place, tmp_path, "--resume", "--learning-rate", "0.5")
    assert result.exit_code == 2
    assert "other features, pairs, seed or options" in result.output
    assert contents(tmp_path) == before
    assert train(place, tmp_path, "--overwrite", "--seed", "1").exit_code == 0
    (tmp_path / "state.pt").unlink()
    result = train(place, tmp_path, "--resume")
    assert result.exit_code == 2
    assert "holds a run without its state.pt" in result.stderr
    after = contents(tmp_path)
    assert after[CHECKPOINT] != before[CHECKPOINT]
    assert after["notes.txt"] == b"mine"


def test_dry_run_writes_nothing_and_says_what(place, tmp_path):
    """Fails if --dry-run trains, writes, or hides how many pairs are kept for validation."""
    result = train(place, tmp_path / "run", "--dry-run")
    assert result.exit_code == 0
    assert not (tmp_path / "run").exists()
    assert "8 videos, 64 snippets of 4×3×3" in result.output
    assert "kept for validation" in result.output
    assert "would read" in result.output


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
    assert "attainable pair accuracy: 75.00 %" in warned
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
    from data.annotations.dataset import Span

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
    plan = ranker_plan.plan_training(
        place / "features", pairs, [], RANKER, options, None, 1, 0, spans
    )
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
    best = Path(__file__).parent / "fixtures" / "annotations" / "RAAN" / "BEST"
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
    # Two hinges of 3e38 are infinite in float32.
    result = train(place, tmp_path / "run", "--margin", "3e38")
    assert result.exit_code == 2
    assert "training diverged: the loss became" in result.stderr
    assert not (tmp_path / "run" / CHECKPOINT).exists()
    result = train(place, tmp_path / "other", "--seed", "-1")
    assert result.exit_code == 2
    assert "--seed must not be negative" in result.stderr
    result = train(place, tmp_path / "other", "--segments", "9", "--dry-run")
    assert "8 of 8 videos have fewer snippets (8 at least) than 9 segments" in result.stderr


def test_a_variant_without_its_streams_is_refused(place, tmp_path):
    """Fails if video_lstm is trained on fused maps."""
    result = train(place, tmp_path / "run", "--variant", "video_lstm")
    assert result.exit_code == 2
    assert "--keep-streams" in result.output


def test_checkpoints_of_another_shape_are_refused(place, tmp_path):
    """Fails if weights are read into a network of other sizes, or features of other maps scored."""
    from pipeline.weights import read_safetensors, write_safetensors

    train_ranker(
        place / "features", [Pair("B9.mp4", "A0.mp4")], tmp_path, ranker=RANKER,
        train=TrainOptions(epochs=1),
    )  # fmt: skip
    saved = load_run(tmp_path)
    saved.check_features("new/", (C, SIDE, SIDE), {"rgb": "r", "fusion": "u"})
    with pytest.raises(InputError, match="new/: holds maps of 9×3×3"):
        saved.check_features("new/", (9, SIDE, SIDE), {"rgb": "r", "fusion": "u"})
    with pytest.raises(InputError, match="other fusion weights"):
        saved.check_features("new/", (C, SIDE, SIDE), {"rgb": "r", "fusion": "x"})
    tensors, metadata = read_safetensors(tmp_path / CHECKPOINT)
    tensors["fc.weight"] = tensors["fc.weight"].repeat(1, 2)
    write_safetensors(tmp_path / CHECKPOINT, tensors, metadata)
    with pytest.raises(InputError, match="another shape than its options"):
        load_run(tmp_path)
    (tmp_path / CHECKPOINT).write_bytes(b"nonsense")
    with pytest.raises(InputError, match=CHECKPOINT):
        load_run(tmp_path)
    with pytest.raises(InputError, match="no such checkpoint"):
        load_run(tmp_path / "nowhere")


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
    result = train(place, tmp_path / "subject", "--group-by", "^[AB]", "--dry-run")
    # Four videos of one subject left of eight: held out together.
    assert "they name 4 held-out training videos" in result.output


def test_stage_one_travels_with_the_run(place, tmp_path):
    """Fails if a run alone does not hold the weights that new videos must be shown to."""
    from pipeline.stage_one import FILE_NAME

    features = tmp_path / "features"
    features.mkdir()
    for path in (place / "features").iterdir():
        (features / path.name).write_bytes(path.read_bytes())
    (features / FILE_NAME).write_bytes(b"weights of stage one")
    pairs = [Pair("B9.mp4", "A0.mp4")]
    train_ranker(features, pairs, tmp_path / "run", ranker=RANKER, train=TrainOptions(epochs=1))
    assert (tmp_path / "run" / FILE_NAME).read_bytes() == b"weights of stage one"
