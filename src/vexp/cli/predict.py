"""``vexp predict run=RUN input=FILE|FOLDER [topk=5] [window=SECONDS stride=SECONDS] [overrides]``.

Scores videos that have no labels with a trained net (``run=`` may also be a checkpoint file), each seen as evaluation
sees it. ``split=test`` takes the test steps of the pipeline (more views) in place of those of val, ``checkpoint=``
another checkpoint than the best. With ``window=10 stride=5`` a long video is cut into windows, each scored as a video
of its own. Writes predictions.json, predictions.csv and contact_sheet.png into ``out=`` (default: predict/ of the run).
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Column, Table

from vexp.cli.input_options import InputOptions, input_options
from vexp.config.overrides import parse_command_options, run_command
from vexp.core.errors import ConfigError
from vexp.core.files import ensure_writable_dir
from vexp.inference.checkpoint import find_checkpoint, open_checkpoint, run_folder
from vexp.runtime.threads import set_passive_omp_wait

if TYPE_CHECKING:
    from vexp.inference.predictor import Prediction, Predictor

_ROWS_SHOWN = 20  # of the contact sheet and the terminal


def main() -> None:
    """The command line."""
    run_command(_main, __doc__)


def _main() -> None:
    own, words = parse_command_options(sys.argv[1:], {"topk": "5"})
    options, words = input_options("predict", words)
    if not str(own["topk"]).isdecimal() or own["topk"] == "0":
        raise ConfigError(f"topk={own['topk']}: must be a number >= 1 (command line)")
    path = find_checkpoint(options.run, options.checkpoint)
    set_passive_omp_wait()
    from vexp.inference.predictor import list_clips, load_predictor, predict_videos

    config, content = open_checkpoint(path, words)
    pieces, faults = list_clips(options.input, window=options.window, stride=options.stride)
    folder = options.out or run_folder(path) / "predict"
    ensure_writable_dir(folder, "set out=FOLDER")
    trained = load_predictor(config, path, content)
    found = list(predict_videos(trained, pieces, trained.scores, split=options.split, show=_ROWS_SHOWN))
    videos = summarise(found, trained.classes, int(str(own["topk"])))
    videos += [{"path": name, "error": why} for name, why in faults]
    write_predictions(folder, videos, trained, options)
    shown = _draw(folder, found, trained, int(str(own["topk"])))
    _print(videos, folder, shown)
    if all("error" in video for video in videos):
        raise ConfigError(f"input={options.input}: no video could be read")


def summarise(found: Sequence[Prediction], classes: Sequence[str], topk: int) -> list[dict[str, Any]]:
    """Plain values of every video: ``top`` [{class, score}], the mean of its windows; ``windows``: of each."""
    import numpy as np

    videos: dict[str, list[Prediction]] = {}
    for answer in found:
        videos.setdefault(answer.clip.name, []).append(answer)
    result: list[dict[str, Any]] = []
    for name, answers in videos.items():
        scored = [answer.values for answer in answers if answer.values is not None]
        video: dict[str, Any] = {"path": name}
        if scored:
            video["top"] = ranked(np.mean(scored, axis=0), classes, topk)
        else:
            video["error"] = answers[0].error
        if answers[0].clip.window is not None:
            video["windows"] = [_window(answer, classes, topk) for answer in answers]
        result.append(video)
    return result


def ranked(scores: Any, classes: Sequence[str], topk: int) -> list[dict[str, Any]]:
    """The ``topk`` best classes, the best first; of equal ones the lower number."""
    import numpy as np

    best = np.argsort(-scores, kind="stable")[:topk]
    return [{"class": classes[i], "score": float(scores[i])} for i in best]


def _window(answer: Prediction, classes: Sequence[str], topk: int) -> dict[str, Any]:
    start, end = answer.clip.window or (0.0, 0.0)
    times = {"start": round(start, 3), "end": round(end, 3)}
    if answer.values is None:
        return {**times, "error": answer.error}
    return {**times, "top": ranked(answer.values, classes, topk)}


def write_predictions(
    folder: Path, videos: Sequence[dict[str, Any]], trained: Predictor, options: InputOptions
) -> None:
    """predictions.json, and predictions.csv with a row a video, followed by its windows."""
    about = {
        "checkpoint": str(trained.path), "step": trained.step, "epoch": trained.epoch, "pipeline": options.split,
        "window_seconds": options.window, "stride_seconds": options.stride or options.window,
        "view_reduction": trained.config.eval.view_reduction,
    }  # fmt: skip
    text = json.dumps({**about, "videos": videos}, indent=2, ensure_ascii=False)
    (folder / "predictions.json").write_text(text + "\n", encoding="utf-8", errors="surrogateescape")
    ranks = max((len(video.get("top", ())) for video in videos), default=0)
    path = folder / "predictions.csv"
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file)
        named = [f"{what}_{rank}" for rank in range(1, ranks + 1) for what in ("class", "score")]
        writer.writerow(["path", "start", "end", *named, "error"])
        for video in videos:
            for row in (video, *video.get("windows", ())):
                cells = [cell for one in row.get("top", ()) for cell in (one["class"], f"{one['score']:.6g}")]
                cells += [""] * (2 * ranks - len(cells))
                writer.writerow([video["path"], row.get("start", ""), row.get("end", ""), *cells, row.get("error", "")])


def _draw(folder: Path, found: Sequence[Prediction], trained: Predictor, topk: int) -> int:
    """How many rows the contact sheet has."""
    from vexp.inference.contact_sheet import Row, draw_contact_sheet

    rows = [
        Row(
            str(answer.clip),
            answer.frames,
            [(one["class"], one["score"]) for one in ranked(answer.values, trained.classes, min(topk, 5))],
        )
        for answer in found
        if answer.values is not None and answer.frames is not None
    ]
    if rows:
        count = f", the first of {len(found)} rows" if len(found) > _ROWS_SHOWN else ""
        title = f"{run_folder(trained.path).name} / {trained.path.name}{count}"
        draw_contact_sheet(folder / "contact_sheet.png", rows, title=title)
    return len(rows)


def _print(videos: Sequence[dict[str, Any]], folder: Path, shown: int) -> None:
    console = Console(soft_wrap=True, highlight=False, markup=False, emoji=False)
    table = Table(Column("video", overflow="fold"), "class", "score", "second", "score")
    for video in videos[:_ROWS_SHOWN]:
        cells = [cell for one in video.get("top", ())[:2] for cell in (one["class"], f"{one['score']:.4f}")]
        table.add_row(video["path"], *(cells or ["-"]))
    console.print(table)
    if len(videos) > _ROWS_SHOWN:
        console.print(f"... and {len(videos) - _ROWS_SHOWN} more in predictions.csv")
    for video in videos:
        if "error" in video:
            console.print(f"not read: {video['error']}")
    console.print(f"predictions.json, predictions.csv{', contact_sheet.png' * bool(shown)} in {folder}")


if __name__ == "__main__":
    main()
