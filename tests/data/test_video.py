"""Reading ordinary and odd video files, against FFmpeg's own program as the oracle."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from data.errors import VideoError
from data.video.info import usable_times
from data.video.reading import file_digest, read_frames, scan
from tests.helpers import odd_videos
from tests.helpers.odd_videos import FRAMES, HEIGHT, RATE, RECIPES, VFR_KEPT, WIDTH
from tests.helpers.places import ROOT

# Of another conversion (wide gamuts become BT.709), or another stream than FFmpeg's first.
_OTHERS = {
    *("interlaced.mpg", "interlaced.mp4", "wide.mp4", "hlg.mp4", "pq.mkv"),
    "second_is_default.mkv",
}
_TEN_BITS = {"tenbit.mp4", "tenbit_hevc.mp4"}


@pytest.mark.parametrize("name", [name for name in RECIPES if name not in _OTHERS])
def test_every_frame_is_the_one_ffmpeg_decodes(folder, name):
    """Fails if a container or codec loses, repeats or shifts frames, or changes their pixels."""
    # Where ten bits become eight, the two builds interpolate colour differently at edges; what flow
    # sees, the grey, differs by less than a level.
    odd_videos.check_against_ffmpeg(odd_videos.make(name, folder), exact=name not in _TEN_BITS)


@pytest.mark.parametrize("name", ["interlaced.mpg", "interlaced.mp4"])
def test_interlaced_frames_are_converted(folder, name):
    """Fails if frames repeat, fields mix their colours, or the combs in flow come unannounced."""
    info = odd_videos.check_against_ffmpeg(odd_videos.make(name, folder))
    assert info.frames > 10
    assert any("interlaced" in warning for warning in info.warnings)


def test_interlaced_after_progressive_frames(folder):
    """Fails if a stream that turns interlaced half-way stands still, or is converted alike."""
    first = odd_videos.make("mpeg2.mpg", folder).read_bytes()
    second = odd_videos.make("interlaced.mpg", folder).read_bytes()
    path = folder / "mixed.mpg"
    path.write_bytes(first + second)
    info = scan(path)
    expected = odd_videos.decoded_by_ffmpeg(path, info.width, info.height)
    frames = [frame for _, frame in read_frames(path, range(info.frames))]
    assert len(frames) == len(expected)
    assert np.array_equal(frames, expected)


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotation_is_applied_and_recorded(folder, degrees):
    """Fails if phone videos lie on their side, or turn the wrong way."""
    info = odd_videos.check_against_ffmpeg(odd_videos.rotated(folder, degrees))
    assert info.rotation == 360 - degrees  # the file counts counter-clockwise
    expected = (WIDTH, HEIGHT) if degrees == 180 else (HEIGHT, WIDTH)
    assert (info.width, info.height) == expected


@pytest.mark.parametrize("name", ["vfr.mp4", "vfr.mkv"])
def test_variable_frame_rate_keeps_its_time_stamps(folder, name):
    """Fails if times are taken for frame number / rate."""
    info = scan(odd_videos.make(name, folder))
    # Matroska stamps are whole milliseconds.
    assert info.times == pytest.approx(np.array(VFR_KEPT) / RATE, abs=0.00051)
    assert info.warnings == ()


def test_constant_frame_rate_and_header(folder):
    """Fails if an ordinary file is reported with doubts or wrong numbers."""
    path = odd_videos.make("h264.mp4", folder)
    info = scan(path, strict=True)
    assert (info.frames, info.claimed_frames, info.fps) == (FRAMES, FRAMES, RATE)
    assert (info.width, info.height, info.rotation) == (WIDTH, HEIGHT, 0)
    assert info.times == pytest.approx(np.arange(FRAMES) / RATE)
    assert info.warnings == ()
    assert info.size == path.stat().st_size
    assert info.digest == hashlib.sha256(path.read_bytes()).hexdigest() == file_digest(path)


def test_edit_list_is_obeyed_and_its_count_doubted(folder):
    """Fails if frames that were cut away come back, or the header's count is believed."""
    path = odd_videos.edit_list(folder)
    info = odd_videos.check_against_ffmpeg(path)
    assert info.frames < info.claimed_frames
    assert info.times[0] == 0
    assert any(f"claims {info.claimed_frames} frames" in warning for warning in info.warnings)
    with pytest.raises(VideoError, match="the header claims"):
        scan(path, strict=True)


def test_raw_streams_get_times_from_the_frame_rate(folder):
    """Fails if a stream without time stamps or count puts all frames at 0 s."""
    info = scan(odd_videos.make("raw.h264", folder), strict=True)
    assert info.claimed_frames == -1
    assert info.times == pytest.approx(np.arange(FRAMES) / info.fps)
    assert any("no time stamps" in warning for warning in info.warnings)


def test_wanted_frames_are_the_same_however_many_are_wanted(folder):
    """Fails if skipping frames shifts the count."""
    path = odd_videos.make("bframes.mp4", folder)
    everything = dict(read_frames(path, range(FRAMES)))
    wanted = [0, 3, 4, 17, FRAMES - 1]
    some = list(read_frames(str(path), np.array(wanted)))
    assert [index for index, _ in some] == wanted
    assert all(np.array_equal(frame, everything[index]) for index, frame in some)
    assert list(read_frames(path, [])) == []


def test_frames_handed_out_do_not_change_later(folder):
    """Fails if frames share one buffer, so that a kept frame turns into a later one."""
    path = odd_videos.make("h264.mp4", folder)
    kept = [(frame, frame.copy()) for _, frame in read_frames(path, range(5))]
    assert all(np.array_equal(frame, copy) for frame, copy in kept)


def test_still_pictures_are_read_to_the_end(folder):
    """Fails if identical frames go missing."""
    source = ["-f", "lavfi", "-i", "color=gray:size=96x64:rate=20:duration=1"]
    path = odd_videos.encode(folder / "still.mp4", [*source, "-c:v", "libx264"])
    assert odd_videos.check_against_ffmpeg(path).warnings == ()


def test_a_picture_that_stops_moving_is_read_to_the_end(folder):
    """Fails if frames are lost or shifted where a video starts to repeat one frame."""
    frozen = "tpad=stop_mode=clone:stop_duration=1"
    source = ["-f", "lavfi", "-i", f"testsrc2=size=96x64:rate=20:duration=1,{frozen}"]
    path = odd_videos.encode(folder / "stops.mkv", [*source, "-c:v", "ffv1"])
    assert odd_videos.check_against_ffmpeg(path).frames == 40


@pytest.mark.parametrize("indices", [[1, 1], [2, 1], [-1, 0]])
def test_unsorted_indices_are_refused(folder, indices):
    """Fails if a caller would wait for a frame that has gone by."""
    with pytest.raises(ValueError, match="strictly increasing"):
        read_frames(odd_videos.make("h264.mp4", folder), indices)


def test_a_frame_after_the_end_is_an_error(folder):
    """Fails if a caller silently gets fewer frames than it asked for."""
    with pytest.raises(VideoError, match=f"frame {FRAMES} is wanted"):
        list(read_frames(odd_videos.make("h264.mp4", folder), [0, FRAMES]))


def test_captures_are_released_when_reading_stops_early(folder):
    """Fails if unfinished readers hold files open until the process runs out of them."""
    descriptors = Path("/proc/self/fd")
    if not descriptors.exists():
        pytest.skip("needs /proc")
    path = odd_videos.make("h264.mp4", folder)
    before = len(list(descriptors.iterdir()))
    for _ in range(5):
        reader = read_frames(path, range(10))
        next(reader)
        reader.close()
    assert len(list(descriptors.iterdir())) == before


def test_threads_can_read_side_by_side(folder):
    """Fails if opening an interlaced video in one thread breaks opening in another."""
    names = ["h264.mp4", "interlaced.mpg", "vp9.webm", "interlaced.mp4"]
    paths = [odd_videos.make(name, folder) for name in names]
    expected = [scan(path) for path in paths]
    failed = []

    def work(path, info):
        try:
            for _ in range(5):
                again = scan(path)
                assert (again.frames, again.warnings) == (info.frames, info.warnings)
                assert len(list(read_frames(path, range(info.frames)))) == info.frames
        except (VideoError, AssertionError) as error:
            failed.append(error)

    pairs = zip(paths, expected, strict=True)
    threads = [threading.Thread(target=work, args=pair) for pair in pairs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


def test_ffmpeg_is_silent(folder):
    """Fails if FFmpeg's or OpenCV's own messages reach the user next to our one line."""
    paths = [odd_videos.corrupted(folder), folder / "random.mp4"]
    paths[1].write_bytes(np.random.default_rng(1).bytes(5000))
    program = (
        "import sys\nfrom data.video.reading import scan\nfrom data.errors import VideoError\n"
        "for path in sys.argv[1:]:\n    try: scan(path)\n    except VideoError: pass\n"
    )
    command = [sys.executable, "-c", program, *map(str, paths)]
    root = ROOT
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=root)
    assert (done.stdout, done.stderr) == ("", "")


@pytest.mark.parametrize(
    ("stamps", "fps", "times", "rate", "warned"),
    [
        ([0.0, 0.1, 0.4], 10.0, [0.0, 0.1, 0.4], 10.0, False),
        ([0.0, 0.1, 0.1, 0.3], 90000.0, [0.0, 0.1, 0.1, 0.3], 10.0, False),
        ([0.0, 0.0, 0.0], 50.0, [0.0, 0.02, 0.04], 50.0, True),
        ([0.0, 0.2, 0.1], 10.0, [0.0, 0.1, 0.2], 10.0, True),
        ([0.0, float("nan")], 10.0, [0.0, 0.1], 10.0, True),
        ([0.0, 0.0], float("nan"), [0.0, 0.04], 25.0, True),
        ([0.0], 0.0, [0.0], 25.0, False),
    ],
)
def test_time_stamps_are_made_usable(stamps, fps, times, rate, warned):
    """Fails if stamps that go back or stand still reach a sampling plan, or good ones are lost."""
    got, got_rate, warning = usable_times(np.array(stamps), fps)
    assert got == pytest.approx(np.array(times))
    assert got_rate == pytest.approx(rate)
    assert (warning is not None) == warned
