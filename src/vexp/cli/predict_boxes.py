"""``vexp predict`` with a detection model: predictions.json, boxes.csv, an annotated video, contact_sheet.png."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.table import Column, Table

from vexp.cli.trained_model import plain_console, top_classes, write_csv, write_result
from vexp.core.errors import ConfigError
from vexp.data.sources.unlabeled import VideoWindow

if TYPE_CHECKING:
    from vexp.inference.detections import VideoDetections
    from vexp.inference.predictor import Predictor

_MAX_ROWS = 20  # of the table in the terminal
_MAX_IMAGES = 12  # of the contact sheet
_LEAST_SCORE = 0.3  # of the classes that are drawn beside the best one


def predict_boxes(
    predictor: Predictor, videos: Sequence[VideoWindow], folder: Path, *, split: str, boxes: Path | None, every: float,
    topk: int,
) -> bool:  # fmt: skip
    """Detect in videos, write the files and print a summary; return whether any video could be read.

    Args:
        predictor: The trained model.
        videos: Whole videos.
        folder: Folder of the files.
        split: Split whose pipeline is used.
        boxes: File with the boxes of persons; None to find them with ``model.detector``.
        every: Seconds between the key frames in which the detector looks for persons.
        topk: Number of classes of a box in predictions.json.
    """
    from vexp.evaluation.box_report import draw_boxes
    from vexp.inference.detections import (
        PersonFinder,
        detect_videos,
        key_frame_images,
        video_opener,
        write_annotated,
    )  # fmt: skip

    finder = PersonFinder(predictor, boxes, every)
    found = detect_videos(predictor, videos, finder, split=split)
    about = {
        "checkpoint": str(predictor.path), "step": predictor.step, "epoch": predictor.epoch, "pipeline": split,
        "boxes": str(boxes) if boxes is not None else getattr(predictor.config.model, "detector", None),
        "videos": [_summary(video, predictor.classes, topk) for video in found],
    }  # fmt: skip
    write_result(folder / "predictions.json", json.dumps(about, indent=2, ensure_ascii=False) + "\n")
    write_csv(folder / "boxes.csv", _rows(found, predictor, finder.start))
    opened, files = video_opener(predictor), ["predictions.json", "boxes.csv"]
    for video in found:
        if video.seconds:
            name = f"{Path(video.name).with_suffix('')}_boxes.mp4".replace("/", "_")
            write_annotated(folder / name, video, predictor.classes, opened, least=_LEAST_SCORE)
            files.append(name)
    images = key_frame_images(found, predictor.classes, opened, most=_MAX_IMAGES, least=_LEAST_SCORE)
    if images:
        draw_boxes(folder / "contact_sheet.png", images, title=f"{predictor.path.parent.parent.name}, {split}")
        files.append("contact_sheet.png")
    _print(found, predictor.classes, folder, files)
    return any(video.seconds or not video.errors for video in found)


def _summary(video: VideoDetections, classes: Sequence[str], topk: int) -> dict[str, Any]:
    """Return the key frames of a video, each with its boxes and their best classes."""
    frames = [
        {
            "second": round(second, 3),
            "boxes": [
                {
                    "box": [round(float(value), 5) for value in box[:4]],
                    "person": float(box[4]),
                    "top": top_classes(row, classes, topk),
                }
                for box, row in zip(boxes, scores, strict=True)
            ],
        }
        for second, boxes, scores in zip(video.seconds, video.boxes, video.scores, strict=True)
    ]
    return {"path": video.name, "key_frames": frames} | ({"errors": video.errors} if video.errors else {})


def _rows(found: Sequence[VideoDetections], predictor: Predictor, start: float) -> list[list[Any]]:
    """Return the detections in the format of AVA's results."""
    config, rows = predictor.config, []
    numbers = config.data.numbers(len(predictor.classes))  # type: ignore[attr-defined]
    threshold = getattr(config.model, "action_thr", 0.0)
    for video in found:
        for second, boxes, scores in zip(video.seconds, video.boxes, video.scores, strict=True):
            time = second + start
            place = [Path(video.name).stem, f"{time:04.0f}" if time.is_integer() else f"{time:g}"]
            for box, row in zip(boxes, scores, strict=True):
                coordinates = [repr(float(value)) for value in box[:4]]
                for label in np.flatnonzero(row > threshold).tolist():
                    rows.append([*place, *coordinates, numbers[label], f"{row[label]:.9g}"])
    return rows


def _print(found: Sequence[VideoDetections], classes: Sequence[str], folder: Path, files: Sequence[str]) -> None:
    console = plain_console()
    table = Table(Column("video", overflow="fold"), "second", "box", "class", "score")
    rows = [
        (video.name, f"{second:g}", " ".join(f"{value:.2f}" for value in box[:4]), classes[best], f"{row[best]:.4f}")
        for video in found
        for second, boxes, scores in zip(video.seconds, video.boxes, video.scores, strict=True)
        for box, row in zip(boxes, scores, strict=True)
        for best in [int(np.argmax(row))]
    ]
    for row in rows[:_MAX_ROWS]:
        table.add_row(*row)
    console.print(table)
    if len(rows) > _MAX_ROWS:
        console.print(f"... and {len(rows) - _MAX_ROWS} more boxes in boxes.csv")
    for video in found:
        for error in video.errors:
            console.print(f"not read: {error}")
        if not any(map(len, video.boxes)) and not video.errors:
            console.print(f"no person in {video.name}")
    console.print(f"{', '.join(files)} in {folder}")


def check_whole_videos(window: float | None) -> None:
    """Check that videos are not split into windows, which detection does not need."""
    if window is not None:
        rule = "is for classification; detection takes a clip around each key frame, set every=SECONDS"
        raise ConfigError(rule, key="window", value=window)
