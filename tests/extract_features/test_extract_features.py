"""extract-features as users run it: the right maps, and the command that makes them."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision import transforms
from torchvision.models import resnet101

from data.cache.features import open_features
from data.cache.flow import quantise
from data.cache.folder import cache_path
from data.sampling import plan_snippets
from data.sources import Source
from data.video.reading import scan
from pipeline import cli
from pipeline.extract_features.forward import Forward
from pipeline.extract_features.share import ShareResult, run_share
from pipeline.extract_features.snippets import VideoInput, read_snippets
from pipeline.stage_one.file import load_stage_one
from pipeline.stage_one.networks import Networks
from tests.extract_features.material import (
    BOUND,
    FLOAT,
    FRAMES,
    HALF,
    PLAN,
    SIZE,
    L,
    extract_into,
    flow_field,
    maps_of,
    share,
    write_flow,
)

# --- the right numbers ---


def plain_trunk(networks: Networks, stream: str) -> torch.nn.Module:
    trunk = getattr(networks.module, stream)
    net = resnet101(weights=None)
    net.conv1 = torch.nn.Conv2d(trunk.conv1.in_channels, 64, 7, 2, 3, bias=False)
    net.load_state_dict(trunk.state_dict(), strict=False)
    return torch.nn.Sequential(*list(net.eval().children())[:-2])


def plain_inputs(path: Path) -> tuple[Tensor, Tensor]:
    """Make the inputs of the three snippets by torchvision's transforms and Pillow alone."""
    capture = cv2.VideoCapture(str(path))
    frames = []
    while (item := capture.read())[0]:
        frames.append(item[1])
    plan = plan_snippets(np.arange(len(frames)) / 10, PLAN)
    prepare = transforms.Compose(
        [
            transforms.Resize((64, 64), transforms.InterpolationMode.BICUBIC),
            transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    rgb = torch.stack([prepare(Image.fromarray(frames[i][:, :, ::-1].copy())) for i in plan.frame])
    stacks = []
    for fields in plan.fields:
        channels = []
        for field in fields:
            level = quantise(flow_field(int(plan.pairs[field, 0])), BOUND)
            for component in (0, 1):
                picture = Image.fromarray(np.ascontiguousarray(level[:, :, component]))
                resized = picture.resize((64, 64), Image.Resampling.BICUBIC)
                channels.append(torch.from_numpy(np.array(resized)) / 255)
        stacks.append(torch.stack(channels))
    return rgb, torch.stack(stacks)


@pytest.mark.parametrize("key", FRAMES)
def test_caches_hold_what_plain_torchvision_computes(
    key: str, videos: Path, made: Path, networks: Networks
) -> None:
    """Frames, stacks, preprocessing, trunks and fusion, all recomputed independently."""
    frames, stacks = plain_inputs(videos / key)
    with torch.no_grad():
        rgb = plain_trunk(networks, "rgb")(frames)
        flow = plain_trunk(networks, "flow")(stacks)
        joined = torch.cat([rgb, flow], dim=1)
        weights = networks.module.fusion.state_dict()
        hidden = torch.nn.functional.conv2d(
            joined, weights["reduce.weight"], weights["reduce.bias"], stride=2
        ).relu()
        fused = torch.nn.functional.conv2d(
            hidden, weights["project.weight"], weights["project.bias"]
        )
    with open_features(cache_path(made, key)) as cache:
        assert cache.shape == (3, 8, 1, 1)
        assert cache.stream_shape == (3, 2048, 2, 2)
        streams = [np.stack([cache.read_stream(n, i) for i in range(3)]) for n in ("rgb", "flow")]
        for found, expected in zip(
            (np.stack([cache.read(row) for row in range(len(cache))]), *streams),
            (fused, rgb, flow),
            strict=True,
        ):
            allowed = HALF * expected.abs() + FLOAT * expected.abs().max()
            assert ((torch.from_numpy(found).float() - expected).abs() <= allowed).all()


def test_snippets_carry_their_frames(made: Path, sources: list[Source]) -> None:
    """Stage two places snippets in segments by these numbers."""
    for source in sources:
        times = scan(source.path).times
        plan = plan_snippets(times, PLAN)
        with open_features(cache_path(made, source.key)) as cache:
            assert cache.frame_index.tolist() == plan.frame.tolist()
            assert np.allclose(cache.time, times[plan.frame])


def test_a_moving_square_reaches_the_right_channels(sources: list[Source], flow: Path) -> None:
    """Channel 2k is u and 2k+1 is v of the k-th field in time: swapped or shifted stacks fail."""
    source = next(s for s in sources if s.key == "deep/two.avi")
    plan = plan_snippets(scan(source.path).times, PLAN)
    item = VideoInput(
        source.key, source.path, cache_path(flow, source.key), PLAN, 64, resize_flow=False
    )
    for row, _, stack in read_snippets(item, np.arange(3), {}):
        assert stack.shape == (2 * L, SIZE[1], SIZE[0])
        for k in range(L):
            first = int(plan.pairs[plan.fields[row, k], 0])
            x = 5 + 3 * first
            assert stack[2 * k, 30, x + 10] == 128 + round(3 * 127 / BOUND)
            assert stack[2 * k + 1, 30, x + 10] == 128 + round(first / 2 * 127 / BOUND)
            assert stack[2 * k, 5, 5] == stack[2 * k + 1, 5, 5] == 128


def test_float16_flow_gives_the_same_features(
    tmp_path: Path, sources: list[Source], made: Path
) -> None:
    """The way flow is stored must not show beyond its 8-bit levels."""
    for source in sources:
        write_flow(tmp_path / "flow16", source, dtype="float16")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "stage_one.safetensors").write_bytes(
        (made / "stage_one.safetensors").read_bytes()
    )
    outcome = extract_into(sources, tmp_path / "flow16", tmp_path / "out")
    assert not outcome.failures
    assert np.array_equal(maps_of(tmp_path / "out"), maps_of(made))


@pytest.mark.parametrize(("batch_size", "readers"), [(1, 1), (2, 1), (3, 2)])
def test_batch_size_and_workers_do_not_change_maps(
    batch_size: int,
    readers: int,
    tmp_path: Path,
    networks: Networks,
    sources: list[Source],
    flow: Path,
    made: Path,
) -> None:
    """Features must not depend on the machine that computed them."""
    jobs = share(networks, sources, flow, tmp_path)
    result = run_share(jobs, Forward(networks.module, batch_size=batch_size), readers)
    assert sorted(result.done) == sorted(FRAMES)
    assert result.snippets == 6
    for key in FRAMES:
        found, expected = maps_of(tmp_path, key), maps_of(made, key)
        # Two roundings to half precision, of numbers that float32 order moves by FLOAT.
        allowed = 2 * HALF * np.abs(expected) + FLOAT * np.abs(expected).max()
        assert (np.abs(found.astype(np.float32) - expected) <= allowed).all()


def test_stage_one_comes_back_from_its_file(made: Path, networks: Networks, videos: Path) -> None:
    """Scoring a new video later needs exactly these weights, statistics and sizes."""
    again = load_stage_one(made)
    for name, value in networks.module.state_dict().items():
        assert torch.equal(again.module.state_dict()[name], value)
    assert (again.settings.stack_length, again.settings.precision, again.settings.seed) == (
        L,
        "float32",
        0,
    )
    assert again.settings.map_shape == (8, 1, 1)
    frames, stacks = plain_inputs(videos / "one.avi")
    with torch.no_grad():
        fused = again.module.fusion(again.module.rgb(frames), again.module.flow(stacks)).numpy()
    stored = maps_of(made).astype(np.float32)
    assert (np.abs(fused - stored) <= 2 * HALF * np.abs(fused) + FLOAT * np.abs(fused).max()).all()


# --- the command ---


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as caught:
        cli.cli.main([str(a) for a in ("extract-features", *arguments)])
    return int(caught.value.code or 0)


FLAGS = [
    *("--segments", 3, "--candidates", 1, "--stack-length", L, "--device", "cpu", "-j", 1),
    *("--weights", "random", "--input-size", 64, "--training-snippets", 8),
    *("--fusion-hidden", 16, "--fusion-channels", 8),
]


def test_dry_run_says_what_and_writes_nothing(
    videos: Path, flow: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Users plan days of computing and terabytes by these lines."""
    output = tmp_path / "out"
    assert run(videos, "--flow", flow, "-o", output, *FLAGS, "--dry-run") == 0
    fused = capsys.readouterr().out
    assert run(videos, "--flow", flow, "-o", output, *FLAGS, "--keep-streams", "--dry-run") == 0
    streams = capsys.readouterr().out
    assert "snippets  6" in fused
    assert f"{6 * 2 * 8} B" in fused
    # Two maps of 2048×2×2 and one of 8×1×1, two bytes each.
    assert f"{6 * 2 * (2 * 2048 * 4 + 8) / 1000:.1f} KB" in streams
    assert not output.exists()


def test_exit_codes_and_summary(
    videos: Path, flow: Path, made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Scripts act on these: 0 done, 1 finished with failures, 2 unusable options or input."""
    again = [videos, "--flow", flow, "-o", made, *FLAGS, "--keep-streams"]
    assert run(*again) == 0
    assert "2 videos, 2 of them already done; 6 snippets" in capsys.readouterr().out
    assert run(*again, "--seed", 5) == 2
    assert "seed 0, you asked 5" in capsys.readouterr().err
    assert run(videos, "--flow", tmp_path / "none", "-o", tmp_path / "x", *FLAGS) == 2
    assert "pipeline extract-flow" in capsys.readouterr().err
    assert run(videos, "--flow", tmp_path, "-o", tmp_path / "x", *FLAGS) == 1
    assert "no flow cache" in capsys.readouterr().err


def test_the_loop_reports_where_its_time_went(
    tmp_path: Path, networks: Networks, sources: list[Source], flow: Path
) -> None:
    """The shares shown to users must cover the run: nothing slow may hide between them."""
    jobs = share(networks, sources, flow, tmp_path)
    result: ShareResult = run_share(jobs, Forward(networks.module))
    parts = sum(result.seconds[name] for name in ("waiting", "trunks", "writing"))
    assert 0.5 * result.seconds["total"] < parts <= result.seconds["total"]
    assert result.seconds["decode"] > 0 < result.seconds["flow"]
    assert os.listdir(tmp_path)
