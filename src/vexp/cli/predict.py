"""Classify videos without labels with a trained model, through the transforms and views of evaluation.

With ``window=10 stride=5`` a long video is split into windows, each classified as a video of its own.
predictions.json, predictions.csv and contact_sheet.png are written into the folder of ``out=``.

A detection model classifies persons in key frames. Their boxes are read from ``boxes=FILE`` (.csv, .json, .npz, .pkl),
or found by ``model.detector`` every ``every`` seconds. predictions.json, boxes.csv, an annotated copy of each video and
contact_sheet.png are written.

A localizer (data=activitynet, thumos, motion_segments) finds segments in the features of long videos: .npy, .csv, or
the output folder of ``vexp features``. segments.csv, proposals.json (ActivityNet's results) and timeline.png are
written.

The input may also be in an archive or on a server: clips.zip, clips.zip/train/a.mp4, https://HOST/clips.

Usage: vexp predict run=RUN input=FILE|FOLDER [topk=5] [window=SECONDS] [stride=SECONDS] [overrides]
       vexp predict run=RUN input=FILE|FOLDER [topk=5] [boxes=FILE] [every=SECONDS] [overrides]
       vexp predict run=RUN input=FEATURES [min_score=0.1] [seconds=DURATION] [overrides]

Examples:
  vexp predict run=RUN input=videos window=10 stride=5
  vexp predict run=RUN input=video.mp4 boxes=persons.csv
  vexp predict run=RUN input=features/long_video.npy min_score=0.2
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.table import Column, Table

from vexp.cli.arguments import CommandLine
from vexp.cli.trained_model import (
    InputOptions,
    open_inputs,
    open_run,
    plain_console,
    top_classes,
    write_csv,
    write_result,
)
from vexp.config.schema import Config
from vexp.core.errors import ConfigError
from vexp.core.fields import option
from vexp.core.files import ensure_writable_dir
from vexp.inference.checkpoint import run_folder

if TYPE_CHECKING:
    from vexp.inference.predictor import Prediction, Predictor

_MAX_ROWS = 20  # of the contact sheet and of the table in the terminal


@dataclass(kw_only=True, slots=True)
class _Options(InputOptions):
    topk: int = option(5, "Number of classes per video, or per box.", ge=1)
    boxes: Path | None = option(None, "Boxes of persons for a detection model; null: found by model.detector.")
    every: float = option(
        1.0, "Distance between the key frames in which persons are found.", unit="seconds", ge=0.01, lt=math.inf
    )
    min_score: float = option(0.1, "Smallest score of the segments in segments.csv and timeline.png.", ge=0, le=1)
    seconds: float | None = option(
        None, "Duration of the videos, for features that are spread evenly over them.", unit="seconds", gt=0
    )


COMMAND = CommandLine(__doc__, _Options)


def main(argv: Sequence[str]) -> int:
    """Run the command; return its exit status."""
    arguments = COMMAND.parse(argv)
    options = arguments.options
    path, config, content = open_run(options.run, options.checkpoint, arguments)
    if config.data.task == "localization":
        return _predict_segments(options, path, config, content)
    predictor, windows, unreadable, folder = open_inputs(options, path, config, content, "predict")
    if config.data.task == "detection":
        from vexp.cli.predict_boxes import check_whole_videos, predict_boxes

        check_whole_videos(options.window)
        if not predict_boxes(
            predictor, windows, folder, split=options.split, boxes=options.boxes, every=options.every,
            topk=options.topk,
        ):  # fmt: skip
            raise ConfigError("no video could be read", key="input", value=options.input)
        return 0
    if options.boxes is not None:
        raise ConfigError("is for a model of detection", key="boxes", value=options.boxes)
    from vexp.inference.predictor import predict_videos

    predictions = list(predict_videos(predictor, windows, predictor.scores, split=options.split, show=_MAX_ROWS))
    videos = summarize(predictions, predictor.classes, options.topk)
    videos += [{"path": name, "error": error} for name, error in unreadable]
    about = {
        "checkpoint": str(predictor.path), "step": predictor.step, "epoch": predictor.epoch, "pipeline": options.split,
        "window_seconds": options.window, "stride_seconds": options.stride or options.window,
        "view_reduction": predictor.config.eval.view_reduction, "videos": videos,
    }  # fmt: skip
    write_result(folder / "predictions.json", json.dumps(about, indent=2, ensure_ascii=False) + "\n")
    _write_predictions_csv(folder / "predictions.csv", videos)
    has_sheet = _draw_contact_sheet(folder / "contact_sheet.png", predictions, predictor, options.topk)
    _print(videos, folder, has_sheet=has_sheet)
    if all("error" in video for video in videos):
        raise ConfigError("no video could be read", key="input", value=options.input)
    return 0


def _predict_segments(options: _Options, path: Path, config: Config, content: dict[str, Any]) -> int:
    """Find segments in long videos; return the exit status."""
    from vexp.inference.localize import find_segments
    from vexp.inference.predictor import load_predictor
    from vexp.inference.timeline import draw_timeline

    folder = options.out or run_folder(path) / "predict"
    ensure_writable_dir(folder, "set out=FOLDER")
    predictor = load_predictor(config, path, content)
    found = list(find_segments(predictor, options.input, seconds=options.seconds))
    rows: list[list[Any]] = [["video", "start", "end", "label", "score", "error"]]
    results: dict[str, list[dict[str, Any]]] = {}
    for video in found:
        results[video.name] = [
            ({"label": label} if label else {}) | {"segment": [start, end], "score": score}
            for start, end, label, score in video.segments
        ]
        kept = [row for row in video.segments if row[3] >= options.min_score]
        rows += [[video.name, f"{s:.3f}", f"{e:.3f}", label, f"{score:.6g}", ""] for s, e, label, score in sorted(kept)]
        rows += [[video.name, "", "", "", "", video.error]] if video.error else []
    write_csv(folder / "segments.csv", rows)
    about = {"checkpoint": str(path), "step": predictor.step, "epoch": predictor.epoch}
    answers = {"version": "VERSION 1.3", "results": results, "external_data": about}
    write_result(folder / "proposals.json", json.dumps(answers, ensure_ascii=False) + "\n")
    readable = [video for video in found if video.features is not None]
    if readable:
        shown = [
            (video.name, video.duration, [row for row in video.segments if row[3] >= options.min_score])
            for video in readable[:_MAX_ROWS]
        ]
        draw_timeline(folder / "timeline.png", shown, title=f"{run_folder(path).name} / {path.name}")
    console = plain_console()
    table = Table(*rows[0][:-1])
    for row in [row for row in rows[1:] if not row[-1]][:_MAX_ROWS]:
        table.add_row(*row[:-1])
    console.print(table)
    for video in found:
        if video.error:
            console.print(f"not read: {video.error}")
    console.print(f"segments.csv, proposals.json{', timeline.png' * bool(readable)} in {folder}")
    if not readable:
        raise ConfigError("no features could be read", key="input", value=options.input)
    return 0


def summarize(predictions: Sequence[Prediction], classes: Sequence[str], topk: int) -> list[dict[str, Any]]:
    """Return per video ``top`` [{class, score}], which is the mean of its windows, and ``windows``, each of them."""
    by_name: dict[str, list[Prediction]] = {}
    for prediction in predictions:
        by_name.setdefault(prediction.clip.name, []).append(prediction)
    videos: list[dict[str, Any]] = []
    for name, windows in by_name.items():
        scores = [window.values for window in windows if window.values is not None]
        mean = np.mean(scores, axis=0) if scores else None
        videos.append({"path": name} | _result(mean, windows[0].error, classes, topk))
        if windows[0].clip.window is not None:
            videos[-1]["windows"] = [
                {key: round(second, 3) for key, second in zip(("start", "end"), window.clip.window or (), strict=True)}
                | _result(window.values, window.error, classes, topk)
                for window in windows
            ]
    return videos


def _result(scores: Any, error: str, classes: Sequence[str], topk: int) -> dict[str, Any]:
    return {"error": error} if scores is None else {"top": top_classes(scores, classes, topk)}


def _write_predictions_csv(path: Path, videos: Sequence[dict[str, Any]]) -> None:
    """Write one row per video, followed by its windows."""
    ranks = max((len(video.get("top", ())) for video in videos), default=0)
    columns = [f"{column}_{rank}" for rank in range(1, ranks + 1) for column in ("class", "score")]
    rows = [["path", "start", "end", *columns, "error"]]
    for video in videos:
        for row in (video, *video.get("windows", ())):
            cells = [cell for top in row.get("top", ()) for cell in (top["class"], f"{top['score']:.6g}")]
            cells += [""] * (2 * ranks - len(cells))
            rows.append([video["path"], row.get("start", ""), row.get("end", ""), *cells, row.get("error", "")])
    write_csv(path, rows)


def _draw_contact_sheet(path: Path, predictions: Sequence[Prediction], predictor: Predictor, topk: int) -> bool:
    """Draw the frames and the classes of the first predictions; False if none has frames."""
    from vexp.inference.contact_sheet import Row, draw_contact_sheet

    rows = []
    for prediction in predictions:
        if prediction.values is not None and prediction.frames is not None:
            top = top_classes(prediction.values, predictor.classes, min(topk, 5))
            rows.append(Row(str(prediction.clip), prediction.frames, [(one["class"], one["score"]) for one in top]))
    if rows:
        count = f", the first of {len(predictions)} rows" if len(predictions) > _MAX_ROWS else ""
        title = f"{run_folder(predictor.path).name} / {predictor.path.name}{count}"
        draw_contact_sheet(path, rows, title=title)
    return bool(rows)


def _print(videos: Sequence[dict[str, Any]], folder: Path, *, has_sheet: bool) -> None:
    console = plain_console()
    table = Table(Column("video", overflow="fold"), "class", "score", "second", "score")
    for video in videos[:_MAX_ROWS]:
        cells = [cell for top in video.get("top", ())[:2] for cell in (top["class"], f"{top['score']:.4f}")]
        table.add_row(video["path"], *(cells or ["-"]))
    console.print(table)
    if len(videos) > _MAX_ROWS:
        console.print(f"... and {len(videos) - _MAX_ROWS} more in predictions.csv")
    for video in videos:
        if "error" in video:
            console.print(f"not read: {video['error']}")
    console.print(f"predictions.json, predictions.csv{', contact_sheet.png' * has_sheet} in {folder}")
