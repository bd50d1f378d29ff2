"""train-ranker as a user runs it: what it writes, resumes and keeps."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from data.errors import InputError
from data.judgements.pairs import Pair
from model.ranker.options import TrainOptions
from pipeline.runs.features import find_feature_set
from pipeline.runs.folder import CHECKPOINT, FILES, load_run
from pipeline.runs.judgements import Judgements
from pipeline.runs.maps import read_maps
from pipeline.runs.state import StateFile
from pipeline.train_ranker import training
from pipeline.train_ranker.plan import plan_training
from tests.helpers.training import settings_of, train_ranker
from tests.train_ranker.material import (
    RANKER,
    SIDE,
    C,
    V,
    contents,
    train,
)

CHOSEN = TrainOptions(protocol="validation")


def test_the_run_folder_holds_everything_and_the_same_bytes_each_time(place, tmp_path):
    """Fails if a file is missing or differs between equal runs, or scores are not the model's."""
    for name in ("one", "two"):
        result = train(place, tmp_path / name, "--test-pairs", place / "test.csv")
        assert result.exit_code == 0, result.output
    assert "pair accuracy: train" in result.output
    assert set(contents(tmp_path / "one")) == set(FILES)
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


def trained_on_one_pair(place, output, epochs):
    train_ranker(
        place / "features", [Pair("B9.mp4", "A0.mp4")], output, ranker=RANKER,
        train=TrainOptions(epochs=epochs),
    )  # fmt: skip
    return load_run(output)


def test_a_loaded_run_scores_exactly_as_it_did(place, tmp_path):
    """Fails if the checkpoint loses a weight or an option that scoring depends on."""
    from model.ranker.scoring import score

    saved = trained_on_one_pair(place, tmp_path, epochs=2)
    videos = read_maps(find_feature_set(place / "features", saved.keys, saved.ranker.segments))
    again = score(saved.model, videos, saved.ranker.segments, saved.train.sampling)
    assert again.score.tolist() == list(saved.scores)


def test_small_sets_keep_all_their_pairs(place, tmp_path, undivided):
    """Fails if 28 pairs give a third of themselves away to choose an epoch, or do so unsaid."""
    result = train(place, tmp_path, "--protocol", "validation")
    assert result.exit_code == 0, result.output
    assert "28 training pairs are too few to hold some back" in result.stderr
    assert "epoch 12 of 12 (last epoch)" in result.output


def test_validation_holds_out_training_videos_and_never_sees_test_pairs(place):
    """Fails if a test video trains or chooses, or a validation video is trained on."""
    keys = [f"{'AB'[v % 2]}{v}.mp4" for v in range(V)]
    pairs = [Pair(keys[a], keys[b]) for a in range(V) for b in range(a)]
    pairs = [p for p in pairs if not {p.better, p.worse} & {keys[4], keys[7]}]
    test = [Pair(keys[7], keys[4])]
    settings = settings_of(place / "features", place / "run", ranker=RANKER, train=CHOSEN)
    for groups in (None, {key: key[0] for key in keys}):
        plan = plan_training(settings, Judgements(train=pairs, test=test, groups=groups))
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


def test_all_pairs_are_fitted_to_the_last_epoch_unless_a_choice_is_asked_for(place, tmp_path):
    """Fails if pairs are held back by default, or an option of the choice does nothing unsaid."""
    result = train(place, tmp_path)
    assert result.exit_code == 0, result.output
    assert "epoch 12 of 12 (last epoch)" in result.output
    assert json.loads((tmp_path / "metrics.json").read_text())["pairs"]["validation"] == 0
    for flags in (["--validation-share", "0.3"], ["--patience", "3"]):
        result = train(place, tmp_path / "other", *flags)
        assert result.exit_code == 2
        assert f"{' '.join(flags)}: with --protocol last all pairs are fitted" in result.stderr
        flags += ["--protocol", "validation", "--dry-run"]
        assert train(place, tmp_path / "other", *flags).exit_code == 0


def test_a_subject_on_both_sides_of_validation_is_told(place, tmp_path):
    """Fails if single videos are held out in silence where the names give one group only."""
    chosen = ["--protocol", "validation", "--dry-run"]
    two = train(place, tmp_path, "--group-by", "^([AB])", *chosen)
    assert two.exit_code == 0, two.output
    assert "too few groups" not in two.stderr
    one = train(place, tmp_path, "--group-by", "()", *chosen)
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
    monkeypatch.setattr(training, "STATE_INTERVAL", 0.0)
    write = StateFile.write

    def interrupted(states, state):
        write(states, state)
        if state.epoch == 5:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(StateFile, "write", interrupted)
        assert train(place, tmp_path / "broken").exit_code == 130
    assert set(contents(tmp_path / "broken")) == {"state.pt"}
    result = train(place, tmp_path / "broken", "--resume")
    assert result.exit_code == 0, result.output
    assert contents(tmp_path / "broken") == contents(tmp_path / "whole")


def test_more_epochs_go_on_from_the_last_one(place, tmp_path):
    """Fails if a finished run goes on from the weights that it chose, not from its last ones."""
    # Too high a rate: the last epoch is not the best one.
    more = ["--learning-rate", "0.2", "--protocol", "validation", "--patience", "0"]
    assert train(place, tmp_path / "whole", *more, "--epochs", "16").exit_code == 0
    assert train(place, tmp_path / "longer", *more).exit_code == 0
    assert json.loads((tmp_path / "longer" / "metrics.json").read_text())["best_epoch"] < 12
    result = train(place, tmp_path / "longer", *more, "--epochs", "16", "--resume")
    assert result.exit_code == 0, result.output
    whole, longer = contents(tmp_path / "whole"), contents(tmp_path / "longer")
    assert longer["metrics.csv"] == whole["metrics.csv"]
    assert longer["scores.csv"] == whole["scores.csv"]


def test_an_earlier_run_is_never_lost_or_mixed_unasked(place, tmp_path):
    """Fails if a finished run is overwritten, or resumed with other options, without a word."""
    assert train(place, tmp_path).exit_code == 0
    (tmp_path / "notes.txt").write_text("mine")
    before = contents(tmp_path)
    result = train(place, tmp_path)
    assert result.exit_code == 2
    assert "already holds a run" in result.output
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
    result = train(place, tmp_path / "run", "--dry-run", "--protocol", "validation")
    assert result.exit_code == 0
    assert not (tmp_path / "run").exists()
    assert "8 videos, 64 snippets of 4×3×3" in result.output
    assert "kept for validation" in result.output
    assert "epochs at most, and write to" in result.output
    assert "memory: about 660.0 MB, 4.6 KB of it maps" in result.output


def test_checkpoints_of_another_shape_are_refused(place, tmp_path):
    """Fails if weights are read into a network of other sizes, or features of other maps scored."""
    from pipeline.runner.files import read_safetensors, write_safetensors

    saved = trained_on_one_pair(place, tmp_path, epochs=1)
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


def test_stage_one_travels_with_the_run(place, tmp_path):
    """Fails if a run alone does not hold the weights that new videos must be shown to."""
    from pipeline.stage_one.file import FILE_NAME

    features = tmp_path / "features"
    features.mkdir()
    for path in (place / "features").iterdir():
        (features / path.name).write_bytes(path.read_bytes())
    (features / FILE_NAME).write_bytes(b"weights of stage one")
    pairs = [Pair("B9.mp4", "A0.mp4")]
    train_ranker(features, pairs, tmp_path / "run", ranker=RANKER, train=TrainOptions(epochs=1))
    assert (tmp_path / "run" / FILE_NAME).read_bytes() == b"weights of stage one"


BLEND = ["--variant", "blend", "--members", "2", "--epochs", "6"]


def test_blend_is_a_run_like_any_other(place, tmp_path, monkeypatch):
    """Fails if a blend cannot be saved, loaded, resumed or told in words."""
    result = train(place, tmp_path / "whole", *BLEND, "--test-pairs", place / "test.csv")
    assert result.exit_code == 0, result.output
    assert "what moves the score: attention networks" in result.output
    assert set(contents(tmp_path / "whole")) == set(FILES)
    saved = load_run(tmp_path / "whole")
    videos = read_maps(find_feature_set(place / "features", saved.keys, saved.ranker.segments))
    from model.ranker.scoring import score

    again = score(saved.model, videos, saved.ranker.segments, saved.train.sampling)
    # float32 products round by where their operands lie in memory.
    np.testing.assert_allclose(again.score, saved.scores, rtol=1e-5, atol=1e-5)
    assert saved.cue_note()
    monkeypatch.setattr(training, "STATE_INTERVAL", 0.0)
    write = StateFile.write

    def interrupted(states, state):
        write(states, state)
        if state.epoch == 8:
            raise KeyboardInterrupt

    more = ["--test-pairs", place / "test.csv"]
    with monkeypatch.context() as patch:
        patch.setattr(StateFile, "write", interrupted)
        assert train(place, tmp_path / "broken", *BLEND, *more).exit_code == 130
    result = train(place, tmp_path / "broken", *BLEND, *more, "--resume")
    assert result.exit_code == 0, result.output
    assert contents(tmp_path / "broken") == contents(tmp_path / "whole")


def test_blend_refuses_what_it_cannot_do(place, tmp_path):
    """Fails if the authors' protocol shows a blend the test pairs, or too few pairs crash it."""
    more = ["--protocol", "authors", "--test-pairs", place / "test.csv"]
    result = train(place, tmp_path, *BLEND, *more)
    assert result.exit_code == 2
    assert "never sees test pairs" in result.output
    pair = tmp_path / "one.csv"
    pair.write_text("better,worse\nB9.mp4,A0.mp4\n")
    result = train(place, tmp_path / "run", *BLEND, pairs=pair)
    assert result.exit_code == 2
    assert "train another variant" in result.output
