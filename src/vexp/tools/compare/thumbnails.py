"""Videos of the best run: those with the highest and the lowest score, as small images.

The score of a video is that of its true class; for localization, how well its segments were found.
"""

from __future__ import annotations

import base64
import csv
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vexp.core.documents import read_json
from vexp.core.errors import UserError
from vexp.data.sources.base import Source
from vexp.data.sources.segments import SegmentSource
from vexp.evaluation.segments import RESULTS_FILE
from vexp.evaluation.temporal import temporal_iou
from vexp.tools.compare.comparison import Comparison
from vexp.tools.compare.metrics_file import signature
from vexp.tools.compare.runs import Run

_COUNT = 6  # best videos, and worst videos
_WIDTH, _HEIGHT = 160, 120  # pixels that a frame is fitted into
_QUALITY = 72  # of the JPEG images
_LIMIT = 1 << 20  # bytes of all images in the page
_SEGMENTS = 10  # predicted segments of a video that count, those with the highest scores
_TRUE_CLASS = "score of the true class"
_OVERLAP = f"mean tIoU of the annotated segments with the best of {_SEGMENTS} predicted ones"
_PREDICTIONS = ("predictions.csv", "boxes.csv", RESULTS_FILE)


@dataclass(slots=True)
class Video:
    """A video, or a key frame, with the score of its true class; ``id`` is its index in the split."""

    id: int
    path: str
    label: str
    predicted: str  # class with the highest score
    score: float  # of the true class; 0 if it is not among the listed classes
    top_score: float  # of ``predicted``
    correct: bool
    is_listed: bool = True
    frames: list[str] = field(default_factory=list)  # data URIs
    missing: str = ""  # why there are no frames
    detail: str = ""  # in place of what was predicted


class Thumbnails:
    """The videos of the best run; they are decoded again only if the run or its predictions have changed."""

    def __init__(self) -> None:
        self._key: Any = None
        self._videos: dict[str, Any] | None = None

    def of(self, comparison: Comparison) -> dict[str, Any] | None:
        """Return the content of the section of the page; None if no run is the best."""
        best = sorted(comparison.best[comparison.metric])
        if not best:
            return None
        run = comparison.runs[best[0]]
        names = ("config.yaml", "eval/report.json", *(f"eval/{name}" for name in _PREDICTIONS))
        key = (run.folder, [signature(run.folder / name) for name in names])
        if key != self._key:
            self._key, self._videos = key, videos_of(run)
        assert self._videos is not None
        step, measured = run.report.get("step"), comparison.scores[best[0]].step
        other = f"from the evaluation after step {step} (eval.save_best)" if step not in (None, measured) else ""
        return self._videos | {"run": best[0], "evaluation": other}


def videos_of(run: Run) -> dict[str, Any]:
    """Return the ``best`` and ``worst`` videos of a run by a ``measure``, and a ``note`` if there are none."""
    split = str(run.report.get("split", "val"))
    source, reason, measure = None, "", _TRUE_CLASS
    try:
        videos = list(_recognition(run.folder))
        if videos or any((run.folder / "eval" / name).exists() for name in _PREDICTIONS[1:]):
            source, reason = _source(run.folder, split)
        videos = videos or list(_detection(run.folder, source))
        if not videos and isinstance(source, SegmentSource):
            videos, measure = list(_localization(run.folder, source)), _OVERLAP
    except (UserError, OSError, UnicodeDecodeError, csv.Error, KeyError, ValueError, IndexError) as error:
        return {"note": f"the predictions cannot be read: {_first_line(error)}", "best": [], "worst": []}
    if not videos:
        note = reason or f"no predictions with scores ({', '.join(_PREDICTIONS)})"
        return {"note": note, "best": [], "worst": []}
    videos.sort(key=lambda video: (video.score, -video.top_score, video.id))
    count = min(_COUNT, math.ceil(len(videos) / 2))
    best, worst = videos[: -count - 1 : -1], videos[: min(count, len(videos) - count)]
    remaining = _LIMIT
    for video in (video for pair in _alternating(best, worst) for video in pair):
        if source is None:
            video.missing = reason
        elif not video.frames:
            _add_frames(video, source, remaining)
        remaining -= sum(map(len, video.frames))
    best_, worst_ = ([asdict(video) for video in videos] for videos in (best, worst))
    return {"note": "", "measure": measure, "best": best_, "worst": worst_}


def _alternating(best: Sequence[Video], worst: Sequence[Video]) -> Iterator[list[Video]]:
    for k in range(max(len(best), len(worst))):
        yield [*best[k : k + 1], *worst[k : k + 1]]


def _source(folder: Path, split: str) -> tuple[Source | None, str]:
    """Return the samples of a split as the run listed them, or the reason why they cannot be listed.

    Nothing is generated or downloaded.
    """
    from vexp.config.compose import compose  # imports Hydra, which only a run with predictions needs
    from vexp.config.saved import read_saved_config
    from vexp.data.sources.subsets import select_samples

    try:
        data = compose([], saved=read_saved_config(folder / "config.yaml")).data
        source = select_samples(data, split)
        source = select_samples(data, "val") if source is None and split == "test" else source
    except (UserError, OSError) as error:
        return None, f"the data of the run cannot be listed: {_first_line(error)}"
    return source, "" if source is not None else f"the data have no split {split}"


def _recognition(folder: Path) -> Iterator[Video]:
    """Yield the videos of predictions.csv, without those that were not scored; none if it has no scores."""
    try:
        file = (folder / "eval" / "predictions.csv").open(encoding="utf-8", errors="surrogateescape", newline="")
    except FileNotFoundError:
        return
    with file:
        for row in csv.DictReader(file):
            ranks = [rank for rank in range(1, 6) if row.get(f"score_{rank}")]
            labels = (row["labels"].split(";") if row.get("labels") else []) if "labels" in row else [row["label"]]
            if not ranks or not labels:
                continue
            scores = {row[f"class_{rank}"]: _score(row[f"score_{rank}"]) for rank in ranks}
            mean = sum(scores.get(label, 0.0) for label in labels) / len(labels)
            top = row["predicted"]
            listed = any(label in scores for label in labels)
            about = (int(row["id"]), row["path"], ", ".join(labels), top)
            yield Video(*about, mean, scores.get(top, 0.0), top in labels, listed)


def _detection(folder: Path, source: Source | None) -> Iterator[Video]:
    """Yield the labeled key frames: the score is the mean over their classes of the highest score of a box."""
    path = folder / "eval" / "boxes.csv"
    if source is None or not path.exists():
        return
    with (folder / "eval" / "per_class.csv").open(encoding="utf-8", newline="") as file:
        names = {row["number"]: row["class"] for row in csv.DictReader(file)}
    scores: dict[str, dict[str, float]] = defaultdict(dict)
    with path.open(encoding="utf-8", newline="") as file:
        for video, second, *_, number, score in csv.reader(file):
            if number in names:
                found = scores[f"{video},{second}"]
                found[names[number]] = max(found.get(names[number], 0.0), _score(score))
    measured = set(names.values())
    for index in range(len(source)):
        found = scores.get(source.name(index), {})
        labels = [name for c in np.unique(source.labels[index]).tolist() if (name := source.classes[c]) in measured]
        if labels:
            top = max(found, key=lambda name: found[name], default="nothing")
            mean = sum(found.get(label, 0.0) for label in labels) / len(labels)
            listed = any(label in found for label in labels)
            about = (index, source.name(index), ", ".join(labels), top)
            yield Video(*about, mean, found.get(top, 0.0), top in labels, listed)


def _localization(folder: Path, source: SegmentSource) -> Iterator[Video]:
    """Yield the annotated videos with a drawing of their segments in place of frames, which features do not have."""
    schema = {"results": {str: [{"segment": [float], "score": float, "label?": str}]}}
    with suppress(FileNotFoundError):
        results = read_json(folder / "eval" / RESULTS_FILE, schema)["results"]
        for index in range(len(source)):
            truth, labels = source.truth(index)
            if not len(truth):
                continue
            name, names = source.name(index), [source.classes[label] for label in labels]
            found = sorted(results.get(name, []), key=lambda row: -row["score"])[:_SEGMENTS]
            extents = np.array([row["segment"] for row in found], np.float64).reshape(-1, 2)
            fits = np.array([[(row.get("label") or label) == label for row in found] for label in names], bool)
            overlap = np.where(fits, temporal_iou(truth[:, None], extents), 0.0).max(axis=1, initial=0.0)
            detail = f"{np.count_nonzero(overlap >= 0.5)} of {len(truth)} with a tIoU of 0.5 or more"
            about = (index, name, ", ".join(dict.fromkeys(names)), "", float(overlap.mean()), 0.0, False)
            drawing = _timeline(truth, extents, [row["score"] for row in found], source.videos[index].duration)
            yield Video(*about, frames=[drawing], detail=detail)


def _timeline(truth: NDArray[np.float64], found: NDArray[np.float64], scores: Sequence[float], duration: float) -> str:
    """Draw annotated and predicted segments, (n, 2) and (m, 2) in seconds, as an SVG image."""
    ends = [float(part.max()) for part in (truth, found) if part.size]
    end = max([*ends, duration] if duration > 0 else ends, default=1.0) or 1.0
    rows = [(20, "#0072B2", 1.0, segment) for segment in truth.tolist()]
    best = max(scores, default=1.0) or 1.0
    rows += [
        (56, "#D55E00", 0.12 + 0.6 * max(0.0, s / best), row) for s, row in zip(scores, found.tolist(), strict=True)
    ]
    bars = "".join(
        f'<rect x="{460 * start / end + 10:.1f}" y="{y}" width="{max(460 * (stop - start) / end, 1):.1f}" height="18" '
        f'fill="{color}" fill-opacity="{opacity:.2f}"/>'
        for y, color, opacity, (start, stop) in rows
    )
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 480 96" font-family="sans-serif" font-size="12" '
        f'fill="#555"><rect width="480" height="96" fill="#fff"/>{bars}<path d="M10 38.5h460M10 74.5h460" '
        'stroke="#bbb"/><text x="10" y="15">annotated</text><text x="10" y="51">predicted</text>'
        f'<text x="10" y="90">0</text><text x="470" y="90" text-anchor="end">{end:.4g} s</text></svg>'
    )
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"


def _add_frames(video: Video, source: Source, limit: int) -> None:
    """Decode frames of a video; without any, ``missing`` is the reason."""
    if not (0 <= video.id < len(source) and source.name(video.id) == video.path):
        video.missing = "the data of the config do not list this video at its place"
        return
    try:
        with source.open(video.id) as reader:
            last = reader.num_frames - 1
            middle = getattr(reader, "key_frame", None)
            span = round(reader.fps or 1.0) // 2 if middle is not None else 0
            places = [0.1 * last, 0.5 * last, 0.9 * last] if middle is None else [middle - span, middle, middle + span]
            images = reader.frames(np.clip(np.round(places), 0, last).astype(np.int64))
        if images.shape[-1] != 3:
            video.missing = "optical flow is not shown"
            return
        frames = [_data_uri(image) for image in images]
    except (UserError, OSError, ValueError, AttributeError, NotImplementedError) as error:
        video.missing = _first_line(error)
        return
    if sum(map(len, frames)) > limit:
        video.missing = f"left out: the images of the page would have more than {_LIMIT >> 20} MB"
        return
    video.frames = frames


def _data_uri(image: NDArray[np.uint8]) -> str:
    """Return a frame, uint8 (H, W, 3) RGB, as a small JPEG image."""
    import cv2
    import simplejpeg

    height, width = image.shape[:2]
    scale = min(_WIDTH / width, _HEIGHT / height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    jpeg = simplejpeg.encode_jpeg(np.ascontiguousarray(small), quality=_QUALITY, colorsubsampling="420")
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"


def _score(text: str) -> float:
    """Return a score of a table; ValueError if it is not a finite number."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is not a score")
    return value


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
