"""What is in a run folder, an evaluation folder, or a file of weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from data.errors import InputError
from model.ranker.options import recorded_ranker
from pipeline.inspect.report import Report, failure, short
from pipeline.shell.words import counted, format_bytes, options_text

RESULTS = "results.json"
#: A file of weights with this metadata key is a ranker's checkpoint.
_RANKER = "dexterank"


def is_run(folder: Path) -> bool:
    """Whether train-ranker has written to a folder."""
    from pipeline.runs.folder import CHECKPOINT, STATE

    return any((folder / name).is_file() for name in (CHECKPOINT, STATE))


def is_evaluation(folder: Path) -> bool:
    """Whether evaluate has written to a folder."""
    runs = folder / "runs"
    return (folder / RESULTS).is_file() or (runs.is_dir() and any(runs.glob("*-seed*.json")))


def inspect_run(path: Path, shown: str) -> Report:
    """Report on a folder that train-ranker wrote, or on a checkpoint given by its own path."""
    from pipeline.runs.folder import CHECKPOINT, load_run

    folder = path if path.is_dir() else path.parent
    if path.is_dir() and not (path / CHECKPOINT).is_file():
        report = Report(shown, "run folder")
        report.problems.append(
            "training has not finished (state.pt, but no checkpoint); continue with train-ranker "
            "--resume"
        )
        return report
    try:
        run = load_run(path)
    except InputError as error:
        return failure(shown, path, "run", error)
    report = Report(shown, "run folder" if path.is_dir() else "checkpoint of a ranker")
    report.facts = {
        "variant": run.ranker.variant,
        "ranker": recorded_ranker(run.ranker),
        "train": asdict(run.train),
        "map_shape": list(run.shape),
        "weights": run.weights,
        "parameters": run.parameters,
        "snippet_stride": run.snippet_stride,
        "protocol": run.protocol,
        "seed": run.seed,
        "best_epoch": run.best_epoch,
        "training_videos": list(run.training_videos),
        "scored_videos": len(run.keys),
        "scores": dict(zip(run.keys, run.scores, strict=True)),
    }
    report.brief = f"variant {run.ranker.variant}, epoch {run.best_epoch}"
    numbers = sum(value.numel() for value in run.model.state_dict().values())
    report.add("variant", f"{run.ranker.variant}; {numbers:,} weights")
    report.add("takes", f"maps of {'×'.join(map(str, run.shape))}")
    report.add("ranker", options_text(_without(report.facts["ranker"], "variant")))
    report.add("training", f"{options_text(report.facts['train'])}\nseed {run.seed}")
    report.add("epoch", f"{run.best_epoch}; {run.protocol}")
    _add_accuracy(report, folder / "metrics.json")
    _add_videos(report)
    if run.imported:
        report.add("features", options_text(run.parameters))
    else:
        report.add("stage one", ", ".join(f"{k} {short(v)}" for k, v in run.weights.items()))
        report.add("", options_text(run.parameters))
    report.facts["judged_parts"] = {key: list(part) for key, part in run.parts.items()}
    for note in (run.part_note(), run.cue_note()):
        if note:
            report.add("note", note)
    if path.is_dir():
        _add_files(report, folder, imported=run.imported)
    return report


def _add_accuracy(report: Report, path: Path) -> None:
    if not path.is_file():
        return
    try:
        metrics = json.loads(path.read_text(encoding="utf-8"))
        accuracy: dict[str, float] = metrics["accuracy"]
        pairs: dict[str, int] = metrics.get("pairs", {})
        shares = [
            f"{name} {100 * value:.1f} %"
            + (f" of {counted(pairs[name], 'pair')}" if name in pairs else "")
            for name, value in accuracy.items()
            if value is not None
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        report.problems.append(f"{path.name} is damaged ({type(error).__name__}: {error})")
        return
    report.facts |= {"accuracy": accuracy, "pairs": pairs}
    report.add("accuracy", "; ".join(shares) or "none recorded")
    if "test" in accuracy:
        report.brief += f", test {100 * accuracy['test']:.1f} %"
    elif shares:
        report.brief += f", {shares[-1]}"


def _add_videos(report: Report) -> None:
    trained, scores = report.facts["training_videos"], report.facts["scores"]
    text = f"{len(trained)} in training, {len(scores)} scored"
    if scores:
        best, worst = max(scores, key=scores.__getitem__), min(scores, key=scores.__getitem__)
        text += f"; best {best} ({scores[best]:+.3f}), worst {worst} ({scores[worst]:+.3f})"
    report.add("videos", text)


def _add_files(report: Report, folder: Path, *, imported: bool) -> None:
    from pipeline.runs.folder import FILES
    from pipeline.stage_one.file import FILE_NAME

    present = [name for name in (*FILES, FILE_NAME) if (folder / name).is_file()]
    size = sum((folder / name).stat().st_size for name in present)
    report.facts |= {"files": present, "bytes": size}
    report.add("files", f"{', '.join(present)}; {format_bytes(size)}")
    missing = [name for name in ("metrics.json", "scores.csv") if name not in present]
    if missing:
        report.warnings.append(f"{' and '.join(missing)} missing: training was interrupted late")
    if FILE_NAME not in present and not imported:
        report.warnings.append(
            f"no {FILE_NAME}: scoring new videos needs the training features' folder"
        )


def inspect_evaluation(path: Path, shown: str) -> Report:
    """Report on a folder that evaluate wrote: its table, and the runs that are done."""
    runs = len(list((path / "runs").glob("*.json")))
    report = Report(shown, "evaluation folder", facts={"runs": runs})
    if not (path / RESULTS).is_file():
        report.brief = f"unfinished, {counted(runs, 'run')} done"
        report.warnings.append(
            f"{counted(runs, 'run')} done but no table yet; the same evaluate command continues"
        )
        return report
    try:
        results = json.loads((path / RESULTS).read_text(encoding="utf-8"))
        rows = [(row["method"], row["accuracy"]) for row in results["rows"]]
        lines = [f"{name}: {_accuracy(estimate)}" for name, estimate in rows]
        report.facts |= {
            "title": results["title"],
            "protocol": results["protocol"],
            "rows": results["rows"],
        }
        report.brief = f"{results['title']}"
        report.add("of", str(results["title"]))
        report.add("protocol", str(results["protocol"]))
        report.add("accuracy", "\n".join(lines))
        report.add("runs", str(runs))
    except (OSError, ValueError, KeyError, TypeError) as error:
        report.problems.append(f"{RESULTS} is damaged ({type(error).__name__}: {error})")
    return report


def _accuracy(estimate: Mapping[str, Any]) -> str:
    mean, error = estimate["mean"], estimate["error"]
    if mean is None:
        return "none"
    return f"{100 * mean:.1f} %" + ("" if error is None else f" ± {100 * error:.1f}")


def inspect_weights(path: Path, shown: str) -> Report:
    """Report what is in a .safetensors file, of this program or of another."""
    from pipeline.runner.files import read_safetensors

    try:
        tensors, metadata = read_safetensors(path)
    except InputError as error:
        return failure(shown, path, "file of weights", error)
    if _RANKER in metadata:
        return inspect_run(path, shown)
    form = metadata.get("format")
    try:
        _check_header(path, form, metadata)
    except InputError as error:
        return failure(shown, path, "file of weights", error)
    report = Report(shown, f"weights ({form})" if isinstance(form, str) else "weights")
    numbers = sum(tensor.numel() for tensor in tensors.values())
    size = path.stat().st_size
    report.brief = f"{counted(len(tensors), 'tensor')}, {format_bytes(size)}"
    report.facts = {
        "tensors": {name: list(tensor.shape) for name, tensor in tensors.items()},
        "metadata": metadata,
        "bytes": size,
    }
    report.add("holds", f"{counted(len(tensors), 'tensor')}, {numbers:,} numbers")
    for name, value in metadata.items():
        if isinstance(value, list):
            report.add(name.replace("_", " "), str(len(value)))
        elif isinstance(value, dict):
            digests = {k: short(v) if name == "weights" else v for k, v in value.items()}
            report.add(name.replace("_", " "), options_text(digests))
        elif name != "format":
            report.add(name.replace("_", " "), str(value))
    report.add("file", format_bytes(size))
    return report


def _check_header(path: Path, form: object, metadata: Mapping[str, Any]) -> None:
    """Refuse a damaged file of this program's own; InputError says what is wrong."""
    from pipeline.stage_one.header import (
        FUSION_FORMAT,
        STAGE_ONE_FORMAT,
        check_fusion_checkpoint,
        check_stage_one,
    )

    if form == STAGE_ONE_FORMAT:
        check_stage_one(path, metadata)
    elif form == FUSION_FORMAT:
        check_fusion_checkpoint(path, metadata)


def _without(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key != name}
