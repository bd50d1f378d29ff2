"""The header of a cache, its fingerprint, and how two headers differ."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import KW_ONLY, dataclass, field, fields
from pathlib import Path

#: Version of the file layout; a change of layout raises it, and older files are refused by name.
SCHEMA = 1
KINDS = ("flow", "features")
#: Parameter of features that other programs computed: how import-features read them.
IMPORTED = "imported"


@dataclass(frozen=True)
class Header:
    """Everything that a cache file records next to its arrays.

    Attributes
    ----------
    kind : {"flow", "features"}
        What the file holds.
    source : str
        Absolute path of the video, or frame folder, at the time of writing.
    source_size : int
        Its size in bytes.
    source_digest : str
        SHA-256 of its content, in hex.
    decoded_frames, claimed_frames : int
        Frames that were really decoded, and that the file's header promised (−1 unknown).
    rotation : int
        Degrees that were applied while reading.
    parameters : dict
        Every option that changes the arrays; JSON values, possibly nested.
    upstream : str
        Content digest of the flow cache behind the features; "" for flow, and for features of
        earlier versions that computed flow on the way.
    weights : dict of str to str
        Digest of each set of weights ("rgb", "flow", "fusion"); {} for flow.
    versions : dict of str to str
        Libraries and engine that wrote the file; recorded, not part of the fingerprint.
    warnings : tuple of str
        What was odd about the video.
    """

    kind: str
    _: KW_ONLY
    source: str = ""
    source_size: int = 0
    source_digest: str = ""
    decoded_frames: int = -1
    claimed_frames: int = -1
    rotation: int = 0
    parameters: dict[str, object] = field(default_factory=dict)
    upstream: str = ""
    weights: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse an unknown kind."""
        if self.kind not in KINDS:
            raise ValueError(f"a cache is one of {', '.join(KINDS)}, got {self.kind!r}")

    @property
    def imported(self) -> bool:
        """Whether another program computed the arrays; `source` is then their file, no video."""
        return IMPORTED in self.parameters

    @property
    def fingerprint(self) -> str:
        """SHA-256 of everything that determines the arrays, so without paths and versions."""
        identity = {
            "schema": SCHEMA,
            "kind": self.kind,
            "source_digest": self.source_digest,
            "parameters": self.parameters,
            "upstream": self.upstream,
            "weights": self.weights,
        }
        return hashlib.sha256(canonical_json(identity).encode()).hexdigest()


_JSON_FIELDS = ("parameters", "weights", "versions", "warnings")


def recorded_path(path: Path) -> str:
    """Return a video's absolute path as a header holds it; what no encoding has is escaped."""
    return os.fsencode(path.absolute()).decode("utf-8", "backslashreplace")


def to_attributes(header: Header) -> dict[str, str | int]:
    """Flatten a header into HDF5 attributes: numbers, strings, and JSON for the rest."""
    attributes: dict[str, str | int] = {"schema": SCHEMA}
    for item in fields(header):
        value = getattr(header, item.name)
        attributes[item.name] = canonical_json(value) if item.name in _JSON_FIELDS else value
    attributes["fingerprint"] = header.fingerprint
    return attributes


def from_attributes(attributes: Mapping[str, object]) -> Header:
    """Read a header back; KeyError or ValueError when an attribute is missing or malformed."""
    values: dict[str, object] = {}
    for item in fields(Header):
        raw = attributes[item.name]
        if item.name in _JSON_FIELDS:
            raw = json.loads(str(raw))
            _check_json(item.name, raw)
            values[item.name] = tuple(raw) if item.name == "warnings" else raw
        else:
            values[item.name] = str(raw) if item.type == "str" else int(raw)  # type: ignore[call-overload]
    return Header(**values)  # type: ignore[arg-type]


def _check_json(name: str, value: object) -> None:
    """Refuse a value of another kind than `Header` says; ValueError names it."""
    if name == "warnings":
        good = isinstance(value, list) and all(isinstance(item, str) for item in value)
    else:
        good = isinstance(value, dict)
        if good and name != "parameters":
            good = all(isinstance(item, str) for item in value.values())  # type: ignore[attr-defined]
    if not good:
        raise ValueError(f"{name} is {str(value)[:40]!r}")


def canonical_json(value: object) -> str:
    """JSON with sorted keys, no spaces, and 20.0 written as 20: equal options, equal text."""
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _plain(value: object) -> object:
    """Tuples as lists and whole floats as ints, so that 20 and 20.0 are one option."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def header_differences(header: Header, expected: Header) -> list[str]:
    """List how a cache's header differs from the one expected, one string a difference.

    Each string completes the sentence "the cache …": "used bound 20, you asked 15". An empty
    list means that the arrays are the expected ones. Fields outside the fingerprint are ignored.
    """
    if header.fingerprint == expected.fingerprint:
        return []
    messages = []
    if header.kind != expected.kind:
        messages.append(f"holds {header.kind}, you asked {expected.kind}")
    if header.source_digest != expected.source_digest:
        messages.append(
            "was made from a video of the same name but other content"
            f" (sha256 {_short(header.source_digest)}, now {_short(expected.source_digest)})"
        )
    messages += _mapping_differences(header.parameters, expected.parameters)
    if header.upstream != expected.upstream:
        messages.append("was made from another flow cache than the one given")
    for name in sorted({*header.weights, *expected.weights}):
        before, now = header.weights.get(name, ""), expected.weights.get(name, "")
        if before != now:
            messages.append(f"used {name} weights {_short(before)}, you asked {_short(now)}")
    return messages


def _mapping_differences(old: Mapping[str, object], new: Mapping[str, object]) -> list[str]:
    """Compare two nested option mappings leaf by leaf."""
    before, now = dict(_leaves(old)), dict(_leaves(new))
    messages = []
    for path in [*now, *(path for path in before if path not in now)]:
        was, asked = before.get(path, "none"), now.get(path, "none")
        if was != asked:
            name = path.rpartition(".")[2].replace("_", " ")
            messages.append(f"used {name} {was}, you asked {asked}")
    return messages


def _leaves(values: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield the dotted path and canonical text of every leaf of a nested mapping."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            text = value if isinstance(value, str) else canonical_json(value)
            yield f"{prefix}{key}", "none" if text == "null" else text


def _short(digest: str) -> str:
    """First eight characters of a digest, as people compare them."""
    return digest[:8] or "none"
