"""Finding videos and naming them."""

from __future__ import annotations

import errno
import os
import unicodedata

import pytest

from data.cache.folder import find_caches
from data.errors import InputError
from data.sources import find_sources


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def keys(*inputs):
    return [source.key for source in find_sources(inputs)]


def test_folders_are_searched_for_videos_only(tmp_path):
    """Fails if caches, annotations, hidden files or folders with a video's name become videos."""
    touch(tmp_path, "a.mp4", "sub/B.AVI", "sub/deep/c.webm", "e.gif", "pairs.csv", "boxes.csv")
    touch(tmp_path, "a.mp4.h5", ".d.mp4", ".git/f.mp4", "notes.txt", "dir.mp4/g.mkv")
    (tmp_path / "empty.mp4").mkdir()
    assert keys(tmp_path) == ["a.mp4", "dir.mp4/g.mkv", "e.gif", "sub/B.AVI", "sub/deep/c.webm"]


def test_a_folder_of_numbered_images_is_one_video(tmp_path):
    """Fails if frames become videos of their own, or their folder is not found at any depth."""
    touch(tmp_path, *(f"take1/img_{i:05d}.jpg" for i in range(3)))
    touch(tmp_path, *(f"b/take2/{i}.png" for i in range(3)))
    assert keys(tmp_path) == ["b/take2", "take1"]
    assert keys(tmp_path / "take1") == ["take1"]
    (source,) = find_sources([tmp_path / "take1"])
    assert source.path == tmp_path / "take1"


def test_several_series_in_a_folder_are_videos_of_their_own(tmp_path):
    """Fails if one camera is lost, or both write one cache."""
    touch(tmp_path, *(f"take/{n:03}_{side}.png" for n in range(3) for side in ("left", "right")))
    assert keys(tmp_path) == ["take/left", "take/right"]
    assert keys(tmp_path / "take") == ["take/left", "take/right"]
    assert [source.path.name for source in find_sources([tmp_path])] == [
        "000_left.png",
        "000_right.png",
    ]


def test_the_series_of_before_keeps_its_key(tmp_path):
    """Fails if masks put next to the frames rename the caches of the frames."""
    touch(tmp_path, *(f"a/img_{n}.jpg" for n in range(3)), *(f"a/mask_{n}.png" for n in range(3)))
    touch(tmp_path, *(f"b/cam_{n}.jpg" for n in range(3)), *(f"b/{n}_mask.png" for n in range(3)))
    touch(tmp_path, *(f"c/x_{n}.jpg" for n in range(2)), *(f"c/x_{n}.png" for n in range(2)))
    assert keys(tmp_path) == ["a", "a/mask", "b", "b/mask", "c/x_#.jpg", "c/x_#.png"]


def test_a_series_never_takes_the_key_of_another_video(tmp_path):
    """Fails if the series left_* and the folder left/ write one cache."""
    touch(tmp_path, *(f"take/{side}_{n}.png" for n in range(3) for side in ("left", "right")))
    touch(tmp_path, "take/left/1.png", "take/left/2.png")
    assert keys(tmp_path) == ["take/left", "take/left_0.png", "take/right"]


@pytest.mark.parametrize(("x", "y"), [("flow_x", "flow_y"), ("u", "v"), ("tvl1_flow_x", "Flow-Y")])
def test_folders_of_flow_are_no_videos(tmp_path, caplog, x, y):
    """Fails if the flow pictures of two-stream tools are taken for frames, or go unsaid."""
    touch(tmp_path, *(f"A/{part}/{n:05}.jpg" for part in ("rgb", x, y) for n in range(3)))
    touch(tmp_path, *(f"{x}/B/{n:05}.jpg" for n in range(3)))
    touch(tmp_path, *(f"{y}/B/{n:05}.jpg" for n in range(3)))
    with caplog.at_level("INFO"):
        assert keys(tmp_path) == ["A/rgb"]
    assert "and 3 more: pictures of flow" in caplog.text


def test_flow_in_the_folder_of_the_frames_is_left_out(tmp_path, caplog):
    """Fails if flow_x, flow_y, u or v next to the frames become videos, or go unsaid."""
    touch(tmp_path, *(f"a/cam_{n}.jpg" for n in range(3)))
    touch(tmp_path, *(f"a/{part}_{n}.jpg" for n in range(3) for part in ("flow_x", "flow_y")))
    touch(tmp_path, *(f"b/{part}_{n}.jpg" for n in range(3) for part in ("u", "v")))
    touch(tmp_path, *(f"c/u_{n}.jpg" for n in range(3)))
    with caplog.at_level("INFO"):
        assert keys(tmp_path) == ["a", "c"]
    assert caplog.text.count("6 pictures of flow") == 2


def test_pictures_without_a_numbering_are_reported(tmp_path, caplog):
    """Fails if a folder of pictures is dropped without a word."""
    touch(tmp_path, "a.mp4", "take/first.jpg", "take/second.jpg", "plots/loss.png")
    assert keys(tmp_path) == ["a.mp4"]
    assert "take: 2 pictures without a numbering" in caplog.text
    assert "plots" not in caplog.text


def test_pictures_beside_videos_are_no_frames(tmp_path):
    """Fails if thumbnails or a single plot turn a folder of videos into a frames folder."""
    touch(tmp_path, "a.mp4", "thumb_1.jpg", "thumb_2.jpg", "plots/figure1.png")
    assert keys(tmp_path) == ["a.mp4"]


def test_files_are_taken_whatever_their_extension(tmp_path):
    """Fails if a video named explicitly is refused for its name."""
    touch(tmp_path, "a.video", "noextension", ".hidden.mp4")
    given = [tmp_path / name for name in ("a.video", "noextension", ".hidden.mp4")]
    assert keys(*given) == [".hidden.mp4", "a.video", "noextension"]


def test_equal_base_names_do_not_collide(tmp_path):
    """Fails if the caches of two videos would overwrite each other."""
    touch(tmp_path, "one/a.mp4", "two/a.mp4", "two/a.avi")
    assert keys(tmp_path) == ["one/a.mp4", "two/a.avi", "two/a.mp4"]
    assert keys(tmp_path / "one", tmp_path / "two") == ["one/a.mp4", "two/a.avi", "two/a.mp4"]
    assert keys(tmp_path / "one/a.mp4", tmp_path / "two/a.mp4") == ["one/a.mp4", "two/a.mp4"]


def test_keys_of_several_inputs_stay_short_where_they_can(tmp_path):
    """Fails if adding an unrelated folder renames the caches of another."""
    touch(tmp_path, "one/a.mp4", "two/b.mp4")
    assert keys(tmp_path / "one", tmp_path / "two") == ["a.mp4", "b.mp4"]


def test_a_video_named_twice_is_taken_once(tmp_path):
    """Fails if two workers would write one cache."""
    touch(tmp_path, "a.mp4")
    assert keys(tmp_path, tmp_path / "a.mp4", f"{tmp_path}/../{tmp_path.name}/a.mp4") == ["a.mp4"]


def test_lists_are_relative_to_their_own_folder(tmp_path, monkeypatch):
    """Fails if a list works only from the folder it lies in, or comments become paths."""
    touch(tmp_path, "set/a.mp4", "set/sub/b c.mp4", "else/d.mp4", "set/frames/1.png")
    touch(tmp_path, "set/frames/2.png")
    lines = ["# my videos", "", "a.mp4", "  sub/b c.mp4  ", "../else/d.mp4", "frames"]
    (tmp_path / "set/list.txt").write_text("\n".join(lines))
    monkeypatch.chdir(tmp_path)
    assert keys("@set/list.txt") == ["a.mp4", "d.mp4", "frames", "sub/b c.mp4"]


@pytest.mark.parametrize("column", ["video", "Path"])
@pytest.mark.parametrize("start", ["", "\ufeff"])
def test_tables_name_videos_in_a_column(tmp_path, column, start):
    """Fails if quoting, a byte-order mark, CRLF or further columns spoil a CSV."""
    touch(tmp_path, "a, b.mp4", "c.mp4")
    text = f'{start}id,{column},note\r\n1,"a, b.mp4",x\r\n2,c.mp4\r\n3,,\r\n'
    (tmp_path / "videos.csv").write_bytes(text.encode())
    assert keys(tmp_path / "videos.csv") == ["a, b.mp4", "c.mp4"]


def test_linked_folders_are_followed_and_loops_end(tmp_path):
    """Fails if data sets put together from links are empty, or a link upwards never ends."""
    touch(tmp_path, "store/a.mp4")
    (tmp_path / "set").mkdir()
    (tmp_path / "set/link").symlink_to(tmp_path / "store")
    (tmp_path / "store/up").symlink_to(tmp_path / "set")
    assert keys(tmp_path / "set") == ["link/a.mp4"]


def test_missing_inputs_are_named(tmp_path):
    """Fails if the message does not say which path, and which list named it."""
    with pytest.raises(InputError, match=r"gone\.mp4: no such file or folder"):
        find_sources([tmp_path / "gone.mp4"])
    (tmp_path / "list.txt").write_text("gone.mp4\n")
    with pytest.raises(InputError, match=r"gone\.mp4: no such .*list\.txt"):
        find_sources([f"@{tmp_path}/list.txt"])
    with pytest.raises(InputError, match=r"none\.txt: no such file"):
        find_sources([f"@{tmp_path}/none.txt"])


@pytest.mark.parametrize("name", ["folder", "folder.mp4"])
def test_nothing_found_says_what_was_looked_for(tmp_path, name):
    """Fails if a wrong folder ends in silence."""
    touch(tmp_path, f"{name}/a.txt")
    touch(tmp_path, "full/a.mp4")
    for others in ([], [tmp_path / "full"]):
        with pytest.raises(InputError, match=r"no videos found in .*folder.*mp4.*numbered images"):
            find_sources([*others, tmp_path / name])
    with pytest.raises(InputError, match="no videos given"):
        find_sources([])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a,b\n1,2\n", "expected a header with a column 'video' or 'path', found a, b"),
        (b"", "found an empty file"),
        (b"video\n", "expected a path to a video in each line, found none"),
        (b"video\n\xff\xfe\n", "cannot read .*not UTF-8"),
    ],
)
def test_unusable_tables_are_refused(tmp_path, content, message):
    """Fails if a table of another kind gives videos, or a traceback."""
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(InputError, match=message):
        find_sources([tmp_path / "t.csv"])


def test_a_list_takes_names_with_a_hash_and_labels_after_the_path(tmp_path):
    """Fails if videos called #122 vanish from a list, or a data set's own list is refused."""
    touch(tmp_path, "#122_Cleaning.avi", "a b.mp4", "c.avi", "d.mp4")
    lines = [
        "# d.mp4 is not meant",
        "#122_Cleaning.avi 3",
        "a b.mp4 label",
        "c.avi 120 7",
        "#d.mp4",
    ]
    (tmp_path / "list.txt").write_text("\n".join(lines))
    assert keys(f"@{tmp_path}/list.txt") == ["#122_Cleaning.avi", "a b.mp4", "c.avi"]


@pytest.mark.parametrize("table", ["@list.txt", "list.csv"])
def test_missing_entries_are_sources_that_fail_when_opened(tmp_path, monkeypatch, table):
    """Fails if one wrong line stops all other videos, or is dropped without a word."""
    touch(tmp_path, "a.mp4")
    (tmp_path / table.lstrip("@")).write_text(
        "video\n" * table.endswith("csv") + "gone.mp4\na.mp4\n"
    )
    monkeypatch.chdir(tmp_path)
    assert keys(table) == ["a.mp4", "gone.mp4"]


@pytest.mark.parametrize(
    "entry",
    [
        "D:\\films\\set\\v01.mp4",
        "/home/anna/set/v01.mp4",
        "set\\v01.mp4",
        "set/V01.MP4",
        "set/v01.avi",
        "set/v01",
        "films/set/v01.mp4",
        "../films/set/v01.mp4",
    ],
)
def test_entries_from_another_machine_are_found(tmp_path, entry):
    """Fails if a list that was written elsewhere names no video, or another one's."""
    touch(tmp_path, "set/v01.mp4", "other/v01.mp4", "set/v02.mp4", "set/v01.txt")
    (tmp_path / "list.txt").write_text(f"{entry}\nset/v02.mp4\n")
    assert keys(f"@{tmp_path}/list.txt") == ["set/v01.mp4", "set/v02.mp4"]


def test_entries_that_fit_several_files_are_refused_with_the_candidates(tmp_path):
    """Fails if one of two videos is taken without a word, or the entry is called missing."""
    touch(tmp_path, "v01.mp4", "v01.mkv", "v01.txt", "v02.mp4")
    (tmp_path / "list.txt").write_text("v01.avi\nv02.mp4\n")
    with pytest.raises(
        InputError, match=r"'v01.avi' may be any of 2 videos, e.g. v01.mkv, v01.mp4"
    ):
        find_sources([f"@{tmp_path}/list.txt"])


def test_composed_entries_name_decomposed_files(tmp_path):
    """Fails if a file that looks like the entry is called missing (names of macOS)."""
    name = unicodedata.normalize("NFD", "Übung/é.mp4")
    touch(tmp_path, name)
    (tmp_path / "t.csv").write_text("video\nÜbung/é.mp4\n", encoding="utf-8")
    assert keys(tmp_path / "t.csv") == [name]


def test_a_pipe_as_a_list_is_refused(tmp_path):
    """Fails if the program waits for ever for a list."""
    os.mkfifo(tmp_path / "list.txt")
    os.mkfifo(tmp_path / "list.csv")
    for table in (f"@{tmp_path}/list.txt", tmp_path / "list.csv"):
        with pytest.raises(InputError, match="not a regular file"):
            find_sources([table])


# fmt: off
SYSTEM = [
    "@eaDir/v.mp4/SYNOPHOTO_FILM_M.mp4", "#recycle/old.mp4", "._v.mp4", ".AppleDouble/v.mp4",
    "$RECYCLE.BIN/x.mp4", "System Volume Information/y.mp4", "lost+found/z.mp4",
    ".Trash-1000/files/t.mp4", "sub/@eaDir/u.mp4", "__MACOSX/._v.mp4",
]
# fmt: on


def test_files_of_the_system_are_no_videos_and_no_caches(tmp_path):
    """Fails if previews and trash are judged, or a copy's shadow counts as a damaged cache."""
    touch(tmp_path, "v.mp4", *SYSTEM)
    assert keys(tmp_path) == ["v.mp4"]
    touch(tmp_path / "caches", "v.mp4.h5", *(f"{name}.h5" for name in SYSTEM))
    assert list(find_caches(tmp_path / "caches")) == ["v.mp4"]


def test_patterns_leave_videos_out(tmp_path):
    """Fails if --exclude looks at the last part of a path alone, or at folders above the input."""
    touch(tmp_path, "raw/a.mp4", "raw/preview_a.mp4", "raw/old/b.mp4", "raw/old/c.avi")
    found = find_sources([tmp_path / "raw"], ["preview_*", "old/*.avi", "raw"])
    assert [source.key for source in found] == ["a.mp4", "old/b.mp4"]
    found = find_sources([tmp_path / "raw"], ["old", "preview*"])
    assert [source.key for source in found] == ["a.mp4"]
    with pytest.raises(InputError, match="all of 4 videos are left out by --exclude"):
        find_sources([tmp_path / "raw"], ["*"])


def deny(monkeypatch, folder):
    """Refuse to list a folder, as the system does without permission (not to root)."""
    scandir, listdir = os.scandir, os.listdir

    def refusing(listing):
        def listed(path="."):
            if os.fspath(path) == os.fspath(folder):
                raise PermissionError(errno.EACCES, "Permission denied", os.fspath(path))
            return listing(path)

        return listed

    monkeypatch.setattr(os, "scandir", refusing(scandir))
    monkeypatch.setattr(os, "listdir", refusing(listdir))


@pytest.mark.parametrize("given", ["", "closed"])
def test_a_folder_that_cannot_be_read_is_a_source(tmp_path, monkeypatch, given):
    """Fails if its videos are left out without a word."""
    touch(tmp_path, "a.mp4", "closed/b.mp4")
    deny(monkeypatch, tmp_path / "closed")
    assert "closed" in keys(tmp_path / given)
