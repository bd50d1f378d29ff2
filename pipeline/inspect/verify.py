"""Whether a cache still is what was written, from the video and the flow that are there now."""

from __future__ import annotations

import glob
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from data.cache.folder import cache_problems, content_digest, read_header
from data.cache.header import Header
from data.errors import CacheError, VideoError
from data.video.reading import file_digest
from pipeline.inspect.report import Report, short

#: What reading an array or attribute raises where bytes of the file were changed.
DAMAGE = (AttributeError, KeyError, OSError, RuntimeError, TypeError, ValueError)


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
        """Read the digests of flow caches; files that are none, or are damaged, are left out."""
        found = cls()
        for path in paths:
            try:
                header = read_header(path)
                if header.kind == "flow":
                    found.by_content[content_digest(path)] = str(path)
                    found.by_source[header.source_digest] = str(path)
            except (CacheError, *DAMAGE):
                continue
        return found


def locate_source(header: Header, videos: Path | None) -> Path:
    """Return where a cache's source video is now, or where it was if it is found nowhere.

    Parameters
    ----------
    header : Header
    videos : Path, optional
        The video, or a folder to look for it by name and size, where it is no longer at its place.
    """
    place = Path(header.source)
    if videos is None or place.exists():
        return place
    if videos.is_file():
        return videos
    named = sorted(videos.rglob(glob.escape(place.name)))
    sized = [path for path in named if path.is_dir() or path.stat().st_size == header.source_size]
    if len(sized) > 1:  # only then is it worth reading them
        sized = [path for path in sized if file_digest(path) == header.source_digest] or sized
    return (sized or named or [place])[0]


def verify_cache(report: Report, path: Path, header: Header, source: Path) -> None:
    """Read a cache again and compare digests, then its source; add what was found to its report."""
    broken = cache_problems(path)
    report.problems += broken
    content = "content DIFFERS from its digests" if broken else "content is what was written"
    unchanged, told = _source_now(report, header, source)
    report.facts["verified"] = {"content": not broken, "source": unchanged}
    report.add("verified", f"{content}\n{told}")


def _source_now(report: Report, header: Header, place: Path) -> tuple[bool | None, str]:
    """Hash the source video again; None where it cannot be told."""
    if not place.exists():
        return None, "source video is no longer there: cannot be compared"
    try:
        digest = file_digest(place)
    except VideoError as error:
        return None, f"source video cannot be read ({error})"
    if digest == header.source_digest:
        return True, "source video is unchanged"
    report.problems.append(
        f"stale: {place} has changed since (sha256 {short(header.source_digest)} then, "
        f"{short(digest)} now)"
    )
    return False, "source video has CHANGED since"


def compare_upstream(report: Report, header: Header, upstream: Upstream) -> None:
    """Look for the flow cache that features were made from, and add what was found."""
    same = upstream.by_content.get(header.upstream)
    other = upstream.by_source.get(header.source_digest)
    unchanged: bool | None = None  # Where it cannot be told.
    if not header.upstream:
        report.add("made from", "flow computed on the way, which was not kept")
        report.facts["upstream_unchanged"] = None
        return
    if same is not None:
        unchanged, told = True, f"unchanged in {same}"
    elif other is not None:
        unchanged, told = False, f"CHANGED since in {other}"
        report.problems.append(f"stale: made from other flow than {other} holds now")
    elif upstream.by_content:
        told = "none of the flow caches given is of this video"
    else:
        told = "not compared (name its folder by --flow)"
    report.facts["upstream_unchanged"] = unchanged
    report.add("made from", f"flow cache with content {short(header.upstream)}: {told}")
