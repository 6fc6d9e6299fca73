"""The sheet of ``vexp show sampling`` for temporal localization: segments and proposals on the time line of videos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vexp.core.errors import UserError
from vexp.data.annotations.segments import Segment, VideoSegments, read_segment_results
from vexp.data.batch.segments import SegmentSample
from vexp.data.sources.segments import FeatureSequence, SegmentSource
from vexp.evaluation.segments import RESULTS_FILE
from vexp.tools.visualize import styles
from vexp.tools.visualize.canvas import Canvas
from vexp.tools.visualize.layout import MARGIN, draw_header, draw_ruler
from vexp.tools.visualize.samples import Split

WIDTH = 1400
_NAME_WIDTH = 270
_LEFT = MARGIN + _NAME_WIDTH + 16  # of the bars
_BAR_WIDTH = WIDTH - MARGIN - _LEFT - 70
_LANE = 16  # pixels, height of a row of segments
_MAX_LANES = 6
_MAX_PROPOSALS = 12  # per video


@dataclass(frozen=True, slots=True)
class ShownVideo:
    """A video of the sheet."""

    name: str
    features: FeatureSequence
    duration: float  # seconds
    segments: list[Segment]
    parts: list[tuple[float, float]]  # start and end of the features that training epochs take, in seconds
    proposals: list[Segment] | None  # by descending score; None: none are given


def read_answers(path: Path) -> dict[str, VideoSegments]:
    """Read the results to be drawn: a file, or the one of the last evaluation of a run folder."""
    return read_segment_results(path / "eval" / RESULTS_FILE if path.is_dir() else path)


def shown_videos(split: Split, count: int, draws: int, answers: Mapping[str, VideoSegments] | None) -> list[ShownVideo]:
    """Load the first videos of a split whose features can be read.

    Raises:
        UserError: If the features of none of them can be read.
    """
    source = split.dataset.source
    shown: list[ShownVideo] = []
    errors: list[str] = []
    assert isinstance(source, SegmentSource)  # data options of the task
    for index in range(min(count, len(source))):
        try:
            features = source.load(index)
        except UserError as error:
            errors.append(f"{source.name(index)}: {error}")
            continue
        name, video = source.name(index), source.videos[index]
        parts: list[tuple[float, float]] = []
        for epoch in range(draws if split.dataset.training and source.crop is not None else 0):
            sample = split.dataset[(epoch, index)]
            assert isinstance(sample, SegmentSample)  # its features can be read
            parts.append((sample.origin, sample.origin + sample.features.shape[1] * sample.step))
        proposals = None
        if answers is not None and name in answers:
            proposals = sorted(answers[name].segments, key=lambda row: -row[3])[:_MAX_PROPOSALS]
        end = features.origin + len(features.values) * features.step
        duration = video.duration if video.duration > 0 else end
        shown.append(ShownVideo(name, features, duration, video.segments, parts, proposals))
    if not shown:
        raise UserError(f"data.{split.name}: the features of none of the first videos can be read: {errors[0]}")
    return shown


def segments_sheet(splits: Sequence[tuple[Split, list[ShownVideo]]], *, warnings: Sequence[str]) -> Canvas:
    """Draw the splits below each other."""
    canvas = Canvas(WIDTH)
    subtitle = "each bar is a video with its annotated segments, ticks are features, thin bars are proposals by score"
    y = draw_header(canvas, "sampling", subtitle, warnings)
    for split, videos in splits:
        canvas.line((MARGIN, y), (WIDTH - MARGIN, y))
        canvas.text(MARGIN, y + 10, split.title, WIDTH / 2, styles.HEADING)
        source = split.dataset.source
        assert isinstance(source, SegmentSource)
        y += 36
        y += canvas.paragraph(MARGIN, y, describe(source), WIDTH - 2 * MARGIN, styles.BODY) + 8
        for video in videos:
            y = _video(canvas, y, video, source.classes)
    return canvas


def describe(source: SegmentSource) -> str:
    """Return the numbers of videos, segments and classes, and the lengths of the segments."""
    rows = [row for video in source.videos for row in video.segments]
    lengths = np.array([end - start for start, end, *_ in rows])
    low, middle, high = (f"{value:.3g}" for value in np.quantile(lengths, [0.05, 0.5, 0.95]))
    return (
        f"{len(source)} videos · {len(rows)} segments of {len(source.classes)} classes · {low} to {high} s long "
        f"(5 % to 95 %), median {middle} s"
    )


def _video(canvas: Canvas, top: float, video: ShownVideo, classes: Sequence[str]) -> float:
    features = video.features
    canvas.text(MARGIN, top, video.name, _NAME_WIDTH, styles.NAME, keep_end=True)
    count, channels = features.values.shape
    text = f"{video.duration:.1f} s · {count} features of {channels} channels, {features.step:.3g} s apart"
    y = top + 17 + canvas.paragraph(MARGIN, top + 17, text, _NAME_WIDTH, styles.SMALL)
    draw_ruler(canvas, _LEFT, top, _BAR_WIDTH, video.duration, " s")
    scale, bar = _BAR_WIDTH / video.duration, top + 16
    lanes = stacked(video.segments)
    rows = min(_MAX_LANES, 1 + max(lanes, default=0))
    canvas.box(_LEFT, bar, _BAR_WIDTH, _LANE * rows + 10, color=styles.PALE, fill=True)
    for (start, end, label, _), lane in zip(video.segments, lanes, strict=True):
        if lane < rows:
            color = styles.indexed_color(classes.index(label))
            place = (_LEFT + start * scale, bar + 2 + _LANE * lane, max(2.0, (end - start) * scale), _LANE - 2)
            canvas.box(*place, color=color, fill=True)
            canvas.text(place[0] + 3, place[1] - 1, label, max(0.0, place[2] - 4), styles.ON_COLOR)
    times = features.origin + (np.arange(count) + 0.5) * features.step
    canvas.ticks([_LEFT + time * scale for time in times.tolist()], bar + _LANE * rows + 3, 6, color=styles.GREY)
    below = bar + _LANE * rows + 14
    for index, (start, end) in enumerate(video.parts):
        middle = below + 3
        ends = (_LEFT + max(0.0, start) * scale, _LEFT + min(end, video.duration) * scale)
        canvas.line((ends[0], middle), (ends[1], middle), color=styles.indexed_color(index))
        below += 6
    for start, end, label, score in video.proposals or ():
        color = styles.indexed_color(classes.index(label)) if label in classes else styles.GREY
        canvas.box(_LEFT + start * scale, below + 3, max(2.0, (end - start) * scale), 5, color=color, fill=True)
        canvas.text(_LEFT + _BAR_WIDTH + 8, below - 2, f"{score:.2f}", 60, styles.CAPTION)
        below += 12
    if video.proposals is not None and not video.proposals:
        canvas.text(_LEFT, below, "no proposals", _BAR_WIDTH, styles.CAPTION)
        below += 14
    return max(below, y) + 14


def stacked(segments: Sequence[Segment]) -> list[int]:
    """Return a row for each segment such that those of a row do not overlap."""
    ends: list[float] = []
    rows = [0] * len(segments)
    for index in sorted(range(len(segments)), key=lambda i: segments[i][:2]):
        start, end = segments[index][:2]
        row = next((i for i, last in enumerate(ends) if last <= start), len(ends))
        ends[row : row + 1] = [end]
        rows[index] = row
    return rows
