"""Finding videos and naming them."""

from __future__ import annotations

import pytest

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
    with pytest.raises(InputError, match=r"no videos found in .*folder.*mp4.*numbered images"):
        find_sources([tmp_path / name])
    with pytest.raises(InputError, match="no videos given"):
        find_sources([])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a,b\n1,2\n", "expected a header with a column 'video' or 'path', found a, b"),
        (b"", "found an empty file"),
        (b"video\n", "expected a path to a video in each line, found none"),
        (b"video\n\xff\xfe\n", "cannot be read"),
    ],
)
def test_unusable_tables_are_refused(tmp_path, content, message):
    """Fails if a table of another kind gives videos, or a traceback."""
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(InputError, match=message):
        find_sources([tmp_path / "t.csv"])
