"""A flow trunk that starts from photographs: what is adapted to flow, recorded, and found again."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from data.cache.folder import cache_path, read_header
from data.errors import InputError, StaleCacheError
from data.sources import Source, find_sources
from model.features.options import INFLATED_PARTS, FusionOptions, TrunkOptions
from model.features.stems import mean_stem
from pipeline.cli import cli
from pipeline.extract_features.command import extract_features
from pipeline.extract_features.settings import FeatureSettings
from pipeline.runner.files import read_safetensors, write_safetensors
from pipeline.runner.stage import StageOptions
from pipeline.stage_one.file import FILE_NAME, load_stage_one
from pipeline.stage_one.header import FUSION_FORMAT
from pipeline.stage_one.networks import Networks
from pipeline.stage_one.origins import adapted_parts, needs_training_snippets
from tests.extract_features.material import (
    FUSION,
    ONE,
    PLAN,
    L,
    Material,
    maps_of,
    material,
    quick_flow,
)

ALL = "stem,input,statistics"


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Material:
    return material(tmp_path_factory)


@pytest.fixture(scope="session")
def photographs(made: Material, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return weights with a stem of three colours."""
    path = tmp_path_factory.mktemp("weights") / "photographs.pth"
    torch.save({"state_dict": made.networks.module.rgb.state_dict()}, path)
    return path


@pytest.fixture(scope="session")
def flow_file(made: Material, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return weights made for flow, with a stem of 2L channels."""
    path = tmp_path_factory.mktemp("weights") / "motion.pth"
    torch.save({"state_dict": made.networks.module.flow.state_dict()}, path)
    return path


@pytest.fixture(scope="session")
def adapted(made: Material, photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return features of an inflated trunk with every part adapted to flow."""
    output = tmp_path_factory.mktemp("adapted")
    outcome = made.extract(output=output, trunk=trunk(photographs, ALL))
    assert not outcome.failures
    return output


def trunk(rgb: Path, adapt_flow: str = "auto", flow: Path | None = None) -> TrunkOptions:
    return TrunkOptions(
        rgb_weights=str(rgb),
        flow_weights=None if flow is None else str(flow),
        adapt_flow=adapt_flow,
        input_size=64,
        training_snippets=8,
    )


def before_the_option(folder: Path) -> None:
    """Write a stage-one file as versions without the option did."""
    tensors, metadata = read_safetensors(folder / FILE_NAME)
    del metadata["trunk"]["adapt_flow"]
    write_safetensors(folder / FILE_NAME, tensors, metadata)


def flow_maps(networks: Networks, stacks: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return networks.module.flow(networks.module.normalise_stacks(stacks))


def some_stacks() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randint(100, 156, (4, 2 * L, 8, 8), generator=generator).float()
    return torch.nn.functional.interpolate(coarse, 64, mode="bicubic").clamp(0, 255).byte()


def swapped(stacks: torch.Tensor) -> torch.Tensor:
    """Exchange u and v."""
    return stacks.unflatten(1, (L, 2)).flip(2).flatten(1, 2)


def test_auto_adapts_inflated_trunks_alone(photographs: Path, flow_file: Path) -> None:
    """Trunks of the two-stream lineage, and random ones, must get the input that they had."""
    assert adapted_parts(TrunkOptions()) == INFLATED_PARTS
    assert adapted_parts(trunk(photographs)) == INFLATED_PARTS
    assert adapted_parts(trunk(photographs, flow=photographs)) == INFLATED_PARTS
    assert adapted_parts(trunk(photographs, flow=flow_file)) == ()
    assert adapted_parts(TrunkOptions(weights="random")) == ()
    assert adapted_parts(trunk(photographs, "none")) == ()
    parts = trunk(photographs, "statistics, input", flow_file)
    assert parts.adapt_flow == "input,statistics"  # One spelling, for caches that are compared.
    assert adapted_parts(parts) == ("input", "statistics")
    assert not needs_training_snippets(trunk(photographs, "stem,input"), FusionOptions())


def test_what_cannot_be_adapted_is_one_line(
    made: Material,
    photographs: Path,
    flow_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A misspelt part, or a second stem for a trunk that has one, would be passed over."""
    with pytest.raises(InputError, match=r"motion\.pth has a first convolution of its own"):
        adapted_parts(trunk(photographs, "stem", flow_file))
    command = ["extract-features", str(made.videos), "-o", str(tmp_path), "--adapt-flow", "stems"]
    with pytest.raises(SystemExit) as ended:
        cli(command)
    assert ended.value.code == 2
    assert "expected auto, none, or some of stem,input,statistics" in capsys.readouterr().err


def test_an_inflated_trunk_sees_flow(adapted: Path) -> None:
    """Blind to directions, off centre, or with statistics of photographs: all were so once."""
    networks = load_stage_one(adapted)
    stacks = some_stacks()
    still = torch.full_like(stacks, 128)
    assert not networks.module.normalise_stacks(still).any()
    maps, others = flow_maps(networks, stacks), flow_maps(networks, swapped(stacks))
    # To a blind stem, u and v exchanged are the same but for rounding, 1e-4 of the maps.
    assert float((maps - others).norm() / maps.norm()) > 0.05
    rgb, flow = networks.module.rgb.bn1, networks.module.flow.bn1
    assert not torch.equal(rgb.running_var, flow.running_var)


def test_the_old_way_is_to_the_bit_what_it_was(
    made: Material, photographs: Path, tmp_path: Path
) -> None:
    """`--adapt-flow none` goes on with features of earlier versions; nothing may move."""
    made.extract(output=tmp_path, trunk=trunk(photographs, "none"))
    networks = load_stage_one(tmp_path)
    rgb, flow = networks.module.rgb.state_dict(), networks.module.flow.state_dict()
    assert torch.equal(flow.pop("conv1.weight"), mean_stem(rgb.pop("conv1.weight"), 2 * L))
    assert rgb.keys() == flow.keys()
    assert all(torch.equal(rgb[name], flow[name]) for name in rgb)
    stacks = some_stacks()
    assert torch.equal(networks.module.normalise_stacks(stacks), stacks.float() / 255)
    tensors, _ = read_safetensors(tmp_path / FILE_NAME)
    assert all(name.startswith("fusion.") for name in tensors)
    header = read_header(cache_path(tmp_path, "one.avi"))
    assert "adapt_flow" not in header.parameters  # In the fingerprints of earlier versions' caches.


def test_features_of_before_are_recognised(
    made: Material, photographs: Path, tmp_path: Path
) -> None:
    """Old caches, extended by default, would mix two flow trunks in one folder."""
    made.extract(output=tmp_path, trunk=trunk(photographs, "none"))
    before_the_option(tmp_path)
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.h5")}
    with pytest.raises(StaleCacheError) as refused:
        made.extract(output=tmp_path, trunk=trunk(photographs))
    assert f"adapt flow none, you asked {','.join(INFLATED_PARTS)}" in str(refused.value)
    assert "(--adapt-flow none goes on with it); pass --overwrite" in str(refused.value)
    outcome = made.extract(output=tmp_path, trunk=trunk(photographs, "none"))
    assert not outcome.failures
    assert not any(result.computed for _, result in outcome.results)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def test_what_was_adapted_is_recorded_and_comes_back(adapted: Path, photographs: Path) -> None:
    """`score` and `explain` build the same trunk from the file, without the training videos."""
    metadata = read_safetensors(adapted / FILE_NAME)[1]
    assert metadata["trunk"]["adapt_flow"] == "stem,input,statistics"
    assert metadata["training_videos"] == ["deep/two.avi", "one.avi"]
    header = read_header(cache_path(adapted, "one.avi"))
    assert header.parameters["adapt_flow"] == "stem,input,statistics"
    networks = load_stage_one(adapted)
    assert networks.weights == header.weights
    # Two trunks start from one file: statistics of flow must not spill into the RGB trunk.
    given = torch.load(photographs, weights_only=True)["state_dict"]
    assert torch.equal(networks.module.rgb.bn1.running_var, given["bn1.running_var"])


def test_a_trunk_made_for_flow_keeps_its_input(
    made: Material, photographs: Path, flow_file: Path, tmp_path: Path
) -> None:
    """The authors' checkpoints were trained on levels ÷ 255, with statistics of their own."""
    made.extract(output=tmp_path, trunk=trunk(photographs, flow=flow_file))
    networks = load_stage_one(tmp_path)
    assert networks.weights["flow"] == made.networks.weights["flow"]
    assert (maps_of(tmp_path) == maps_of(made.made)).all()
    made.extract(output=tmp_path / "c", trunk=trunk(photographs, "input", flow_file))
    centred = load_stage_one(tmp_path / "c")
    assert not centred.module.normalise_stacks(torch.full((1, 2 * L, 4, 4), 128)).any()
    assert centred.weights["flow"] != networks.weights["flow"]


def test_a_learnt_fusion_brings_the_statistics_of_its_trunks(
    made: Material, adapted: Path, photographs: Path, tmp_path: Path
) -> None:
    """On other videos, statistics of their own would make another trunk: the fusion was refused."""
    tensors, metadata = read_safetensors(adapted / FILE_NAME)
    learnt = {name.removeprefix("fusion."): value for name, value in tensors.items()}
    about = {"format": FUSION_FORMAT, "trunks": metadata["weights"]}
    write_safetensors(tmp_path / "learnt.safetensors", learnt, about)
    fusion = FusionOptions(fusion=str(tmp_path / "learnt.safetensors"))
    one = Source(made.videos / "one.avi", "one.avi")
    settings = FeatureSettings(
        flow=made.flow, plan=PLAN, trunk=trunk(photographs, ALL), fusion=fusion
    )
    options = StageOptions(output=tmp_path / "out", jobs=ONE, device="cpu")
    assert not extract_features([one], settings, options).failures
    assert (maps_of(tmp_path / "out") == maps_of(adapted)).all()


def test_stills_calibrate_no_trunk(photographs: Path, tmp_path: Path) -> None:
    """Variances of zero would multiply the first motion by hundreds, and overflow."""
    picture = torch.zeros(60, 80, 3, dtype=torch.uint8).numpy()
    import cv2

    (tmp_path / "videos" / "still").mkdir(parents=True)
    for number in range(6):
        cv2.imwrite(str(tmp_path / "videos" / "still" / f"img_{number:05}.png"), picture)
    sources = find_sources([tmp_path / "videos"])
    assert not quick_flow(sources, tmp_path / "flow").failures
    settings = FeatureSettings(
        flow=tmp_path / "flow", plan=PLAN, trunk=trunk(photographs, ALL), fusion=FUSION
    )
    options = StageOptions(output=tmp_path / "out", jobs=ONE, device="cpu")
    with pytest.raises(InputError, match=r"nothing moves .* --training-videos, or keep .* none"):
        extract_features(sources, settings, options)
