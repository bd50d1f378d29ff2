"""fit-fusion: the whole graph's gradients, training videos alone, a checkpoint that is taken."""

from __future__ import annotations

import copy
import csv
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from data.cache.features import create_features
from data.cache.folder import cache_path
from data.cache.header import Header
from data.errors import CacheError, InputError, StaleCacheError
from data.judgements.pairs import Pair
from model.features.fusion import ConvFusion, random_fusion
from model.features.options import FusionOptions, TrunkOptions
from model.features.trunk import state_digest
from model.ranker.build import build
from model.ranker.joint import JointFit, JointState
from model.ranker.loss import ranking_loss
from model.ranker.options import RankerOptions, TrainOptions
from model.ranker.scoring import ranges_of
from model.ranker.videos import VideoMaps
from pipeline import cli
from pipeline.fit_fusion import fit as fusion_fit
from pipeline.fit_fusion.settings import FusionSettings
from pipeline.runner.files import read_safetensors, write_safetensors
from pipeline.runs.features import find_feature_set
from pipeline.runs.judgements import Judgements, read_judgements
from pipeline.runs.state import StateFile
from pipeline.stage_one.file import FILE_NAME
from pipeline.stage_one.fusion import fusion_checkpoint
from pipeline.stage_one.header import STAGE_ONE_FORMAT
from pipeline.stage_one.networks import NetworkSettings

C, SIDE, N, S = 6, 4, 3, 5  # Stream channels and side, segments, snippets a video.
RANKER = RankerOptions(segments=N, hidden_size=8, attention_size=4)
TRAIN = TrainOptions(epochs=12, learning_rate=0.01, protocol="last", patience=0)
STAGE_ONE = NetworkSettings(
    trunk=TrunkOptions(), fusion=FusionOptions(), stack_length=3, precision="float32"
)
WEIGHTS = {"rgb": "r" * 64, "flow": "f" * 64}


def maps_of_skill(skill: float, rng: np.random.Generator) -> np.ndarray:
    """Stream maps (S, C, SIDE, SIDE) whose first channel tells the skill, under noise."""
    maps = rng.normal(0, 0.5, (S, C, SIDE, SIDE))
    maps[:, 0] += 2 * skill
    return maps


def write_cache(folder: Path, key: str, skill: float, **changes: object) -> None:
    rng = np.random.default_rng(int(key[1]))
    weights = {**WEIGHTS, "fusion": changes.get("fusion", "")}
    header = Header(
        "features",
        source_digest=key,
        decoded_frames=30,
        parameters={"input_size": changes.get("input_size", 128)},
        weights=weights,  # type: ignore[arg-type]
    )
    streams = None if changes.get("no_streams") else (C, SIDE, SIDE)
    with create_features(
        cache_path(folder, key),
        header,
        np.array([2, 8, 14, 20, 28]),
        np.arange(5.0),
        (4, 2, 2),
        streams,
    ) as writer:
        rgb, flow = maps_of_skill(skill, rng), maps_of_skill(0, rng)
        for row in range(S):
            writer.put(row, np.zeros((4, 2, 2)), rgb[row], flow[row])


@pytest.fixture
def features(tmp_path: Path) -> Path:
    """Six videos, the better the higher their number, with a stage one beside them."""
    folder = tmp_path / "streams"
    fusion = random_fusion(C, 5, 4, seed=3)
    digest = state_digest(fusion.state_dict())
    for video in range(6):
        write_cache(folder, f"v{video}.avi", video / 5, fusion=digest)
    write_stage_one(folder, fusion)
    return folder


def write_stage_one(folder: Path, fusion: ConvFusion) -> None:
    """Write the fusion part of a stage-one file, which is all that fit-fusion reads."""
    write_safetensors(
        folder / FILE_NAME,
        {f"fusion.{name}": value for name, value in fusion.state_dict().items()},
        {
            "format": STAGE_ONE_FORMAT,
            **asdict(STAGE_ONE),
            "weights": {**WEIGHTS, "fusion": state_digest(fusion.state_dict())},
        },
    )


def pairs(*numbers: tuple[int, int]) -> list[Pair]:
    return [Pair(f"v{a}.avi", f"v{b}.avi") for a, b in numbers]


ALL = pairs((1, 0), (2, 1), (3, 2), (4, 3), (5, 4), (5, 0))


def fit_fusion(
    features: Path,
    pairs: list[Pair],
    output: Path,
    ranker: RankerOptions = RANKER,
    train: TrainOptions = TRAIN,
    *,
    seed: int = 0,
    memory_gb: float = 4.0,
) -> fusion_fit.FusionFit:
    settings = FusionSettings(
        features=features,
        pairs=Path("pairs in memory"),
        output=output,
        ranker=ranker,
        train=train,
        seed=seed,
        device="cpu",
        memory_gb=memory_gb,
    )
    settings.check()
    return fusion_fit.run_fit(settings, Judgements(train=pairs))


def in_memory(videos: int) -> tuple[VideoMaps, Tensor]:
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(videos * S, 2 * C, SIDE, SIDE, generator=generator)
    layout = VideoMaps(
        maps,
        torch.arange(videos + 1) * S,
        torch.tensor([0, 0, 1, 1, 2] * videos),
        tuple("abcdef"[:videos]),
    )
    return layout, maps


def test_gradients_are_those_of_the_whole_graph() -> None:
    """Going video by video saves memory; it must not change what is learnt."""
    layout, maps = in_memory(4)
    fusion, ranker = random_fusion(C, 5, 4, seed=0), build(RANKER, 4, 2, 2, seed=0)
    whole_fusion, whole_ranker = copy.deepcopy(fusion), copy.deepcopy(ranker)
    # One plain SGD step of rate 1: the change of each weight is its gradient.
    train = TrainOptions(optimizer="sgd", learning_rate=1.0, momentum=0.0, clip_norm=0.0)
    ranges = ranges_of(layout, N, "whole")

    def read(rows: Tensor) -> tuple[Tensor, Tensor]:
        return maps[rows, :C], maps[rows, C:]

    fit = JointFit(fusion, ranker, read, ranges, train, seed=0)
    some = torch.tensor([[0, 1], [2, 1], [3, 0]])
    loss, _ = fit.step(ranges.test, some)

    x = torch.stack([whole_fusion(maps[rows, :C], maps[rows, C:]) for rows in ranges.test])
    expected = ranking_loss(whole_ranker(x).score, some, train.margin)
    expected.backward()
    assert loss == pytest.approx(expected.item(), abs=1e-6)
    for ours, whole in ((fusion, whole_fusion), (ranker, whole_ranker)):
        for mine, reference in zip(ours.parameters(), whole.parameters(), strict=True):
            assert reference.grad is not None
            # Float32 sums over other groupings of at most 1,500 terms.
            torch.testing.assert_close(mine, reference.detach() - reference.grad, atol=2e-5, rtol=0)
    assert any(
        bool(p.grad.abs().max() > 0) for p in whole_fusion.parameters() if p.grad is not None
    )


def test_a_tiny_set_is_learnt(features: Path, tmp_path: Path) -> None:
    """Skill stands in one channel: all training pairs must come out right, and the curve say so."""
    train = replace(TRAIN, epochs=40)
    result = fit_fusion(features, ALL, tmp_path / "fusion.safetensors", train=train)
    assert result.history[-1]["train_accuracy"] == 1
    assert result.history[-1]["train_loss"] < 0.5 * result.history[0]["train_loss"]
    with (tmp_path / "fusion_curve.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 40
    assert float(rows[-1]["train_loss"]) == result.history[-1]["train_loss"]
    assert (tmp_path / "fusion_curve.png").stat().st_size > 1000


def test_the_same_seed_gives_the_same_fusion(features: Path, tmp_path: Path) -> None:
    """Features of two machines belong together only when their fusion can be repeated."""
    first, again, other = (
        fit_fusion(features, ALL, tmp_path / f"{name}.safetensors", seed=seed)
        for name, seed in (("first", 0), ("again", 0), ("other", 1))
    )
    digests = [state_digest(read_safetensors(f.path)[0]) for f in (first, again, other)]
    assert digests[0] == digests[1] != digests[2]


def test_maps_beyond_the_memory_limit_are_read_again(features: Path, tmp_path: Path) -> None:
    """The limit is about memory alone; results must not depend on it."""
    roomy = fit_fusion(features, ALL, tmp_path / "a.safetensors")
    tight = fit_fusion(features, ALL, tmp_path / "b.safetensors", memory_gb=1e-6)
    assert roomy.history == tight.history


def test_only_training_videos_are_opened(features: Path, tmp_path: Path) -> None:
    """A test video's features must not even be readable to the training."""
    for video in (4, 5):
        cache_path(features, f"v{video}.avi").write_bytes(b"not to be opened")
    some = pairs((1, 0), (2, 1), (3, 2), (3, 0))
    result = fit_fusion(features, some, tmp_path / "fusion.safetensors")
    metadata = read_safetensors(result.path)[1]
    assert metadata["training_videos"] == [f"v{i}.avi" for i in range(4)]


def test_folds_give_their_training_pairs_alone(features: Path, tmp_path: Path) -> None:
    """Test pairs of the fold, and pairs that name a test video, must stay out."""
    from data.judgements.options import DatasetOptions
    from data.judgements.reading import read_dataset

    table = tmp_path / "pairs.csv"
    lines = [f"v{a},v{b}" for a in range(6) for b in range(a)]
    table.write_text("better,worse\n" + "\n".join(lines) + "\n")
    options = DatasetOptions(folds=3)
    expected = read_dataset(table, options).folds[1]
    cache_path(features, sorted(expected.held_out)[0] + ".avi").unlink()  # Not needed.
    found = read_judgements(features, table, options, fold=2, training_only=True).train
    assert [(p.better, p.worse) for p in found] == [
        (f"{p.better}.avi", f"{p.worse}.avi") for p in expected.train
    ]
    assert len(found) < len(lines)
    with pytest.raises(InputError, match=r"--fold 4: .* has 3 folds"):
        read_judgements(features, table, options, fold=4, training_only=True)


def test_validation_chooses_the_epoch_within_the_training_videos(
    features: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kept epoch is the best one on held-out training videos, and its weights are written."""
    train = TrainOptions(
        epochs=6, learning_rate=0.01, protocol="validation", validation_share=0.34, patience=0
    )
    every = pairs(*[(a, b) for a in range(6) for b in range(a)])
    monkeypatch.setattr("pipeline.runs.choice.FEWEST_TO_DIVIDE", len(every))
    result = fit_fusion(features, every, tmp_path / "f.safetensors", train=train)
    best = result.history[result.best_epoch - 1]
    assert best["validation_loss"] == min(r["validation_loss"] for r in result.history)


def test_the_checkpoint_is_bound_to_its_trunks(features: Path, tmp_path: Path) -> None:
    """A fusion in front of other trunks would be noise; extract-features must refuse it."""
    path = tmp_path / "fusion.safetensors"
    fit_fusion(features, ALL, path)
    fusion = fusion_checkpoint(path, WEIGHTS)
    assert isinstance(fusion, ConvFusion)
    assert fusion.reduce.weight.shape == (5, 2 * C, 2, 2)
    with pytest.raises(InputError, match="learnt on other flow trunk weights"):
        fusion_checkpoint(path, {**WEIGHTS, "flow": "x" * 64})
    (tmp_path / "other.safetensors").write_bytes((features / FILE_NAME).read_bytes())
    with pytest.raises(InputError, match="not a fusion checkpoint"):
        fusion_checkpoint(tmp_path / "other.safetensors", WEIGHTS)
    with pytest.raises(InputError, match="expected random, pca, or a checkpoint"):
        fusion_checkpoint(tmp_path / "randon", WEIGHTS)


def test_unfit_caches_are_refused(features: Path, tmp_path: Path) -> None:
    """Fused maps alone, mixed options, and weights of another stage one are three mistakes."""
    digest = state_digest(random_fusion(C, 5, 4, seed=3).state_dict())
    output = tmp_path / "f.safetensors"
    write_cache(features, "v0.avi", 0, fusion=digest, input_size=64)
    with pytest.raises(StaleCacheError, match="input size"):
        fit_fusion(features, ALL, output)
    write_cache(features, "v0.avi", 0, fusion=digest, no_streams=True)
    with pytest.raises(CacheError, match="--keep-streams"):
        fit_fusion(features, ALL, output)
    write_cache(features, "v0.avi", 0, fusion=digest)
    write_stage_one(features, random_fusion(C, 5, 4, seed=4))
    with pytest.raises(InputError, match="other fusion weights"):
        fit_fusion(features, ALL, output)
    assert not output.exists()


@pytest.mark.parametrize(
    ("ranker", "train", "name", "message"),
    [
        (RankerOptions(variant="video_lstm"), TRAIN, "f.safetensors", "no ConvFusion"),
        (RANKER, TrainOptions(protocol="authors"), "f.safetensors", "on test pairs"),
        (RANKER, TRAIN, "f.pth", "ends in .safetensors"),
        (RANKER, TRAIN, "there.safetensors", "--overwrite"),
        (RANKER, TRAIN, "there.safetensors/f.safetensors", "cannot be written to"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    ranker: RankerOptions,
    train: TrainOptions,
    name: str,
    message: str,
    features: Path,
    tmp_path: Path,
) -> None:
    """Each would waste hours, lose an earlier result or train on test pairs."""
    (tmp_path / "there.safetensors").write_bytes(b"earlier result")
    with pytest.raises(InputError, match=message):
        fit_fusion(features, ALL, tmp_path / name, ranker, train)
    assert (tmp_path / "there.safetensors").read_bytes() == b"earlier result"


def test_streams_are_read_in_the_order_asked(features: Path) -> None:
    """Rows count snippets of one video after the other; RGB and flow must not change places."""
    caches = find_feature_set(features, ["v0.avi", "v5.avi"], N, streams=True)
    with fusion_fit.StreamReader(caches, memory=1e9) as streams:
        rgb, flow = streams.read(torch.tensor([7, 1]))
        layout = streams.layout()
    assert rgb.shape == flow.shape == (2, C, SIDE, SIDE)
    # v5 has skill 1 and a mean of 2 in the first RGB channel, v0 of 0; noise has deviation .125.
    assert rgb[0, 0].mean() > 1.4 > 0.6 > rgb[1, 0].mean()
    assert abs(float(flow[0, 0].mean())) < 0.6
    assert layout.segment.tolist() == [0, 0, 1, 2, 2] * 2


class _StoppedError(Exception):
    """Stands for a kill."""


def test_an_interrupted_fit_goes_on_to_the_same_result(
    features: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hours of training must survive a kill, and end as if there had been none."""
    whole = fit_fusion(features, ALL, tmp_path / "whole.safetensors")
    write, output = StateFile.write, tmp_path / "cut.safetensors"
    monkeypatch.setattr(fusion_fit, "STATE_INTERVAL", 0.0)

    def write_then_stop(states: StateFile[JointState], state: JointState) -> None:
        write(states, state)
        if state.epoch == 5:
            raise _StoppedError

    with monkeypatch.context() as patch:
        patch.setattr(StateFile, "write", write_then_stop)
        with pytest.raises(_StoppedError):
            fit_fusion(features, ALL, output)
    assert not output.exists()
    unfinished = output.with_name("cut.safetensors.unfinished")
    assert torch.load(unfinished, weights_only=True)["epoch"] == 5
    other = fit_fusion(features, ALL, output, seed=9)
    assert len(other.history) == TRAIN.epochs  # Another fit does not go on from there …
    assert other.history[:5] != whole.history[:5]
    output.unlink()
    with monkeypatch.context() as patch:
        patch.setattr(StateFile, "write", write_then_stop)
        with pytest.raises(_StoppedError):
            fit_fusion(features, ALL, output)
    resumed = fit_fusion(features, ALL, output)  # … and this one does.
    assert resumed.history == whole.history
    assert state_digest(read_safetensors(output)[0]) == state_digest(
        read_safetensors(whole.path)[0]
    )
    assert not unfinished.exists()


def test_the_command(features: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From pairs to checkpoint by flags alone, presets included."""
    table, output = tmp_path / "pairs.csv", tmp_path / "out" / "fusion.safetensors"
    lines = [f"v{a},v{b}" for a in range(6) for b in range(a)]
    table.write_text("better,worse\n" + "\n".join(lines) + "\n")
    arguments = ["fit-fusion", "--features", features, "--pairs", table, "-o", output]
    arguments += [
        "--folds",
        3,
        "--fold",
        2,
        "--preset",
        "chopstick",
        "--epochs",
        2,
        "--protocol",
        "last",
    ]
    arguments += ["--segments", N, "--device", "cpu", "-q"]
    with pytest.raises(SystemExit) as caught:
        cli.cli.main([str(argument) for argument in arguments])
    assert caught.value.code == 0
    assert "epoch 2 of 2; train loss" in capsys.readouterr().out
    metadata = read_safetensors(output)[1]
    train = metadata["train"]
    assert isinstance(train, dict)
    # The preset's optimiser, and the flag's epochs before the preset's.
    assert (train["optimizer"], train["batch_pairs"], train["epochs"]) == ("sgd", 16, 2)
    videos = metadata["training_videos"]
    assert isinstance(videos, list)
    assert len(videos) == 4  # Two of six are the fold's test videos.
