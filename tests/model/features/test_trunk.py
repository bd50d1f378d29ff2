"""Trunks: the published network's function, its weights in every published form, its statistics."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.models import resnet101

from model.features.fusion import random_fusion
from model.features.keys import find_state, fit_state, left_out
from model.features.stage_one import StageOne, first_overflow, for_inference
from model.features.stems import directional_stem, mean_stem
from model.features.trunk import (
    Stage,
    Trunk,
    calibrate,
    fold_batchnorm,
    make_trunk,
    random_state,
    state_digest,
)

L = 2
# Two orders of summation in float32 differ by about 1e-7 relative an operation; a calibrated
# random ResNet101 multiplies a relative change by about 64 (measured), and 1e-4 is the bound that
# the method asks for.
TOLERANCE = 1e-4


def smooth(batch: int, channels: int, size: int = 64, seed: int = 0) -> Tensor:
    """8-bit pictures with structure at several scales, as real frames have."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(batch, channels, 6, 6, generator=generator)
    fine = torch.rand(batch, channels, size, size, generator=generator)
    x = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bicubic")
    return (255 * (0.85 * x + 0.15 * fine)).clamp(0, 255).byte()


@pytest.fixture(scope="module")
def flow_trunk() -> Trunk:
    trunk = make_trunk(
        2 * L, "conv5", random_state(2 * L, "conv5", torch.Generator().manual_seed(0))
    )
    calibrate(trunk, [smooth(8, 2 * L, seed=s) / 255 for s in range(2)])
    return trunk


def full_network(trunk: Trunk, channels: int) -> torch.nn.Module:
    """Build torchvision's own ResNet101 with a trunk's weights."""
    net = resnet101(weights=None)
    net.conv1 = torch.nn.Conv2d(channels, 64, 7, 2, 3, bias=False)
    missing, extra = net.load_state_dict(trunk.state_dict(), strict=False)
    assert not extra
    assert set(missing) == {"fc.weight", "fc.bias"}
    return torch.nn.Sequential(*list(net.eval().children())[:-2])


def relative(result: Tensor, expected: Tensor) -> float:
    return float((result - expected).abs().max() / expected.abs().max())


def test_trunk_is_torchvisions_network_without_its_head(flow_trunk: Trunk) -> None:
    """Otherwise published weights would mean something else here."""
    x = smooth(2, 2 * L) / 255
    with torch.no_grad():
        result, expected = flow_trunk(x), full_network(flow_trunk, 2 * L)(x)
    assert result.shape == (2, 2048, 2, 2)
    # The same operations in the same order: equal to the bit.
    assert torch.equal(result, expected)


@pytest.mark.parametrize(("stage", "shape"), [("conv5", (2048, 3, 3)), ("conv4", (1024, 5, 5))])
def test_stream_maps_have_the_stages_shape(stage: Stage, shape: tuple[int, ...]) -> None:
    """A wrong stage or stride would not fit ConvFusion, or would move attention boxes."""
    with torch.device("meta"):
        assert Trunk(3, stage)(torch.zeros(1, 3, 65, 65)).shape[1:] == shape


def test_trunk_stays_in_eval_mode_and_frozen(flow_trunk: Trunk) -> None:
    """In train mode BatchNorm statistics would drift and maps depend on their batch."""
    StageOne(flow_trunk, flow_trunk, torch.nn.Identity()).train()
    assert not any(m.training for m in flow_trunk.modules())
    assert not any(p.requires_grad for p in flow_trunk.parameters())


def test_folding_batchnorm_keeps_the_function(flow_trunk: Trunk) -> None:
    """Folding is for speed only; it must not show in the maps."""
    x = smooth(2, 2 * L, seed=5) / 255
    folded = fold_batchnorm(flow_trunk)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in folded.modules())
    with torch.no_grad():
        assert relative(folded(x), flow_trunk(x)) < TOLERANCE


def test_maps_do_not_depend_on_the_batch(flow_trunk: Trunk) -> None:
    """A snippet's map would otherwise change with its neighbours or with --batch-size."""
    stage = StageOne(flow_trunk, flow_trunk, random_fusion(2048, 8, 4, seed=0))
    # One trunk for both streams is enough here: 2L = 4 channels, so frames get a fourth one.
    stage.mean, stage.std = torch.full((1, 4, 1, 1), 0.45), torch.full((1, 4, 1, 1), 0.22)
    fast = for_inference(stage, torch.device("cpu"), torch.float32)
    frames, stacks = smooth(5, 4, seed=6), smooth(5, 2 * L, seed=7)
    with torch.inference_mode():
        together = fast(frames, stacks)
        alone = [fast(frames[i : i + 1], stacks[i : i + 1]) for i in range(5)]
    for name in ("fused", "rgb", "flow"):
        singles = torch.cat([getattr(maps, name) for maps in alone])
        assert relative(singles, getattr(together, name)) < TOLERANCE


def test_calibration_gives_unit_scale_and_uncalibrated_overflows() -> None:
    """Without calibration a random flow trunk leaves float16's range; with it, std is near 1."""
    trunk = make_trunk(
        2 * L, "conv5", random_state(2 * L, "conv5", torch.Generator().manual_seed(3))
    )
    inputs = [smooth(8, 2 * L, seed=s) / 255 for s in range(3)]
    with torch.no_grad():
        for norm in (m for m in trunk.modules() if isinstance(m, torch.nn.BatchNorm2d)):
            norm.weight.fill_(1)  # torchvision's own initialisation.
        assert float(trunk(inputs[2]).max()) > 1e3
        trunk.load_state_dict(random_state(2 * L, "conv5", torch.Generator().manual_seed(3)))
        calibrate(trunk, inputs[:2])
        maps = trunk(inputs[2])  # Snippets that were not calibrated on.
    # Half to twice unit scale: the last block adds a ReLU's share to a unit-scale branch.
    assert 0.5 < float(maps.std()) < 2
    assert float(maps.max()) < 40


def test_calibration_statistics_are_those_of_the_snippets() -> None:
    """The stem's statistics are checked against their definition, in float64."""
    trunk = make_trunk(3, "conv4", random_state(3, "conv4", torch.Generator().manual_seed(0)))
    batches = [smooth(4, 3, seed=s) / 255 for s in range(2)]
    calibrate(trunk, batches)
    convolved = [
        torch.nn.functional.conv2d(b.double(), trunk.conv1.weight.double(), stride=2, padding=3)
        for b in batches
    ]
    mean = torch.stack([c.mean(dim=(0, 2, 3)) for c in convolved]).mean(dim=0)
    var = torch.stack([c.var(dim=(0, 2, 3)) for c in convolved]).mean(dim=0)
    # Sums of 4,096 float32 products.
    np.testing.assert_allclose(trunk.bn1.running_mean.double(), mean, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(trunk.bn1.running_var.double(), var, rtol=1e-4)


def test_calibration_without_snippets_is_refused() -> None:
    """Silently uncalibrated trunks would overflow later."""
    trunk = make_trunk(3, "conv4", random_state(3, "conv4", torch.Generator().manual_seed(0)))
    with pytest.raises(ValueError, match="no snippets"):
        calibrate(trunk, [])


def test_random_start_depends_on_its_seed_alone() -> None:
    """Demo and resume need the same weights again, whatever else drew random numbers."""
    torch.manual_seed(1)
    first = random_state(3, "conv4", torch.Generator().manual_seed(7))
    before = torch.random.get_rng_state()
    again = random_state(3, "conv4", torch.Generator().manual_seed(7))
    other = random_state(3, "conv4", torch.Generator().manual_seed(8))
    assert torch.equal(before, torch.random.get_rng_state())
    assert state_digest(first) == state_digest(again) != state_digest(other)


def test_stem_inflation_repeats_the_mean_over_colours() -> None:
    """Cross-modality initialisation: each input channel gets the mean over the colours."""
    weight = torch.randn(64, 3, 7, 7, generator=torch.Generator().manual_seed(0))
    inflated = mean_stem(weight, 20)
    assert inflated.shape == (64, 20, 7, 7)
    grey = weight.sum(dim=1) / 3
    for channel in range(20):
        # The same three numbers added in another order.
        torch.testing.assert_close(inflated[:, channel], grey, rtol=0, atol=1e-6)


def test_each_filter_of_a_directional_stem_sees_motion_along_its_own_direction() -> None:
    """Filters that see the sum of u and v cannot tell a circle from a diagonal."""
    weight = torch.rand(64, 3, 7, 7, generator=torch.Generator().manual_seed(0))
    stem = directional_stem(weight, 2 * L)
    assert stem.shape == (64, 2 * L, 7, 7)
    assert torch.equal(stem[:, :2], stem[:, 2:])  # Every field alike.
    u, v = (stem[:, i].flatten(1).norm(dim=1) for i in (0, 1))
    mean = mean_stem(weight, 1)[:, 0].flatten(1).norm(dim=1)
    # √(u² + v²) = √2 · mean, but for the rounding of float32.
    torch.testing.assert_close(u**2 + v**2, 2 * mean**2, rtol=1e-5, atol=0)
    # Neither is preferred: 64 directions at the golden angle differ by a hundredth of the sum.
    assert abs(float((u**2 - v**2).sum() / (u**2 + v**2).sum())) < 0.05


def test_a_centred_trunk_keeps_its_input_when_folded_and_in_half_precision() -> None:
    """The copy that runs must scale flow as the one whose digest stands in the caches."""
    state = random_state(2 * L, "conv4", torch.Generator().manual_seed(0))
    plain, centred = (make_trunk(2 * L, "conv4", state, centred=c) for c in (False, True))
    assert state_digest(plain.state_dict()) != state_digest(centred.state_dict())
    levels = torch.arange(256.0).view(1, 1, 16, 16)
    expected = (levels - 128) / 8
    for trunk in (centred, fold_batchnorm(centred), fold_batchnorm(centred).half()):
        assert torch.equal(trunk.scale_levels(levels.clone()), expected)
    assert torch.equal(fold_batchnorm(plain).scale_levels(levels.clone()), levels / 255)


def test_overflow_is_traced_to_its_layer(flow_trunk: Trunk) -> None:
    """The error must name the layer where the numbers left float16's range."""
    state = {k: v.clone() for k, v in flow_trunk.state_dict().items()}
    state["layer3.4.conv2.weight"] *= 1e8
    broken = make_trunk(2 * L, "conv5", state)
    stage = StageOne(flow_trunk, broken, random_fusion(2048, 8, 4, seed=0))
    stage.mean, stage.std = torch.full((1, 4, 1, 1), 0.45), torch.full((1, 4, 1, 1), 0.22)
    frames, stacks = smooth(1, 4), smooth(1, 2 * L)
    assert first_overflow(stage, frames, stacks) == "flow layer3.4.conv2"


# --- checkpoints in every published form ---


@pytest.fixture(scope="module")
def plain() -> dict[str, Tensor]:
    """Return a torchvision state dict, head included, of random values."""
    net = resnet101(weights=None)
    return {k: v + 0 for k, v in net.state_dict().items()}


def as_two_stream(state: dict[str, Tensor], channels: int) -> dict[str, Tensor]:
    """Rename as the UCF-101 lineage does: own stem and head, DataParallel's prefix, no counters."""
    renamed = {}
    for key, value in state.items():
        if key.endswith("num_batches_tracked"):
            continue
        if key == "conv1.weight":
            renamed["module.conv1_custom.weight"] = mean_stem(value, channels)
        elif key.startswith("fc."):
            renamed[f"module.fc_custom{key[2:]}"] = value[:101]
        else:
            renamed[f"module.{key}"] = value
    return renamed


FORMS = {
    "torchvision": lambda s: s,
    "state_dict": lambda s: {"epoch": 3, "arch": "resnet101", "state_dict": s},
    "data parallel": lambda s: {f"module.{k}": v for k, v in s.items()},
    "nested": lambda s: {"model": {"state_dict": s}},
    "101-way fc": lambda s: {**s, "fc.weight": s["fc.weight"][:101], "fc.bias": s["fc.bias"][:101]},
    "compiled": lambda s: {f"_orig_mod.{k}": v for k, v in s.items()},
    "twice parallel": lambda s: {f"module.module.{k}": v for k, v in s.items()},
    "TSN": lambda s: {
        "new_fc.weight": s["fc.weight"],
        **{f"base_model.{k}".replace(".fc.", ".fc_action."): v for k, v in s.items()},
    },
    "two-stream": lambda s: {"state_dict": as_two_stream(s, 2 * L), "best_prec1": 86.1},
}


@pytest.mark.parametrize("form", FORMS)
def test_published_forms_give_the_same_trunk(form: str, plain: dict[str, Tensor]) -> None:
    """Every published checkpoint form must end in the same weights."""
    expected = Trunk(2 * L).state_dict()
    state = fit_state(find_state(FORMS[form](plain)), expected, channels=2 * L)
    assert state.keys() == expected.keys()
    assert torch.equal(state["layer4.2.conv3.weight"], plain["layer4.2.conv3.weight"])
    assert torch.equal(state["bn1.running_var"], plain["bn1.running_var"])
    assert torch.equal(state["conv1.weight"], mean_stem(plain["conv1.weight"], 2 * L))


def test_a_trunk_that_ends_at_conv4_takes_a_whole_network(plain: dict[str, Tensor]) -> None:
    """Otherwise --trunk-stage conv4 would need checkpoints of its own."""
    state = fit_state(plain, Trunk(3, "conv4").state_dict(), channels=3)
    assert not any(key.startswith(("layer4", "fc")) for key in state)


def test_key_errors_list_what_is_wrong(plain: dict[str, Tensor]) -> None:
    """A wrong checkpoint must be named key by key, never loaded in part."""
    broken = dict(plain)
    del broken["layer1.0.conv1.weight"]
    broken["layer1.3.conv1.weight"] = torch.zeros(1)
    broken["layer2.0.conv1.weight"] = torch.zeros(7, 7)
    with pytest.raises(ValueError, match="not the weights") as caught:
        fit_state(broken, Trunk(3).state_dict(), channels=3)
    message = str(caught.value)
    assert "missing: layer1.0.conv1.weight" in message
    assert "extra: layer1.3.conv1.weight" in message
    assert "misshapen: layer2.0.conv1.weight (7, 7) where (128, 256, 1, 1) is needed" in message


def test_a_stem_of_another_stack_length_is_refused(plain: dict[str, Tensor]) -> None:
    """A 20-channel stem cannot see stacks of another length; shapes alone did not say why."""
    state = {**plain, "conv1.weight": mean_stem(plain["conv1.weight"], 20)}
    with pytest.raises(ValueError, match=f"20 channels.*made for --stack-length 10, not {L}"):
        fit_state(state, Trunk(2 * L).state_dict(), channels=2 * L)
    with pytest.raises(ValueError, match="weights of a flow trunk, for --flow-weights"):
        fit_state(state, Trunk(3).state_dict(), channels=3)


def test_heads_of_any_name_are_left_out_and_named(plain: dict[str, Tensor]) -> None:
    """A head that is called `fc_action` made the whole file unusable."""
    state = {f"net.{k}".replace(".fc.", ".fc_action."): v for k, v in plain.items()}
    assert left_out(state) == ["net.fc_action.weight", "net.fc_action.bias"]
    assert left_out(plain) == []


def test_a_file_with_two_networks_is_refused(plain: dict[str, Tensor]) -> None:
    """Taking either would be a guess."""
    both = {f"{name}.{k}": v for name in ("rgb", "flow") for k, v in plain.items()}
    with pytest.raises(ValueError, match=r"2 networks \(flow\., rgb\.\)"):
        fit_state(both, Trunk(3).state_dict(), channels=3)


@pytest.mark.parametrize("content", [{"epoch": 3}, [1, 2], torch.zeros(3)])
def test_files_without_tensors_are_refused(content: object) -> None:
    """They would otherwise fail far from their cause."""
    with pytest.raises(ValueError, match="expected a state dict"):
        find_state(content)
