"""Whether a cache still holds what was written, and its source video and flow are unchanged."""

from __future__ import annotations

import glob
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from data.cache.folder import cache_problems, content_digest, read_header
from data.cache.header import Header
from data.cache.schema import DAMAGE
from data.errors import CacheError, VideoError
from data.video.frame_names import is_frames
from data.video.reading import file_digest
from pipeline.inspect.report import Report, short
from pipeline.shell.words import format_bytes, printable


@dataclass(frozen=True)
class Upstream:
    """The flow caches that feature caches may have been made from.

    Attributes
    ----------
    by_content : dict of str to str
        Content digest to path.
    by_source : dict of str to str
        Digest of the source video to path.
    """

    by_content: dict[str, str] = field(default_factory=dict)
    by_source: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, paths: Iterable[Path]) -> Upstream:
        """Read the digests of flow caches; other files and damaged ones are left out."""
        upstream = cls()
        for path in paths:
            try:
                header = read_header(path)
                if header.kind == "flow":
                    upstream.by_content[content_digest(path)] = str(path)
                    upstream.by_source[header.source_digest] = str(path)
            except (CacheError, *DAMAGE):
                continue
        return upstream


def locate_source(header: Header, videos: Path | None) -> Path:
    """Return where a cache's source video is now, or its recorded place if it is not found.

    Parameters
    ----------
    header : Header
    videos : Path, optional
        The video, or a folder to search for its name and size, if it is not at its place.
    """
    place = Path(header.source)
    if videos is None or place.exists():
        return place
    if videos.is_file():
        return videos
    named = sorted(videos.rglob(glob.escape(place.name)))
    sized = [path for path in named if is_frames(path) or path.stat().st_size == header.source_size]
    if len(sized) > 1:  # Only then is it worth reading them.
        sized = [path for path in sized if file_digest(path) == header.source_digest] or sized
    return (sized or named or [place])[0]


def source_state(header: Header, place: Path) -> str:
    """Return the state of a cache's source video, as far as it is known without reading it."""
    unchanged = "still there" if place == Path(header.source) else f"now {place}"
    try:
        if is_frames(place):
            return unchanged
        size = place.stat().st_size
    except OSError:
        return "no longer there"
    if size != header.source_size:
        return f"CHANGED since: now {format_bytes(size)}"
    return f"{unchanged}, of the same size"


def verify_cache(report: Report, path: Path, header: Header, source: Path) -> None:
    """Read a cache again and compare digests, then its source; add the findings to its report."""
    problems = cache_problems(path)
    report.problems += problems
    content = "content DIFFERS from its digests" if problems else "content is what was written"
    unchanged, state = _compare_source(report, header, source)
    report.facts["verified"] = {"content": not problems, "source": unchanged}
    report.add("verified", f"{content}\n{state}")


def _compare_source(report: Report, header: Header, place: Path) -> tuple[bool | None, str]:
    """Hash the source video again; None without a video, which is no problem, or if unreadable."""
    if not place.exists():
        return None, "source video is no longer there: cannot be compared"
    try:
        digest = file_digest(place)
    except VideoError as error:
        report.problems.append(f"source video cannot be read ({error})")
        return None, "source video CANNOT BE READ"
    if digest == header.source_digest:
        return True, "source video is unchanged"
    report.problems.append(
        f"stale: {place} has changed since (sha256 {short(header.source_digest)} then, "
        f"{short(digest)} now)"
    )
    return False, "source video has CHANGED since"


def compare_upstream(report: Report, header: Header, upstream: Upstream) -> None:
    """Look for the flow cache that features were made from; add the findings to their report."""
    unchanged: bool | None = None  # Not known.
    state = "not compared (name its folder by --flow)"
    if not header.upstream:
        report.facts["upstream_unchanged"] = None
        # Version 0.1 could compute flow without keeping it.
        origin = "imported arrays" if header.imported else "flow that was not kept"
        report.add("made from", origin)
        return
    if same := upstream.by_content.get(header.upstream):
        unchanged, state = True, f"unchanged in {same}"
    elif other := upstream.by_source.get(header.source_digest):
        unchanged, state = False, f"CHANGED since in {other}"
        report.problems.append(f"stale: made from other flow than {other} holds now")
    elif upstream.by_content:
        state = "none of the flow caches given is of this video"
    report.facts["upstream_unchanged"] = unchanged
    content = short(header.upstream)
    report.add("made from", f"flow cache with content {content}: {printable(state)}")
