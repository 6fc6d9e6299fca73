"""The sheet of ``vexp show batch``: one column per split, several draws of one sample, and a blended batch."""

from __future__ import annotations

from collections.abc import Sequence

from vexp.data.batch.normalize import ImgNorm
from vexp.data.transforms.resample import FLOW_CHANNELS
from vexp.tools.visualize import styles
from vexp.tools.visualize.batch_data import BatchSample, BatchSummary, BlendedBatch, SampleDraws
from vexp.tools.visualize.canvas import Canvas, fit_image
from vexp.tools.visualize.layout import MARGIN, draw_crops, draw_header
from vexp.tools.visualize.rgb_images import has_colors, input_to_rgb, to_rgb_image

WIDTH, COLUMN_GAP = 1500, 30
TILE, GAP = 100, 5


def batch_sheet(
    batches: Sequence[BatchSummary], draws: SampleDraws, blended: BlendedBatch | None, *, img_norm: ImgNorm,
    warnings: Sequence[str],
) -> Canvas:  # fmt: skip
    """Draw a batch of each split, several draws of one sample, and a blended training batch if there is one."""
    canvas = Canvas(WIDTH)
    channels = len(batches[0].mean)
    is_flow = channels == FLOW_CHANNELS
    order = "channels x and y" if is_flow else "channels 0, 1, 2 (B, G, R)" if img_norm.to_bgr else "channels R, G, B"
    subtitle = "left: a frame of the video and its crop (dashed: mirrored); upper row: denormalized; "
    subtitle += f"lower row: model input, {order}" + ("" if is_flow else " as red, green, blue")
    if not has_colors(channels):
        subtitle = (
            f"left: the skeletons and their crop (dashed: mirrored); rows: {channels} heat maps, one color each; "
        )
        subtitle += "lower row: brightened"
    top = draw_header(canvas, "batch", subtitle, warnings, is_flow=is_flow)
    width = (WIDTH - 2 * MARGIN - COLUMN_GAP * (len(batches) - 1)) / len(batches)
    lefts = [MARGIN + column * (width + COLUMN_GAP) for column in range(len(batches))]
    y = max(_column(canvas, left, top, width, batch) for left, batch in zip(lefts, batches, strict=True)) + 4
    y = _draws(canvas, y, draws)
    if blended is not None:
        _blended(canvas, y, blended)
    return canvas


def frames_per_sample(columns: int) -> int:
    """Return how many frames of a clip fit into a column."""
    return {1: 8, 2: 5}.get(columns, 3)


def _column(canvas: Canvas, x: float, y: float, width: float, batch: BatchSummary) -> float:
    canvas.line((x, y), (x + width, y))
    canvas.text(x, y + 8, batch.split.title, width, styles.HEADING)
    size = f"{batch.size} samples" + (f" x {batch.views} views" if batch.views > 1 else "")
    shown = (batch.mean, batch.std) if has_colors(len(batch.mean)) else ([max(batch.mean)], [max(batch.std)])
    mean, std = ("/".join(f"{value:.2f}" for value in values) for values in shown)
    statistics = f"{batch.low:.2f}..{batch.high:.2f}, mean {mean}, std {std}"
    y += 32
    y += canvas.paragraph(x, y, f"{size} · float32 {batch.shape}\n{statistics}", width, styles.SMALL) + 8
    for sample in batch.samples:
        y = _sample(canvas, x, y, width, sample, batch)
    return y


def _sample(canvas: Canvas, x: float, y: float, width: float, sample: BatchSample, batch: BatchSummary) -> float:
    mirrored = "mirrored · " if any(crop.is_mirror_image for crop in sample.crops) else ""
    label = canvas.text(x, y, mirrored + sample.label, width * 0.6, styles.NAME)
    canvas.text(x + label + 10, y + 2, sample.name, width - label - 10, styles.SMALL, keep_end=True)
    y += 20
    left = int(width - frames_per_sample(round(WIDTH / width)) * (TILE + GAP) - 8)
    frame_bottom = draw_crops(canvas, x, y, to_rgb_image(sample.source), sample.crops, (left, 2 * TILE + GAP))
    for row in (to_rgb_image(sample.frames), input_to_rgb(sample.model_input, batch.low, batch.high)):
        tiles = [fit_image(frame, TILE, TILE) for frame in row]
        for index, tile in enumerate(tiles):
            canvas.image(x + left + 8 + index * (TILE + GAP), y, tile)
        y += max(tile.shape[0] for tile in tiles) + GAP
    return max(y, frame_bottom) + 12


def _section(canvas: Canvas, y: float, title: str, note: str) -> None:
    canvas.line((MARGIN, y), (WIDTH - MARGIN, y))
    left = MARGIN + canvas.text(MARGIN, y + 8, title, 600, styles.HEADING) + 12
    canvas.text(left, y + 12, note, WIDTH - MARGIN - left, styles.NOTE)


def _draws(canvas: Canvas, y: float, draws: SampleDraws) -> float:
    note = f"{draws.name} · each color marks a crop and the frame that it produces"
    _section(canvas, y, f"{len(draws.crops)} draws of one training sample", note)
    y += 38
    bottom = draw_crops(canvas, MARGIN, y, to_rgb_image(draws.source), draws.crops, (250, 2 * TILE))
    x = MARGIN + 250 + 24.0
    side = min(128, int((WIDTH - MARGIN - x) / len(draws.frames)) - 12)
    for index, (frame, crop, label) in enumerate(zip(draws.frames, draws.crops, draws.labels, strict=True)):
        tile = fit_image(to_rgb_image(frame), side, side)
        canvas.image(x, y, tile, color=styles.indexed_color(index))
        caption_y = y + tile.shape[0] + 4
        text = f"{index + 1}: {label}" + (" · mirrored" if crop.is_mirror_image else "")
        bottom = max(bottom, caption_y + canvas.paragraph(x, caption_y, text, side, styles.CAPTION))
        x += side + 12
    return bottom + 16


def _blended(canvas: Canvas, y: float, blended: BlendedBatch) -> None:
    _section(canvas, y, "blended training batch", blended.note)
    side = min(160, (WIDTH - 2 * MARGIN) // len(blended.frames) - 12)
    for index, (frame, label) in enumerate(zip(blended.frames, blended.labels, strict=True)):
        x, tile = MARGIN + index * (side + 12), fit_image(to_rgb_image(frame), side, side)
        canvas.image(x, y + 38, tile)
        canvas.paragraph(x, y + 42 + tile.shape[0], label.replace(" + ", "\n"), side, styles.SMALL)
