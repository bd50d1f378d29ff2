"""A contact sheet: frames of the best and the worst video beside where the ranker looked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from data.judgements.boxes import Box
    from pipeline.runs.folder import Run

_COLUMNS = 4
_VIDEOS = 4


def draw_attention(run_folder: Path, features: Path, videos: Path, boxes: Path, to: Path) -> int:
    """Draw attention on the best and the worst of the videos that the run never trained on.

    Parameters
    ----------
    run_folder, features, videos : Path
        Output of train-ranker and extract-features, and the videos.
    boxes : Path
        CSV ``video,frame,x0,y0,x1,y1``; the boxes are outlined in white.
    to : Path
        The picture, PNG: one row a video, best first, with attention over each second frame.

    Returns
    -------
    int
        Number of videos drawn.

    Raises
    ------
    InputError
        A run or a cache that cannot be used.
    """
    from data.judgements.boxes import read_boxes
    from model.ranker.scoring import score
    from pipeline.runs.folder import load_run
    from pipeline.runs.maps import find_feature_set, read_maps

    run = load_run(run_folder)
    seen = set(run.training_videos)
    scored = {key: float(each) for key, each in zip(run.keys, run.scores, strict=True)}
    unseen = sorted((key for key in run.keys if key not in seen), key=lambda key: -scored[key])
    half = _VIDEOS // 2
    shown = unseen if len(unseen) <= _VIDEOS else [*unseen[:half], *unseen[-half:]]
    if not shown:
        return 0
    found = find_feature_set(features, shown, run.ranker.segments)
    maps = read_maps(found)
    scores = score(run.model, maps, run.ranker.segments, run.train.sampling)
    if scores.attention is None:
        return 0
    known = read_boxes(boxes, shown)
    rows = []
    for number, key in enumerate(shown):
        frames = found.frame_index[number][scores.rows[number] - int(maps.start[number])]
        label = f"{key}  score {scores.score[number]:+.2f}"
        rows.append(
            _row(videos / key, frames, scores.attention[number], known.get(key, {}), run, label)
        )
    _save(np.vstack(rows), to)
    return len(shown)


def _row(
    video: Path,
    frames: np.ndarray,
    attention: np.ndarray,
    boxes: Mapping[int, Box],
    run: Run,
    label: str,
) -> np.ndarray:
    """Return one video's frames, plain above and with attention below."""
    from data.video.reading import read_frames
    from model.features.geometry import MapGeometry
    from pipeline.pictures.attention import OverlayOptions, blend, colour_limit

    options = OverlayOptions()
    seen_as = run.parameters
    geometry = MapGeometry.of(int(seen_as["input_size"]), str(seen_as["trunk_stage"]))
    limit = colour_limit(attention, options)
    steps = np.linspace(0, len(frames) - 1, min(_COLUMNS, len(frames))).round().astype(int)
    pictures = dict(read_frames(video, np.unique(frames[steps])))
    columns = []
    for step in steps:
        frame = int(frames[step])
        plain = pictures[frame].copy()
        looked = blend(plain, attention[step], geometry, options, limit)
        for picture in (plain, looked):
            _outline(picture, boxes.get(frame))
        columns.append(np.vstack([plain, looked]))
    return np.vstack([_caption(label, len(columns) * columns[0].shape[1]), np.hstack(columns)])


def _outline(picture: np.ndarray, box: Box | None) -> None:
    import cv2

    if box is None:
        return
    height, width = picture.shape[:2]
    x0, y0, x1, y1 = (round(e * s) for e, s in zip(box, (width, height) * 2, strict=True))
    cv2.rectangle(picture, (x0, y0), (x1 - 1, y1 - 1), (255, 255, 255), 1)


def _caption(text: str, width: int) -> np.ndarray:
    import cv2

    strip = np.full((20, width, 3), 32, np.uint8)
    cv2.putText(
        strip, text, (6, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (240, 240, 240), 1, cv2.LINE_AA
    )
    return strip


def _save(picture: np.ndarray, to: Path) -> None:
    import cv2

    from data.errors import InputError
    from pipeline.runner.files import write_bytes

    done, encoded = cv2.imencode(".png", picture)
    if not done:
        raise InputError(f"{to}: OpenCV cannot encode a PNG")
    write_bytes(to, encoded.tobytes())
