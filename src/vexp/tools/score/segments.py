"""Scoring of segments and proposals: result files of temporal localization."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vexp.core.errors import ConfigError, UserError
from vexp.data.annotations.class_names import read_classes
from vexp.data.annotations.segments import VideoSegments, read_segment_results, read_segments
from vexp.evaluation.config import RECALL_NUMBERS
from vexp.evaluation.detections import Detections, Ints
from vexp.evaluation.temporal import ACTIVITYNET_THRESHOLDS, THUMOS_THRESHOLDS, ProposalRanks, match_segments
from vexp.tools.score.config import Score
from vexp.tools.score.scored import Scored, common_rules, listed, rounded, score_by_class

_SUBSETS = ("validation", "val", "test", "testing")  # that are measured if a file has several and none is chosen


def score_segments(options: Score, answers: Path) -> Scored:
    """Compute the metrics of segments or proposals; raise UserError if a file is bad or has other videos."""
    all_truth = read_segments(options.truth)
    class_names = None if options.classes is None else read_classes(options.classes)
    found = read_segment_results(answers, class_names)
    subset, truth = _select_subset(options, all_truth)
    found, notes = _match_names(answers, found, all_truth, truth)
    videos = {name: index for index, name in enumerate(truth)}
    has_labels = any(label for entry in found.values() for *_, label, _ in entry.segments)
    kind = ("segments" if has_labels else "proposals") if options.eval == "auto" else options.eval
    classes = sorted({label for entry in all_truth.values() for *_, label, _ in entry.segments})
    true_rows = _rows(videos, truth, classes if kind == "segments" else None, options.truth)
    rows = _rows(videos, found, classes if kind == "segments" else None, answers)
    rows = rounded(rows, options.rounding)
    if not len(true_rows):
        raise UserError(f"{options.truth}: has no annotation in {subset or 'its videos'}")
    default = THUMOS_THRESHOLDS if options.truth.is_dir() else ACTIVITYNET_THRESHOLDS
    thresholds = options.thresholds or [float(value) for value in default.round(4)]
    protocol = [
        f"{len(videos)} videos{f' of the subset {subset}' if subset else ''}, {len(true_rows)} annotations, "
        f"{len(rows)} {kind} in {len(found)} videos",
        f"temporal IoU {', '.join(f'{value:g}' for value in thresholds)}, reached from equality on",
        *common_rules(options),
        *notes,
    ]
    if kind == "proposals":
        return _proposals(options, true_rows, rows, thresholds, len(videos), protocol)
    protocol.append("a prediction takes the free annotation of its class that it overlaps most")
    matched = match_segments(true_rows, rows, num_classes=len(classes), thresholds=thresholds)
    return score_by_class(matched, classes, thresholds, len(videos), protocol, np.arange(len(videos)))


def _select_subset(options: Score, videos: dict[str, VideoSegments]) -> tuple[str, dict[str, VideoSegments]]:
    """Return the name of the measured subset, empty for all videos, and its videos."""
    names = sorted({entry.subset for entry in videos.values()})
    subset = options.subset
    if subset is None:
        subset = next((name for name in _SUBSETS if name in names), None) if len(names) > 1 else ""
        if subset is None:
            raise ConfigError(f"must be one of {', '.join(names)}, which {options.truth.name} has", key="subset")
    elif subset not in names:
        rule = f"{options.truth.name} has no such subset; it has {', '.join(filter(None, names)) or 'none'}"
        raise ConfigError(rule, key="subset", value=subset)
    return subset, {name: entry for name, entry in videos.items() if not subset or entry.subset == subset}


def _match_names(
    answers: Path, found: dict[str, VideoSegments], known: dict[str, VideoSegments], used: dict[str, VideoSegments]
) -> tuple[dict[str, VideoSegments], list[str]]:
    """Return the results of the measured videos and notes on the others."""
    notes = []
    if found and not any(name in known for name in found) and all(f"v_{name}" in known for name in found):
        found = {f"v_{name}": entry for name, entry in found.items()}
        notes.append(f"the names in {answers.name} were matched with v_ before them")
    if unknown := [name for name in found if name not in known]:
        raise UserError(f"{answers}: {len(unknown)} videos are not in the ground truth: {listed(unknown)}")
    kept = {name: entry for name, entry in found.items() if name in used}
    if len(kept) < len(found):
        notes.append(f"{len(found) - len(kept)} videos of {answers.name} belong to other subsets and are ignored")
    missing = sum(name not in kept or not kept[name].segments for name in used)
    if missing:
        notes.append(f"{missing} videos have no result; their annotations count as not found")
    return kept, notes


def _rows(
    videos: dict[str, int], entries: dict[str, VideoSegments], classes: Sequence[str] | None, path: Path
) -> Detections:
    """Return the segments as rows; without ``classes`` all have the label 0."""
    index = None if classes is None else {name: i for i, name in enumerate(classes)}
    group = [videos[name] for name, entry in entries.items() for _ in entry.segments]
    segments = [segment for entry in entries.values() for segment in entry.segments]
    if index is not None and (unknown := {label for *_, label, _ in segments} - index.keys()):
        raise UserError(f"{path}: {len(unknown)} labels are not in the ground truth: {listed(sorted(unknown))}")
    labels = [0 if index is None else index[label] for *_, label, _ in segments]
    extent = np.array([segment[:2] for segment in segments], np.float64).reshape(-1, 2)
    scores = np.array([segment[3] for segment in segments], np.float64)
    return Detections(np.array(group, np.int64), extent, np.array(labels, np.int64), scores)


def _proposals(
    options: Score, truth: Detections, rows: Detections, thresholds: Sequence[float], videos: int, protocol: list[str]
) -> Scored:
    limit = options.max_proposals
    protocol.append(f"at most {limit:g} proposals per video on average, the same share of each video's")
    ranks = ProposalRanks.of(truth, rows, thresholds)

    def measure(weights: Ints | None) -> dict[str, float]:
        curve = ranks.curve(videos, limit, weights)
        return {**{f"AR@{n}": curve.at(n) for n in RECALL_NUMBERS if n <= limit}, "auc": curve.auc}

    return Scored(protocol, videos, measure, curve=ranks.curve(videos, limit))
