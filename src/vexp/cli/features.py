"""Extract the features of videos without labels: the input of the classifier, averaged over the views of a video.

features.npy (float32, one row per video or window) and index.csv, which names the video of every row, are written into
the folder of ``out=``.

Usage: vexp features run=RUN input=FILE|FOLDER [window=SECONDS] [stride=SECONDS] [overrides]

Examples:
  vexp features run=RUN input=videos
  vexp features run=RUN input=videos window=10 stride=5
  vexp features run=RUN input=videos split=test out=features
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from vexp.cli.arguments import CommandLine
from vexp.cli.trained_model import InputOptions, open_inputs, open_run, write_csv
from vexp.core.errors import ConfigError
from vexp.core.files import atomic_write

COMMAND = CommandLine(__doc__, InputOptions)


def main(argv: Sequence[str]) -> int:
    """Run the command; return its exit status."""
    arguments = COMMAND.parse(argv)
    options = arguments.options
    checkpoint = open_run(options.run, options.checkpoint, arguments)
    # The features are read inside the model, which must not be compiled.
    predictor, windows, unreadable, folder = open_inputs(options, *checkpoint, "features", compiled=False)
    from vexp.inference.predictor import predict_videos
    from vexp.model.features import features

    forward = features(predictor.model, len(predictor.classes))
    predictions = predict_videos(
        predictor, windows, lambda batch: predictor.views(batch, forward).mean(1).numpy(), split=options.split
    )
    values: list[Any] = []
    index = [["row", "path", "start", "end", "error"]]  # of index.csv: a row of features.npy, or an error
    for prediction in predictions:
        times = [f"{second:.3f}" for second in prediction.clip.window or ()] or ["", ""]
        row = "" if prediction.values is None else str(len(values))
        index.append([row, prediction.clip.name, *times, prediction.error])
        values += [] if prediction.values is None else [prediction.values]
    write_csv(folder / "index.csv", [*index, *(["", name, "", "", error] for name, error in unreadable)])
    if not values:
        hint = f"; index.csv in {folder} has the errors"
        raise ConfigError("no video could be read", key="input", value=options.input, hint=hint)
    with atomic_write(folder / "features.npy") as temporary, temporary.open("wb") as file:
        np.save(file, np.stack(values))
    failed = len(windows) + len(unreadable) - len(values)
    end = f"; {failed} could not be read, see index.csv" if failed else ""
    print(f"features.npy: {len(values)} x {len(values[0])}, index.csv in {folder}{end}")
    return 0
