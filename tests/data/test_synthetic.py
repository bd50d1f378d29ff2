"""The synthetic set: reproducible, balanced, and true to its own tables."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from scipy.stats import spearmanr

from data.errors import InputError
from data.files import temporary_name
from data.synthetic import writer
from data.synthetic.balance import rank_correlation
from data.synthetic.motion import trajectory
from data.synthetic.noise import Stream, smooth_noise, stream
from data.synthetic.nuisance import draw_nuisance
from data.synthetic.options import SkillEffects, SyntheticOptions
from data.synthetic.plan import SyntheticVideo, plan_set
from data.synthetic.writer import generate

SMALL = SyntheticOptions(picture_size=64, shortest=24, longest=40, permutations=50)


@pytest.fixture(scope="module")
def small_set(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[SyntheticVideo]]:
    folder = tmp_path_factory.mktemp("set")
    return folder, generate(folder, 5, 7, SMALL)


def read_table(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def read_video(path: Path) -> np.ndarray:
    reader = cv2.VideoCapture(str(path))
    frames = []
    while True:
        more, frame = reader.read()
        if not more:
            return np.stack(frames)
        frames.append(frame)


def test_same_seed_makes_the_same_files(
    small_set: tuple[Path, list[SyntheticVideo]], tmp_path: Path
) -> None:
    """Every number of the demo depends on it: files differ once anything is drawn unseeded."""
    folder, _ = small_set
    generate(tmp_path, 5, 7, SMALL)
    for path in sorted(folder.rglob("*.csv")):
        assert (tmp_path / path.relative_to(folder)).read_bytes() == path.read_bytes()
    for path in sorted(folder.rglob("*.mp4")):
        assert np.array_equal(read_video(tmp_path / path.relative_to(folder)), read_video(path))


def test_other_seed_makes_other_videos() -> None:
    """A seed that is ignored would make every repetition of an experiment the same one."""
    first, second = plan_set(4, 0, SMALL), plan_set(4, 1, SMALL)
    assert [v.skill for v in first] != [v.skill for v in second]
    assert not np.array_equal(first[0].scene().draw(0), second[0].scene().draw(0))


def test_frames_can_be_drawn_in_any_order() -> None:
    """A frame that depends on those drawn before would break resuming and parallel writing."""
    video = plan_set(4, 0, SMALL)[0]
    alone = video.scene().draw(9)
    scene = video.scene()
    for frame in range(9):
        scene.draw(frame)
    assert np.array_equal(scene.draw(9), alone)


@pytest.mark.parametrize("seed", range(3))
def test_skill_moves_nothing_but_the_hand(seed: int) -> None:
    """Skill leaking into ground, light, shake, noise or distractor would be a false cue."""
    video = plan_set(4, seed, SMALL)[0]
    clumsy, perfect = replace(video, skill=0.0).scene(), replace(video, skill=1.0).scene()
    assert len(clumsy) == len(perfect)
    differs = False
    for frame in range(0, len(clumsy), 5):
        without = clumsy.draw(frame, hand=False)
        assert np.array_equal(without, perfect.draw(frame, hand=False))
        differs |= not np.array_equal(clumsy.draw(frame), perfect.draw(frame))
    assert differs


def test_clumsiness_shows_in_the_motion() -> None:
    """Without more jerk and more drops at low skill the set would hold nothing to learn."""
    options, effects = SyntheticOptions(), SkillEffects()

    def jerk_and_drops(skill: float) -> tuple[float, int]:
        jerk, drops = [], 0
        for number in range(20):
            nuisance = draw_nuisance(0, number, options)
            rng = stream(0, number, Stream.MOTION)
            hand = trajectory(nuisance.task, skill, nuisance.frames, 25.0, rng, effects)
            jerk.append(np.abs(np.diff(hand.tip, n=3, axis=0)).mean())
            drops += hand.drops
        return float(np.median(jerk)), drops

    (clumsy, many), (middle, some), (perfect, none) = map(jerk_and_drops, (0.0, 0.5, 1.0))
    assert clumsy > 1.5 * middle > 2 * perfect
    assert many > some > none == 0


def test_settling_hides_skill_from_whoever_ignores_order() -> None:
    """The demo rests on it: tremor as a whole would tell skill, or neither half of a video would.

    The tremor alone moves the hand here, with the same noise for each skill.
    """
    nuisance = draw_nuisance(0, 0, replace(SMALL, shortest=200, longest=200))
    still = SkillEffects(
        detours=0, speed_spread=0, hesitation=0, drop=0, miss=0, tremor_least=0, settling=0.5
    )

    def tip_of(skill: float, effects: SkillEffects) -> np.ndarray:
        rng = stream(0, 0, Stream.MOTION)
        return trajectory(nuisance.task, skill, 200, 25.0, rng, effects).tip

    def tremor_of(skill: float, effects: SkillEffects) -> tuple[float, float]:
        without = tip_of(skill, replace(effects, tremor_gain=0))
        tremor = np.abs(tip_of(skill, effects) - without).sum(axis=1)
        return float(tremor[:90].sum()), float(tremor[110:].sum())

    (calm, shaky), (nervous, steady) = tremor_of(0.0, still), tremor_of(1.0, still)
    assert calm == steady == 0 < min(shaky, nervous)
    even = tremor_of(0.5, still)
    assert even == pytest.approx((nervous / 2, shaky / 2))
    assert even == pytest.approx(tremor_of(0.5, replace(still, settling=0.0)))
    assert tremor_of(1.0, replace(still, settling=0.0)) == (0, 0)


@pytest.mark.parametrize("seed", range(3))
def test_the_task_is_completed_whatever_the_skill(seed: int) -> None:
    """All objects end near the target pad, or the last frame alone would tell skill."""
    options = SyntheticOptions()
    nuisance = draw_nuisance(seed, 0, options)
    for skill in (0.0, 1.0):
        rng = stream(seed, 0, Stream.MOTION)
        hand = trajectory(nuisance.task, skill, nuisance.frames, 25.0, rng, SkillEffects())
        away = np.linalg.norm(hand.objects[-1] - nuisance.task.target, axis=1)
        # 0.045 ring + 4 standard deviations of the miss (0.02) and of the tremor (0.0255)
        assert away.max() < 0.045 + 4 * 0.02 + 4 * 0.0255
        assert hand.tip.shape == (nuisance.frames, 2)
        assert hand.objects.shape == (nuisance.frames, len(nuisance.task.objects), 2)


@pytest.mark.parametrize("seed", range(3))
def test_no_single_number_gives_skill_away(seed: int) -> None:
    """A cue that correlates with skill would let a ranker win without looking at the hand."""
    videos = plan_set(24, seed)
    skill = np.array([video.skill for video in videos])
    for cue in ("frames", "brightness", "flow"):
        rho = spearmanr(skill, [getattr(video, cue) for video in videos]).statistic
        assert abs(rho) < 0.1, f"{cue}: {rho:.3f}"
    assert np.ptp(skill) > 0.9  # the balance must not come from skills that are all alike


def test_predicted_flow_follows_the_flow_of_the_pictures() -> None:
    """The balance of mean flow rests on the prediction: it must order videos as pictures do."""
    videos = plan_set(12, 0, SyntheticOptions(picture_size=96))
    measured = []
    for video in videos:
        scene = video.scene()
        speeds = []
        for frame in np.linspace(2, len(scene) - 3, 8).astype(int):
            now, then = (
                cv2.cvtColor(scene.draw(int(f)), cv2.COLOR_BGR2GRAY) for f in (frame, frame + 1)
            )
            flow = cv2.calcOpticalFlowFarneback(now, then, np.empty(0), 0.5, 3, 9, 5, 5, 1.1, 0)
            speeds.append(np.hypot(flow[..., 0], flow[..., 1]).mean())
        measured.append(np.mean(speeds))
    # Eight frames a video and a quick estimator; 24 videos with TV-L1 gave .98.
    assert spearmanr([v.flow for v in videos], measured).statistic > 0.8


def test_rank_correlation_agrees_with_scipy() -> None:
    """The balance is only as good as its measure; ties included."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        x, y = rng.integers(0, 6, 15).astype(float), rng.normal(size=15)
        assert rank_correlation(x, y) == pytest.approx(spearmanr(x, y).statistic, abs=1e-12)


@pytest.mark.parametrize(("size", "hand"), [(48, 1.0), (64, 1.0), (160, 1.8), (224, 1.0)])
def test_boxes_hold_every_pixel_of_the_tool(size: int, hand: float) -> None:
    """Attention is scored in these boxes: one that misses part of the tool scores wrongly."""
    options = replace(SMALL, picture_size=size, hand_size=hand)
    for video in plan_set(4, 5, options):
        scene = video.scene()
        for frame in range(0, len(scene), 6):
            with_tool = scene.draw(frame).astype(int)
            changed = np.abs(with_tool - scene.draw(frame, gripper=False)).max(axis=2) > 0
            rows, columns = np.nonzero(changed)
            x0, y0, x1, y1 = scene.box(frame) * size
            assert x0 <= columns.min() + 0.5
            assert y0 <= rows.min() + 0.5
            assert columns.max() + 0.5 <= x1
            assert rows.max() + 0.5 <= y1
            # A box much larger than the tool would make pointing hits worthless; the allowance
            # is the margin of two pixels, one of rounding, and the round finger ends.
            assert (x1 - x0) < np.ptp(columns) + 1 + 6 + 0.02 * size * hand
            assert (y1 - y0) < np.ptp(rows) + 1 + 6 + 0.02 * size * hand


def test_pairs_are_all_those_with_the_gap(
    small_set: tuple[Path, list[SyntheticVideo]],
) -> None:
    """A pair under the gap is a coin toss; a missing or reversed one is a wrong annotation."""
    folder, videos = small_set
    skill = {v.name: v.skill for v in videos}
    wanted = {
        (a, b) for a in skill for b in skill if skill[a] - skill[b] >= SMALL.skill_gap and a != b
    }
    rows = [(row["better"], row["worse"]) for row in read_table(folder / "pairs.csv")]
    assert set(rows) == wanted
    assert len(rows) == len(wanted) > 0


def test_tables_describe_the_videos(small_set: tuple[Path, list[SyntheticVideo]]) -> None:
    """Readers rely on one box a frame and on the lengths and skills in the tables."""
    folder, videos = small_set
    boxes = read_table(folder / "boxes.csv")
    skills = {row["video"]: row for row in read_table(folder / "skill.csv")}
    for video in videos:
        frames = read_video(folder / "videos" / video.name)
        mine = [row for row in boxes if row["video"] == video.name]
        assert len(frames) == len(mine) == video.frames == int(skills[video.name]["frames"])
        assert [int(row["frame"]) for row in mine] == list(range(video.frames))
        edges = np.array([[float(row[k]) for k in ("x0", "y0", "x1", "y1")] for row in mine])
        assert 0 <= edges.min() < edges.max() <= 1
        assert (edges[:, 2:] > edges[:, :2]).all()
        assert float(skills[video.name]["skill"]) == pytest.approx(video.skill, abs=1e-6)


def test_videos_show_what_was_drawn(small_set: tuple[Path, list[SyntheticVideo]]) -> None:
    """Compression that blurs the tool or swaps colours would make the files another set."""
    folder, videos = small_set
    for video in videos[:2]:
        read, scene = read_video(folder / "videos" / video.name), video.scene()
        for frame in (0, video.frames - 1):
            error = np.abs(read[frame].astype(int) - scene.draw(frame)).mean()
            assert error < 6  # H.264 keeps half of the colours' pixels


def test_videos_play_everywhere(
    small_set: tuple[Path, list[SyntheticVideo]], tmp_path: Path
) -> None:
    """Browsers show no MPEG-4 part 2, and an odd side is refused by the encoder."""
    folder, videos = small_set
    odd = generate(tmp_path, 4, 0, replace(SMALL, picture_size=49))
    for path, side in (
        (folder / "videos" / videos[0].name, 64),
        (tmp_path / "videos" / odd[0].name, 48),
    ):
        with av.open(str(path)) as container:
            context = container.streams.video[0].codec_context
            assert (context.name, context.pix_fmt, context.width) == ("h264", "yuv420p", side)
        content = path.read_bytes()
        assert content.index(b"moov") < content.index(b"mdat")


def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fills up under the demo ends in a traceback, or leaves half a video."""
    (video, *_) = plan_set(4, 0, SMALL)
    monkeypatch.setattr(writer, "encode", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(InputError, match=r"video_000\.mp4: cannot be written \(the disk is full"):
        writer.write_video(video, tmp_path)
    assert list((tmp_path / "videos").iterdir()) == []


def test_interrupted_set_goes_on_without_rewriting(tmp_path: Path) -> None:
    """A killed run must not lose finished videos nor leave a half-written one under its name."""
    seen: list[str] = []

    def stop_after_two(video: SyntheticVideo) -> None:
        seen.append(video.name)
        if len(seen) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate(tmp_path, 4, 0, SMALL, on_video=stop_after_two)
    done = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "videos").glob("video_*.mp4")}
    assert sorted(done) == seen
    killed = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], stdout=-1)
    name = temporary_name().replace(f"-{os.getpid()}-", f"-{int(killed.stdout)}-")
    (tmp_path / "videos" / f"{name}.mp4").write_bytes(b"half a file")
    generate(tmp_path, 4, 0, SMALL)
    files = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "videos").iterdir()}
    assert len(files) == 4
    assert done.items() <= files.items()
    assert len(read_table(tmp_path / "pairs.csv")) > 0


def test_other_options_are_refused_by_name(tmp_path: Path) -> None:
    """A folder silently keeping the old set would give numbers for options never asked for."""
    generate(tmp_path, 4, 0, SMALL)
    with pytest.raises(InputError, match=r"seed 0 \(you asked 1\).*--overwrite"):
        generate(tmp_path, 4, 1, SMALL)
    with pytest.raises(InputError, match=r"picture_size 64 \(you asked 48\)"):
        generate(tmp_path, 4, 0, replace(SMALL, picture_size=48))
    generate(tmp_path, 5, 1, SMALL, overwrite=True)
    again = generate(tmp_path, 4, 1, SMALL, overwrite=True)
    assert {p.name for p in (tmp_path / "videos").iterdir()} == {v.name for v in again}


def test_a_set_of_an_earlier_version_is_recognised(tmp_path: Path) -> None:
    """Options that were added since would refuse a set that is the one asked for."""
    generate(tmp_path, 4, 0, SMALL)
    note = tmp_path / "set.json"
    content = json.loads(note.read_text())
    note.write_text(
        json.dumps({k: v for k, v in content.items() if k not in ("hand_size", "settling")})
    )
    with pytest.raises(InputError, match=r"hand_size 1\.0 \(you asked 1\.8\); pass"):
        generate(tmp_path, 4, 0, replace(SMALL, hand_size=1.8))
    generate(tmp_path, 4, 0, SMALL)


def test_files_of_others_are_never_removed(tmp_path: Path) -> None:
    """Pointing the generator at a folder of real videos must not touch them."""
    (tmp_path / "videos").mkdir()
    mine = tmp_path / "videos" / "holiday.mp4"
    mine.write_bytes(b"precious")
    with pytest.raises(InputError, match="not a synthetic set"):
        generate(tmp_path, 4, 0, SMALL)
    generate(tmp_path, 4, 0, SMALL, overwrite=True)
    assert mine.read_bytes() == b"precious"


def test_impossible_requests_are_refused() -> None:
    """Bad numbers must end in one line, not in an empty set."""
    with pytest.raises(InputError, match="at least 4 videos, got 1"):
        plan_set(1, 0, SMALL)
    with pytest.raises(InputError, match="negative"):
        plan_set(4, -1, SMALL)
    with pytest.raises(ValueError, match="longest"):
        SyntheticOptions(shortest=50, longest=40)
    nuisance, rng = draw_nuisance(0, 0, SMALL), np.random.default_rng(0)
    with pytest.raises(ValueError, match="skill"):
        trajectory(nuisance.task, 1.5, nuisance.frames, 25.0, rng, SkillEffects())


def test_smooth_noise_keeps_to_its_band() -> None:
    """A tremor outside its band would look like camera shake or like noise."""
    noise = smooth_noise(np.random.default_rng(0), 500, 3.0, 6.0, 25.0)
    assert noise.shape == (500, 2)
    assert noise.std() == pytest.approx(1.0)
    power = np.abs(np.fft.rfft(noise, axis=0)) ** 2
    frequency = np.fft.rfftfreq(500, 1 / 25)
    inside = (frequency > 2.8) & (frequency < 6.2)
    assert power[inside].sum() > 0.95 * power.sum()  # the cut to 500 samples leaks a little
