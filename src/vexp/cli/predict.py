"""Classify videos without labels with a trained model, through the transforms and views of evaluation.

With ``window=10 stride=5`` a long video is split into windows, each classified as a video of its own.
predictions.json, predictions.csv and contact_sheet.png are written into the folder of ``out=``.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Column, Table

from vexp.cli.arguments import CommandLine
from vexp.cli.input_options import InputOptions, write_result
from vexp.core.errors import ConfigError
from vexp.core.fields import option
from vexp.core.files import ensure_writable_dir
from vexp.inference.checkpoint import find_checkpoint, open_checkpoint, run_folder
from vexp.runtime.threads import set_passive_omp_wait

if TYPE_CHECKING:
    from vexp.inference.predictor import Prediction, Predictor

_MAX_ROWS = 20  # of the contact sheet and of the table in the terminal


@dataclass(kw_only=True, slots=True)
class PredictOptions(InputOptions):
    topk: int = option(5, "Number of classes per video.", ge=1)


COMMAND = CommandLine(
    usage=["predict run=RUN input=FILE|FOLDER [topk=5] [window=SECONDS] [stride=SECONDS] [overrides]"],
    options=PredictOptions,
    examples=[
        "predict run=RUN input=video.mp4",
        "predict run=RUN input=videos topk=1 out=predictions",
        "predict run=RUN input=videos window=10 stride=5",
    ],
)


def main(argv: Sequence[str]) -> int:
    arguments = COMMAND.parse(argv)
    options = arguments.options
    path = find_checkpoint(options.run, options.checkpoint)
    set_passive_omp_wait()
    from vexp.inference.predictor import list_clips, load_predictor, predict_videos

    config, content = open_checkpoint(path, arguments.rest, arguments.config_dirs)
    windows, unreadable = list_clips(options.input, window=options.window, stride=options.stride)
    folder = options.out or run_folder(path) / "predict"
    ensure_writable_dir(folder, "set out=FOLDER")
    predictor = load_predictor(config, path, content)
    predictions = list(predict_videos(predictor, windows, predictor.scores, split=options.split, show=_MAX_ROWS))
    videos = summarize(predictions, predictor.classes, options.topk)
    videos += [{"path": name, "error": error} for name, error in unreadable]
    write_predictions(folder, videos, predictor, options)
    has_sheet = _draw_contact_sheet(folder / "contact_sheet.png", predictions, predictor, options.topk)
    _print(videos, folder, has_sheet=has_sheet)
    if all("error" in video for video in videos):
        raise ConfigError("no video could be read", key="input", value=options.input)
    return 0


def summarize(predictions: Sequence[Prediction], classes: Sequence[str], topk: int) -> list[dict[str, Any]]:
    """Return plain values per video: ``top`` [{class, score}], the mean of its windows, and ``windows``, each of them."""
    import numpy as np

    by_name: dict[str, list[Prediction]] = {}
    for prediction in predictions:
        by_name.setdefault(prediction.clip.name, []).append(prediction)
    videos: list[dict[str, Any]] = []
    for name, windows in by_name.items():
        scores = [window.values for window in windows if window.values is not None]
        video: dict[str, Any] = {"path": name}
        if scores:
            video["top"] = top_classes(np.mean(scores, axis=0), classes, topk)
        else:
            video["error"] = windows[0].error
        if windows[0].clip.window is not None:
            video["windows"] = [_window(window, classes, topk) for window in windows]
        videos.append(video)
    return videos


def top_classes(scores: Any, classes: Sequence[str], topk: int) -> list[dict[str, Any]]:
    """Return the ``topk`` classes with the highest scores, best first; of equal scores the lower index comes first."""
    import numpy as np

    best = np.argsort(-scores, kind="stable")[:topk]
    return [{"class": classes[i], "score": float(scores[i])} for i in best]


def _window(prediction: Prediction, classes: Sequence[str], topk: int) -> dict[str, Any]:
    start, end = prediction.clip.window or (0.0, 0.0)
    times = {"start": round(start, 3), "end": round(end, 3)}
    if prediction.values is None:
        return {**times, "error": prediction.error}
    return {**times, "top": top_classes(prediction.values, classes, topk)}


def write_predictions(
    folder: Path, videos: Sequence[dict[str, Any]], predictor: Predictor, options: InputOptions
) -> None:
    """Write predictions.json, and predictions.csv with one row per video, followed by its windows."""
    content = {
        "checkpoint": str(predictor.path),
        "step": predictor.step,
        "epoch": predictor.epoch,
        "pipeline": options.split,
        "window_seconds": options.window,
        "stride_seconds": options.stride or options.window,
        "view_reduction": predictor.config.eval.view_reduction,
        "videos": videos,
    }
    write_result(folder / "predictions.json", json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    write_result(folder / "predictions.csv", _predictions_csv(videos))


def _predictions_csv(videos: Sequence[dict[str, Any]]) -> str:
    ranks = max((len(video.get("top", ())) for video in videos), default=0)
    text = io.StringIO()
    writer = csv.writer(text)
    columns = [f"{column}_{rank}" for rank in range(1, ranks + 1) for column in ("class", "score")]
    writer.writerow(["path", "start", "end", *columns, "error"])
    for video in videos:
        for row in (video, *video.get("windows", ())):
            cells = [cell for top in row.get("top", ()) for cell in (top["class"], f"{top['score']:.6g}")]
            cells += [""] * (2 * ranks - len(cells))
            writer.writerow([video["path"], row.get("start", ""), row.get("end", ""), *cells, row.get("error", "")])
    return text.getvalue()


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
    console = Console(soft_wrap=True, highlight=False, markup=False, emoji=False)
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
