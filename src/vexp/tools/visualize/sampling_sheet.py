"""The sheet of ``vexp show sampling``: videos as bars of their length, the frames of every clip as ticks on them."""

from __future__ import annotations

from collections.abc import Sequence

from vexp.tools.visualize import styles
from vexp.tools.visualize.canvas import Canvas, fit_image
from vexp.tools.visualize.layout import MARGIN, draw_header, draw_ruler
from vexp.tools.visualize.rgb_images import to_rgb_image
from vexp.tools.visualize.samples import format_step
from vexp.tools.visualize.sampling_data import THUMBNAILS, Coverage, SampledVideo, covered_fraction

WIDTH = 1400
_NAME_WIDTH = 270
_LEFT = MARGIN + _NAME_WIDTH + 16  # of the bars
_BAR_WIDTH = WIDTH - MARGIN - _LEFT - 70
_MAX_LANES = 30
_THUMBNAIL_HEIGHT = 82


def sampling_sheet(coverages: Sequence[Coverage], *, warnings: Sequence[str]) -> Canvas:
    """Draw the splits below each other."""
    canvas = Canvas(WIDTH)
    subtitle = "each bar is a video, each row of ticks a clip, and each tick a frame that the model receives"
    y = draw_header(canvas, "sampling", subtitle, warnings)
    for coverage in coverages:
        canvas.line((MARGIN, y), (WIDTH - MARGIN, y))
        x = MARGIN + canvas.text(MARGIN, y + 10, coverage.split.title, WIDTH / 2, styles.HEADING) + 18
        canvas.text(x, y + 15, format_step(coverage.sampler), WIDTH - MARGIN - x, styles.NOTE)
        y += 36
        y += canvas.paragraph(MARGIN, y, " · ".join(coverage.describe()), WIDTH - 2 * MARGIN, styles.BODY) + 8
        for sampled in coverage.shown:
            y = _video(canvas, y, sampled, is_train=coverage.split.name == "train")
    return canvas


def _video(canvas: Canvas, top: float, sampled: SampledVideo, *, is_train: bool) -> float:
    video = sampled.video
    canvas.text(MARGIN, top, video.name, _NAME_WIDTH, styles.NAME, keep_end=True)
    clips, length = sampled.draws[0].shape
    text = f"{clips} clip{'s' * (clips != 1)} of {length} frame{'s' * (length != 1)}"
    text += f" · {len(sampled.draws)} draws" * is_train
    y = top + 17
    for paragraph in (video.describe(), text):
        y += canvas.paragraph(MARGIN, y, paragraph, _NAME_WIDTH, styles.SMALL)
    length, unit = (video.num_frames, "") if video.seconds is None else (video.seconds, " s")
    draw_ruler(canvas, _LEFT, top, _BAR_WIDTH, length, unit)
    y = max(_lanes(canvas, top + 16, sampled, is_train=is_train), y + 2)
    return _thumbnails(canvas, y, sampled) + 14


def _lanes(canvas: Canvas, y: float, sampled: SampledVideo, *, is_train: bool) -> float:
    """Draw a row of ticks for each clip of each draw; return the y position below them."""
    num_frames = sampled.video.num_frames
    lanes = [(index, draw, clip) for index, draw in enumerate(sampled.draws) for clip in range(len(draw))]
    shown = lanes[:_MAX_LANES]
    height = 12 if len(lanes) <= 12 else 7
    canvas.box(_LEFT, y, _BAR_WIDTH, height * len(shown) + 4, color=styles.PALE, fill=True)
    scale = _BAR_WIDTH / max(1, num_frames)
    for lane, (index, draw, clip) in enumerate(shown):
        lane_y = y + 3 + height * lane
        color = styles.indexed_color(clip if len(draw) > 1 or not is_train else index)
        xs = [_LEFT + (frame + 0.5) * scale for frame in draw[clip].tolist()]
        middle = lane_y + height / 2 - 1
        canvas.line((min(xs), middle), (max(xs), middle), color=color)
        canvas.ticks(xs, lane_y, height - 2, color=color)
        if height > 8 and clip == 0:
            fraction = f"{covered_fraction(draw, num_frames):.0%}"
            canvas.text(_LEFT + _BAR_WIDTH + 8, lane_y - 1, fraction, 60, styles.CAPTION)
    y += height * len(shown) + 8
    if len(shown) < len(lanes):
        canvas.text(_LEFT, y, f"and {len(lanes) - len(shown)} more", _BAR_WIDTH, styles.CAPTION)
        y += 16
    return y


def _thumbnails(canvas: Canvas, y: float, sampled: SampledVideo) -> float:
    canvas.text(MARGIN, y, "frames of the first clip", _NAME_WIDTH, styles.SMALL, align="right")
    bottom, column = y, _BAR_WIDTH // THUMBNAILS
    for index, frame in enumerate(to_rgb_image(sampled.thumbnails)):
        tile = fit_image(frame, column - 8, _THUMBNAIL_HEIGHT)
        x, label = _LEFT + index * column, sampled.video.frame_label(sampled.thumbnail_indices[index])
        canvas.image(x, y, tile)
        canvas.text(x, y + tile.shape[0] + 1, label, column - 8, styles.CAPTION)
        bottom = max(bottom, y + tile.shape[0] + 16)
    return bottom
