"""``vexp features run=RUN input=FILE|FOLDER [window=SECONDS stride=SECONDS] [overrides]``.

What a trained net sees in videos that have no labels: the input of its classifier, averaged over the views of a video
(or of each window of it). Writes features.npy, float32 (rows, D), and index.csv, which names the row of every video,
into ``out=`` (default: features/ of the run folder). ``split=test`` takes the test steps of the pipeline.
"""

from __future__ import annotations

import csv
import sys

from vexp.cli.input_options import input_options
from vexp.config.overrides import run_command
from vexp.core.errors import ConfigError
from vexp.core.files import ensure_writable_dir
from vexp.inference.checkpoint import find_checkpoint, open_checkpoint, run_folder
from vexp.runtime.threads import set_passive_omp_wait


def main() -> None:
    """The command line."""
    run_command(_main, __doc__)


def _main() -> None:
    options, words = input_options("features", sys.argv[1:])
    path = find_checkpoint(options.run, options.checkpoint)
    set_passive_omp_wait()
    import numpy as np
    from numpy.typing import NDArray

    from vexp.inference.predictor import list_clips, load_predictor, predict_videos
    from vexp.model.features import features

    config, content = open_checkpoint(path, words)
    pieces, faults = list_clips(options.input, window=options.window, stride=options.stride)
    config.backend.compile = False  # the features are looked up inside the net
    trained = load_predictor(config, path, content)
    forward = features(trained.model, len(trained.classes))
    rows: list[NDArray[np.float32]] = []
    folder = options.out or run_folder(path) / "features"
    ensure_writable_dir(folder, "set out=FOLDER")
    with (folder / "index.csv").open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file)
        writer.writerow(["row", "path", "start", "end", "error"])
        found = predict_videos(
            trained, pieces, lambda batch: trained.views(batch, forward).mean(1).numpy(), split=options.split
        )
        for answer in found:
            times = [f"{second:.3f}" for second in answer.clip.window or ()] or ["", ""]
            writer.writerow(["" if answer.values is None else len(rows), answer.clip.name, *times, answer.error])
            if answer.values is not None:
                rows.append(answer.values)
        writer.writerows(["", name, "", "", why] for name, why in faults)
    if not rows:
        raise ConfigError(f"input={options.input}: no video could be read; index.csv in {folder} says why")
    np.save(folder / "features.npy", np.stack(rows))
    failed = len(pieces) + len(faults) - len(rows)
    print(
        f"features.npy: {len(rows)} x {len(rows[0])}, index.csv in {folder}"
        + (f"; {failed} not read, which index.csv names" if failed else "")
    )


if __name__ == "__main__":
    main()
