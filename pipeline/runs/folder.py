"""The run folder: what train-ranker leaves behind, and how later commands read it."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.cache.header import IMPORTED
from data.errors import InputError
from model.ranker.options import RankerOptions, TrainOptions, recorded_ranker
from pipeline.runner.files import read_safetensors, write_safetensors
from pipeline.runner.schema import DAMAGE, damage, read_options
from pipeline.runs.header import check_header

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

CHECKPOINT = "checkpoint.safetensors"
STATE = "state.pt"
RECORD = "record.json"
FILES = (
    CHECKPOINT,
    STATE,
    "metrics.csv",
    "metrics.json",
    "learning_curves.png",
    "scores.csv",
    RECORD,
)
FORMAT = 1
# One entry: the order of several in a safetensors header differs from write to write.
_METADATA_KEY = "dexterank"


@dataclass(frozen=True, kw_only=True)
class Run:
    """A trained ranker with all that is needed to use it; the checkpoint holds each field.

    Attributes
    ----------
    model : nn.Module
        In evaluation mode; on the CPU where it was loaded.
    ranker, train : options
        What it is and how it was trained.
    shape : tuple (C, H, W)
        Maps that it takes.
    weights : dict of str to str
        Digests of stage one's weights that made its training features.
    parameters : dict
        Options of stage one that made them.
    snippet_stride : int
        Least distance of snippets, in frames.
    parts : dict of str to tuple of int
        First frame, and the one after the last, of the videos of which only the judged part was
        used; their scores are those of that part, not of the whole file.
    keys : tuple of str
        Videos scored at the end of training, those of scores.csv.
    feature_digests : tuple of str
        Content digests of their feature caches.
    scores : tuple of float
        Their scores.
    training_videos : tuple of str
        Videos that the training pairs name, those for validation included.
    protocol : str
        How the epoch was chosen, in words.
    best_epoch, seed : int
    accuracy : dict of str to float
        Shares of pairs ordered rightly, as in metrics.json.
    """

    model: nn.Module
    ranker: RankerOptions
    train: TrainOptions
    shape: tuple[int, int, int]
    weights: dict[str, str]
    parameters: dict[str, Any]
    snippet_stride: int
    parts: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    keys: tuple[str, ...]
    feature_digests: tuple[str, ...] = ()
    scores: tuple[float, ...]
    training_videos: tuple[str, ...]
    protocol: str
    best_epoch: int
    seed: int
    accuracy: Mapping[str, float] = field(default_factory=dict)

    @property
    def imported(self) -> bool:
        """Whether its features came from another program, through import-features."""
        return IMPORTED in self.parameters

    def part_note(self) -> str:
        """Return one line on why scores of other videos need care, or ""."""
        if not self.parts:
            return ""
        return (
            f"the ranker was trained on the judged part alone of {len(self.parts)} of "
            f"{len(self.keys)} videos: cut a video to such a part first, or its score is that of "
            "all that the file shows"
        )

    def cue_note(self) -> str:
        """Return one line on what each cue of `blend` counts; "" for other variants."""
        from model.ranker.variants.blend import Blend

        if not isinstance(self.model, Blend):
            return ""
        return self.model.in_words()

    def check_features(
        self, where: str | Path, shape: Sequence[int], weights: Mapping[str, str]
    ) -> None:
        """Refuse features that this ranker was not trained on.

        Raises
        ------
        InputError
            Another shape, or other weights of stage one.
        """
        if tuple(shape) != self.shape:
            raise InputError(
                f"{where}: holds maps of {_cross(shape)}, the ranker was trained on "
                f"{_cross(self.shape)}; extract features as for training"
            )
        for name, digest in self.weights.items():
            if weights.get(name) != digest:
                raise InputError(
                    f"{where}: made with other {name} weights ({weights.get(name, 'none')[:8]}) "
                    f"than the ranker's training features ({digest[:8]}); extract features as for "
                    "training"
                )


def write_checkpoint(folder: Path, run: Run) -> None:
    """Write a run's weights, and its other fields as their metadata, whole or not at all."""
    values = {each.name: getattr(run, each.name) for each in fields(run) if each.name != "model"}
    options = {"ranker": recorded_ranker(run.ranker), "train": asdict(run.train)}
    metadata = {"format": FORMAT, **values, **options}
    write_safetensors(folder / CHECKPOINT, run.model.state_dict(), {_METADATA_KEY: metadata})


def load_run(folder: str | Path) -> Run:
    """Read a run folder, or a checkpoint by its own path.

    Raises
    ------
    InputError
        There is no checkpoint, it is damaged, of another format, or its weights do not have the
        shapes that its own options ask for.
    """
    path = Path(folder)
    path = path / CHECKPOINT if path.is_dir() else path
    if not path.is_file():
        raise InputError(f"{path}: no such checkpoint; train-ranker writes one")
    tensors, metadata = read_safetensors(path)
    about = metadata.get(_METADATA_KEY)
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise InputError(f"{path}: not a ranker's checkpoint of this version (format {FORMAT})")
    try:
        return _run(tensors, about)
    except DAMAGE as error:
        raise InputError(f"{path}: {damage(error)}") from error
    except RuntimeError as error:
        reason = textwrap.shorten(str(error), 300, placeholder=" …")
        raise InputError(
            f"{path}: its weights are of another shape than its options: {reason}"
        ) from error


def _run(tensors: Mapping[str, Any], about: Mapping[str, Any]) -> Run:
    import torch

    from model.ranker.build import build

    check_header(about)
    ranker = read_options(RankerOptions, about["ranker"])
    with torch.device("meta"):  # Only shapes, however large the header says that they are.
        model = build(ranker, *about["shape"])
    if odd := [name for name, value in tensors.items() if value.dtype != torch.float32]:
        raise ValueError(f"{odd[0]} holds {tensors[odd[0]].dtype}, expected torch.float32")
    # Copies: where a tensor lies in memory decides the order of sums, and so the last bits.
    model.load_state_dict({name: each.clone() for name, each in tensors.items()}, assign=True)
    return Run(
        model=model.eval(),
        ranker=ranker,
        train=read_options(TrainOptions, about["train"]),
        shape=tuple(about["shape"]),
        weights=about["weights"],
        parameters=about["parameters"],
        snippet_stride=about["snippet_stride"],
        parts={key: (first, end) for key, (first, end) in about.get("parts", {}).items()},
        keys=tuple(about["keys"]),
        feature_digests=tuple(about.get("feature_digests", ())),
        scores=tuple(about["scores"]),
        training_videos=tuple(about["training_videos"]),
        protocol=about["protocol"],
        best_epoch=about["best_epoch"],
        seed=about["seed"],
        accuracy=about.get("accuracy", {}),
    )


def ranking(
    keys: Sequence[str],
    scores: np.ndarray,
    parts: Mapping[str, tuple[int, int]] | None = None,
) -> list[dict[str, Any]]:
    """Return videos from best to worst.

    Rank 1 is the best and equal scores share a rank. The percentile is the share of the videos,
    in per cent, that score lower, those that score the same counted half. Where only `parts` of
    some videos were scored, a column says which frames.
    """
    rows = []
    for key, score in zip(keys, scores.tolist(), strict=True):
        below, equal = int((scores < score).sum()), int((scores == score).sum())
        rows.append(
            {
                "video": key,
                "score": repr(score),
                "rank": int((scores > score).sum()) + 1,
                "percentile": f"{100 * (below + equal / 2) / len(scores):.2f}",
            }
        )
        if parts:
            part = parts.get(key)
            rows[-1]["frames"] = f"{part[0]} to {part[1] - 1}" if part else "all"
    return sorted(rows, key=lambda row: (row["rank"], row["video"]))


def claim(folder: Path, overwrite: bool, resume: bool) -> None:
    """Check that a new run may be written to a folder.

    Raises
    ------
    InputError
        It already holds a run, and neither `overwrite` nor `resume` is set; or the run to
        `resume` has lost its state.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: a file; --output must be a folder")
    existing = [name for name in FILES if (folder / name).exists()]
    if resume and existing and STATE not in existing:
        raise InputError(
            f"{folder}: holds a run without its {STATE}, from which it could go on; "
            "pass --overwrite to replace it, or another --output"
        )
    if existing and not (overwrite or resume):
        raise InputError(
            f"{folder}: already holds a run ({existing[0]}); pass --resume to go on with it, "
            "--overwrite to replace it, or another --output"
        )


def claim_page(page: Path, overwrite: bool) -> None:
    """Check that a page about a run may be written.

    Raises
    ------
    InputError
        It already exists and `overwrite` is not set, or it is a folder.
    """
    if page.is_dir():
        raise InputError(f"{page}: a folder; expected the page's file, e.g. report.html")
    if page.exists() and not overwrite:
        raise InputError(f"{page}: already exists; name another file, or pass --overwrite")


def is_page(path: Path) -> bool:
    """Whether a file is a page of this program, by the generator named near its start."""
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        return b'name="generator" content="dexterank"' in file.read(4096)


def _cross(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape))
