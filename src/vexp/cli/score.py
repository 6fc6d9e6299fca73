"""Measure result files of temporal localization or of boxes in key frames, whichever program wrote them.

Segments give mean average precision at thresholds of temporal IoU, proposals average recall (AR@AN) and its area
(auc), boxes mAP@0.5IOU. The rules of the measurement are printed with the metrics, and 95 % intervals are over
resampled videos. score.json, and per_class.csv or ar_an.png, are written into the folder of ``out=``.

Usage: vexp score truth=FILE answers=FILE [eval=proposals|segments|boxes] [compare=FILE] [out=FOLDER]

Examples:
  vexp score truth=activity_net.v1-3.min.json answers=results.json out=score
  vexp score truth=anet_val.json answers=proposals.json compare=baseline.json
  vexp score truth=ava_val.csv answers=detections.csv label_map=ava_actions.pbtxt exclude=ava_excluded.csv
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from vexp.cli.arguments import CommandLine
from vexp.core.errors import ConfigError, UserError
from vexp.core.files import ensure_writable_dir
from vexp.tools.score.config import Score

COMMAND = CommandLine(__doc__, Score, composes=False)
_MIN_WIDTH = 132  # characters


def main(argv: Sequence[str]) -> int:
    """Run the command; return its exit status."""
    arguments = COMMAND.parse(argv)
    if arguments.rest:
        raise ConfigError(f"{arguments.rest[0]}: is not an option of vexp score; see vexp score --help")
    options = arguments.options
    from vexp.tools.score.intervals import bootstrap
    from vexp.tools.score.report import class_table, metric_table, write_files

    if options.out is not None:
        ensure_writable_dir(options.out, "set out=FOLDER")
    answers = _score(options, options.answers)
    other = None if options.compare is None else _score(options, options.compare)
    measured = [answers] if other is None else [answers, other]
    samples = bootstrap(measured, options.resamples, options.seed) if options.resamples else [{} for _ in measured]
    results = [scored.measure(None) for scored in measured]

    print("\n".join(answers.protocol))
    if other is not None:
        print("\n".join(f"compared: {line}" for line in other.protocol if line not in answers.protocol))
    if options.resamples:
        print(f"intervals: {options.resamples} resamples of the {answers.videos} videos, seed {options.seed}")
    console = Console(highlight=False, markup=False, emoji=False)
    console.width = max(console.width, _MIN_WIDTH)
    print()
    if answers.by_class is not None:
        console.print(class_table(answers.by_class))
        print()
    paired = (results[1], samples[1] if options.resamples else None) if other is not None else (None, None)
    console.print(metric_table(results[0], samples[0], *paired))
    if options.out is not None:
        try:
            names = write_files(options.out, answers, results[0], samples[0], answers.protocol)
        except OSError as error:
            raise UserError(f"{options.out}: cannot be written: {error.strerror or error}; set out=FOLDER") from None
        print(f"\nwritten: {', '.join(str(options.out / name) for name in names)}")
    return 0


def _score(options: Score, answers: Path) -> Any:
    """Compute the metrics of a result file."""
    is_csv = options.truth.suffix.lower() == ".csv"
    if options.eval != "auto" and is_csv != (options.eval == "boxes"):
        needed = "AVA's CSV" if options.eval == "boxes" else "JSON, or THUMOS14's folder"
        raise ConfigError(f"needs {needed} as truth, not {options.truth.name}", key="eval", value=options.eval)
    if is_csv:
        from vexp.tools.score.boxes import score_boxes

        return score_boxes(options, answers)
    from vexp.tools.score.segments import score_segments

    return score_segments(options, answers)
