"""Options of ``vexp score``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vexp.core.fields import ValidatedConfig, option


def _thresholds_rule(values: Any) -> str | None:
    try:
        is_valid = all(0 < float(value) <= 1 for value in values)
    except ValueError:
        is_valid = False
    return None if is_valid else "must be numbers in (0, 1], as in [0.5,0.75,0.95]"


@dataclass(kw_only=True, slots=True)
class Score(ValidatedConfig):
    """Options of a measurement of result files."""

    truth: Path = option(doc="Ground truth: ActivityNet's or mmaction2's JSON, THUMOS14's folder, or AVA's CSV.")
    answers: Path = option(doc="Results to measure: ActivityNet's JSON, THUMOS14's text file, or AVA's CSV.")
    compare: Path | None = option(None, "Other results for the same videos, for the paired difference to answers.")
    eval: str = option(
        "auto", "What is measured; auto: boxes for CSV, segments for results with labels, else proposals.",
        choices=("auto", "proposals", "segments", "boxes"),
    )  # fmt: skip
    tious: list[str] = option(
        [], "Thresholds of temporal IoU (empty: 0.5 to 0.95 in steps of 0.05, THUMOS14 0.3 to 0.7).",
        check=_thresholds_rule,
    )  # fmt: skip
    iou: float = option(0.5, "Threshold of intersection over union of boxes.", gt=0, le=1)
    max_proposals: float = option(100.0, "Largest average number of proposals per video.", gt=0)
    subset: str | None = option(None, "Subset of the ground truth (null: validation or test if it names several).")
    classes: Path | None = option(None, "Class names by number, for THUMOS14's results (detclasslist.txt).")
    label_map: Path | None = option(None, "AVA's label map (.pbtxt); boxes of classes that it lacks do not count.")
    exclude: Path | None = option(None, "AVA's excluded key frames, which do not count.")
    empty_frames: str = option(
        "ignore", "Detections in key frames without ground truth: not counted, or false positives (mmaction2 0.x).",
        choices=("ignore", "count"),
    )  # fmt: skip
    rounding: int | None = option(
        None, "Decimals to which boxes and scores are rounded before ranking (mmaction2 0.x: 3).", ge=0, le=15
    )
    resamples: int = option(
        1000, "Bootstrap resamples of the videos for the 95 % intervals; 0 for none.", ge=0, le=10**6
    )
    seed: int = option(0, "Seed of the resamples.", ge=0)
    out: Path | None = option(None, "Folder of score.json, per_class.csv and ar_an.png (null: none are written).")

    @property
    def thresholds(self) -> list[float]:
        """``tious`` as numbers."""
        return [float(value) for value in self.tious]
