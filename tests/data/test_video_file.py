"""What players do with odd files, read in the same way: streams, matrices, times, HDR, pipes."""

from __future__ import annotations

import os
import subprocess
import sys

import cv2
import numpy as np
import pytest

from data.errors import VideoError
from data.video import file, reading
from data.video.info import damage_among
from data.video.reading import file_digest, read_frames, scan
from tests.goldens.material import invoke
from tests.helpers import odd_videos
from tests.helpers.odd_videos import FRAMES, HEIGHT, RATE, WIDTH
from tests.helpers.places import ROOT

MATRICES = {
    "hflip": ("-display_hflip",),
    "vflip": ("-display_vflip",),
    "turned_hflip": ("-display_rotation", "90", "-display_hflip"),
    "turned_vflip": ("-display_rotation", "90", "-display_vflip"),
    "half_turn_hflip": ("-display_rotation", "180", "-display_hflip"),
}
# Kinds that OpenCV 5.1 reads rightly; caches of them exist.
AS_OPENCV = [
    *("h264.mp4", "bframes.mp4", "h264.ts", "av1.mp4", "tenbit.mp4", "tenbit_hevc.mp4"),
    *("interlaced.mpg", "interlaced.mp4", "mjpeg.avi", "mpeg4_bframes.avi", "vp9.webm"),
    *("vp9_odd.webm", "yuv444_odd.mp4", "full_range.mp4", "bt709.mp4", "wide.mp4", "gray.mp4"),
    *("anim.gif", "vfr.mkv", "flv.flv", "sd.mp4", "hlg.mp4"),
]


@pytest.mark.skipif(
    int(cv2.__version__.split(".")[0]) < 5, reason="other OpenCVs convert otherwise"
)
@pytest.mark.parametrize("name", AS_OPENCV)
def test_frames_are_those_of_opencv(folder, name):
    """Fails if caches of before were made from other frames than are read now."""
    path = odd_videos.make(name, folder)
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    for _, frame in read_frames(path, range(scan(path).frames)):
        read, expected = capture.read()
        assert read
        assert np.array_equal(frame, expected)
    assert not capture.grab()
    capture.release()


def test_a_wide_gamut_is_prepared_once(folder):
    """Fails if the table of colours, which takes seconds, is made for each frame or each video."""
    path = odd_videos.make("wide.mp4", folder)
    before = file._reformatter.cache_info().misses
    for _ in range(2):
        assert len(list(read_frames(path, [0, 5, 9]))) == 3
    assert file._reformatter.cache_info().misses <= before + 1


@pytest.mark.parametrize("name", MATRICES)
def test_flips_are_applied_and_recorded(folder, name):
    """Fails if a mirrored selfie is turned upside down, or nothing says that it was mirrored."""
    info = odd_videos.check_against_ffmpeg(odd_videos.shown(folder, f"{name}.mp4", *MATRICES[name]))
    assert info.mirrored
    assert "mirrored left to right, as the file asks" in info.warnings
    assert damage_among(info.warnings) == []
    upright = dict(read_frames(odd_videos.make("h264.mp4", folder), [5]))[5]
    turned = np.rot90(upright[:, ::-1], -info.rotation // 90)
    shown = dict(read_frames(info.path, [5]))[5]
    assert np.array_equal(shown, turned)


def test_other_matrices_are_refused(folder):
    """Fails if a picture that is shown aslant is read as if it stood upright."""
    path = odd_videos.shown(folder, "aslant.mp4", "-display_rotation", "30")
    with pytest.raises(VideoError, match=r"aslant\.mp4: expected a display matrix .* found 0\.866"):
        scan(path)


def test_the_default_stream_is_read_and_said(folder):
    """Fails if the first stream is read where a player shows another."""
    info = scan(odd_videos.make("second_is_default.mkv", folder), strict=True)
    assert (info.width, info.height, info.frames) == (WIDTH, HEIGHT, FRAMES)
    assert "2 video streams; the default one, number 1, is read" in info.warnings


@pytest.mark.parametrize("name", ["song.m4a", "song.mp3"])
def test_a_cover_is_no_video(folder, name):
    """Fails if a sound file becomes a video of one frame, its cover."""
    with pytest.raises(VideoError, match="holds no video stream, only sound"):
        scan(odd_videos.sound_with_cover(folder, name))


def test_times_are_those_of_the_file(folder):
    """Fails if the start of a stream is taken for zero: sound and other cameras would not fit."""
    info = scan(odd_videos.make("h264.ts", folder))
    assert info.times[0] > 1  # A transport stream starts after a delay.
    assert info.times - info.times[0] == pytest.approx(np.arange(FRAMES) / RATE, abs=2e-5)


def test_a_negative_start_is_no_damage(folder):
    """Fails if a whole file that begins before zero is refused for the count of its header."""
    info = scan(odd_videos.negative_start(folder), strict=True)
    assert info.frames == FRAMES
    # Matroska stamps are whole milliseconds.
    assert info.times == pytest.approx(np.arange(FRAMES) / RATE - 0.5, abs=0.00051)
    assert info.warnings == ()


@pytest.mark.parametrize(
    ("name", "transfer"), [("hlg.mp4", "arib-std-b67"), ("pq.mkv", "smpte2084")]
)
def test_hdr_is_warned_about_with_the_command_that_maps_it(folder, name, transfer):
    """Fails if an HDR video's colours are taken for those a player shows, or the command fails."""
    path = odd_videos.make(name, folder)
    (warning,) = scan(path, strict=True).warnings
    assert transfer in warning
    filters = warning.split("-vf ")[1].split()[0]
    mapped = folder / f"mapped_{name}.mp4"
    command = ["-i", str(path), "-vf", filters, "-c:v", "libx264"]
    done = subprocess.run(
        [odd_videos.ffmpeg(), "-loglevel", "error", *command, str(mapped)], capture_output=True
    )
    if b"No such filter" in done.stderr:
        pytest.skip("this FFmpeg has no zscale")
    assert scan(mapped).warnings == ()


def test_pipes_are_refused_at_once(tmp_path):
    """Fails if one named pipe among the videos stops all commands for ever."""
    pipe = tmp_path / "a.mp4"
    os.mkfifo(pipe)
    program = (
        "import sys\nfrom pathlib import Path\nfrom data.errors import VideoError\n"
        "from data.video.claims import claimed_shape\n"
        "from data.video.reading import file_digest, read_frames, scan\n"
        "assert claimed_shape(Path(sys.argv[1])) is None\n"
        "for action in (scan, file_digest, lambda path: list(read_frames(path, [0]))):\n"
        "    try: action(sys.argv[1])\n"
        "    except VideoError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(pipe)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        cwd=ROOT,
    )
    assert done.stdout.count("expected a video file or a folder of frames, found neither") == 3


@pytest.mark.parametrize("change", ["grows", "is touched"])
def test_a_file_that_changes_during_the_scan_is_refused(tmp_path, monkeypatch, change):
    """Fails if the digest of a whole recording is stored with the frames of its first part."""
    path = odd_videos.make("h264.ts", tmp_path)

    def slow(place):
        if change == "grows":
            with path.open("ab") as recording:
                recording.write(path.read_bytes())
        else:
            os.utime(path, ns=(0, 0))
        return file_digest(place)

    monkeypatch.setattr(reading, "file_digest", slow)
    with pytest.raises(VideoError, match=r"h264\.ts: changed while it was read"):
        scan(path)


def test_playlists_open_no_other_file(tmp_path):
    """Fails if a text in the place of a video makes FFmpeg read other files, or the network."""
    inner = odd_videos.make("h264.ts", tmp_path)
    path = tmp_path / "list.m3u8"
    path.write_text(
        f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:2,\nhttp://127.0.0.1:9/{inner.name}\n"
    )
    with pytest.raises(VideoError, match=r"list\.m3u8"):
        scan(path)


def test_a_frame_of_another_size_is_scaled_to_the_first(folder):
    """Fails if flow is computed between pictures of two sizes."""
    small = ["-f", "lavfi", "-i", "testsrc2=size=48x32:rate=20:duration=1", "-c:v", "libx264"]
    second = odd_videos.encode(folder / "small.ts", small)
    path = folder / "grows.ts"
    path.write_bytes(odd_videos.make("h264.ts", folder).read_bytes() + second.read_bytes())
    shapes = {frame.shape for _, frame in read_frames(path, range(scan(path).frames))}
    assert shapes == {(HEIGHT, WIDTH, 3)}


def test_damaged_bytes_are_skipped_alike_by_scan_and_reading(folder):
    """Fails if frames after a damaged packet have other numbers when they are read."""
    path = odd_videos.corrupted(folder)
    with file.opened(path) as video:
        count = sum(1 for _ in video.frames([]))
    assert len(list(read_frames(path, range(count)))) == count == scan(path, threads=3).frames


def test_the_command_reports_what_was_done(folder):
    """Fails if the user does not hear of flips, or of the stream that was chosen."""
    flipped = odd_videos.shown(folder, "flipped.mp4", "-display_hflip")
    assert "mirrored left to right" in invoke("inspect", flipped).output
    several = odd_videos.make("second_is_default.mkv", folder)
    assert "2 video streams" in invoke("inspect", several).output
