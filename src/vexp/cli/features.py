"""Extract the features of videos without labels: the input of the classifier, averaged over the views of a video.

features.npy (float32, one row per video or window) and index.csv, which names the video of every row, are written into
the folder of ``out=``.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from vexp.cli.arguments import CommandLine
from vexp.cli.input_options import InputOptions, write_result
from vexp.core.errors import ConfigError
from vexp.core.files import atomic_write, ensure_writable_dir
from vexp.inference.checkpoint import find_checkpoint, open_checkpoint, run_folder
from vexp.runtime.threads import set_passive_omp_wait

if TYPE_CHECKING:
    from vexp.inference.predictor import Prediction

COMMAND = CommandLine(
    usage=["features run=RUN input=FILE|FOLDER [window=SECONDS] [stride=SECONDS] [overrides]"],
    options=InputOptions,
    examples=[
        "features run=RUN input=videos",
        "features run=RUN input=videos window=10 stride=5",
        "features run=RUN input=videos split=test out=features",
    ],
)


def main(argv: Sequence[str]) -> int:
    arguments = COMMAND.parse(argv)
    options = arguments.options
    path = find_checkpoint(options.run, options.checkpoint)
    set_passive_omp_wait()
    import numpy as np

    from vexp.inference.predictor import list_clips, load_predictor, predict_videos
    from vexp.model.features import features

    config, content = open_checkpoint(path, arguments.rest, arguments.config_dirs)
    windows, unreadable = list_clips(options.input, window=options.window, stride=options.stride)
    config.backend.compile = False  # the features are read inside the model
    predictor = load_predictor(config, path, content)
    forward = features(predictor.model, len(predictor.classes))
    folder = options.out or run_folder(path) / "features"
    ensure_writable_dir(folder, "set out=FOLDER")
    predictions = list(
        predict_videos(
            predictor, windows, lambda batch: predictor.views(batch, forward).mean(1).numpy(), split=options.split
        )
    )
    write_result(folder / "index.csv", _index_csv(predictions, unreadable))
    rows = [prediction.values for prediction in predictions if prediction.values is not None]
    if not rows:
        raise ConfigError(
            "no video could be read", key="input", value=options.input, hint=f"; index.csv in {folder} has the errors"
        )
    with atomic_write(folder / "features.npy") as temporary, temporary.open("wb") as file:
        np.save(file, np.stack(rows))
    failed = len(windows) + len(unreadable) - len(rows)
    print(
        f"features.npy: {len(rows)} x {len(rows[0])}, index.csv in {folder}"
        + (f"; {failed} could not be read, see index.csv" if failed else "")
    )
    return 0


def _index_csv(predictions: Sequence[Prediction], unreadable: Sequence[tuple[str, str]]) -> str:
    """One line per video or window: its row in features.npy, or its error."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["row", "path", "start", "end", "error"])
    row = 0
    for prediction in predictions:
        times = [f"{second:.3f}" for second in prediction.clip.window or ()] or ["", ""]
        missing = prediction.values is None
        writer.writerow(["" if missing else row, prediction.clip.name, *times, prediction.error])
        row += not missing
    writer.writerows(["", name, "", "", error] for name, error in unreadable)
    return text.getvalue()
