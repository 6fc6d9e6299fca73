"""The sheet of ``vexp show pipeline``: one row per stage with its description and its frames."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from vexp.core.files import format_bytes
from vexp.data.batch.normalize import ImgNorm
from vexp.data.transforms.resample import FLOW_CHANNELS
from vexp.data.transforms.view import View
from vexp.tools.visualize import styles
from vexp.tools.visualize.canvas import Canvas, RGBImage, fit_image
from vexp.tools.visualize.layout import MARGIN, draw_crops, draw_header
from vexp.tools.visualize.pipeline_data import STRIP, PipelineStages, Stage
from vexp.tools.visualize.rgb_images import has_colors, input_to_rgb, to_rgb_image
from vexp.tools.visualize.samples import evenly_spaced

WIDTH, TEXT_WIDTH = 1400, 320
TILE, GAP = 104, 7
_SMALL_TILE = 64  # of one of many views
_LEFT = MARGIN + TEXT_WIDTH + 20  # of the frame with crops
_FRAMES = _LEFT + TILE + GAP  # left edge of the frames


def pipeline_sheet(
    stages: PipelineStages, *, img_norm: ImgNorm, pathways: Mapping[str, int], warnings: Sequence[str]
) -> Canvas:
    """Draw one sample in all stages; ``pathways`` holds the frame strides of a model with several pathways."""
    canvas, video, values = Canvas(WIDTH), stages.video, stages.model_input
    is_flow = len(values) == FLOW_CHANNELS
    subtitle = f"sample {stages.index} · {video.name} · {stages.label}"
    y = draw_header(canvas, f"pipeline.{stages.split.title}", subtitle, warnings, is_flow=is_flow)
    order = "x, y of optical flow" if is_flow else "RGB"
    decoded = f"decoded to uint8, {order}, 0..255" if has_colors(len(values)) else "a drawing of the skeletons"
    notes = [video.describe(), decoded]
    captions = [video.frame_label(index) for index in stages.frame_indices]
    y = _row(canvas, y, "video", "", notes, to_rgb_image(stages.frames), captions)
    y = _timeline(canvas, y, stages)
    frame_labels = [video.frame_label(number) for number in stages.numbers[0].tolist()]
    captions = [frame_labels[i] for i in evenly_spaced(len(frame_labels), STRIP)]
    source = to_rgb_image(stages.steps[0].strip)[0]
    for before, stage in zip([None, *stages.steps], stages.steps, strict=False):
        notes = _stage_notes(stage, order)
        if before is not None and np.array_equal(stage.strip, before.strip):
            notes.append("does not change this sample")
        crops_changed = before is not None and stage.crops != before.crops
        name = f"pipeline.{stages.split.name}.{stage.name}"
        y = _stage_row(canvas, y, name, stage, notes, captions, source if crops_changed else None)
    mean, largest = stages.difference
    difference = f"differs by {mean:.2g} grey levels on average, {largest:g} at most" if largest else "identical"
    notes = [*_stage_notes(stages.final, order), f"compared with the steps above: {difference}"]
    y = _stage_row(canvas, y, stages.final.name, stages.final, notes, captions)
    images = input_to_rgb(values, float(values.min()), float(values.max()))
    description, notes = _input_texts(stages, img_norm, is_flow=is_flow)
    images_shown = images[evenly_spaced(len(images), STRIP)]
    y = _row(canvas, y, "img_norm: the model's input", description, notes, images_shown, captions)
    for name, stride in pathways.items():
        indices = range(0, len(images), stride)
        chosen = [indices[i] for i in evenly_spaced(len(indices), STRIP)]
        notes = [f"{len(indices)} of {len(images)} frames, " + (f"one in {stride}" if stride > 1 else "all")]
        y = _row(canvas, y, f"{name} pathway", "", notes, images[chosen], [frame_labels[i] for i in chosen])
    return canvas


def _stage_notes(stage: Stage, order: str) -> list[str]:
    views, *shape = stage.shape
    size = math.prod(stage.shape) * (4 if stage.dtype == "float32" else 1)
    order = order if stage.dtype == "uint8" else "heat maps, drawn on the device"
    return [
        (f"{views} views of " if views > 1 else "") + f"{stage.dtype} ({', '.join(map(str, shape))})  T H W C",
        f"{order} · {stage.low:.3g}..{stage.high:.3g} · {format_bytes(size)}",
    ]


def _stage_row(
    canvas: Canvas, y: float, name: str, stage: Stage, notes: Sequence[str], captions: Sequence[str],
    source: RGBImage | None = None,
) -> float:  # fmt: skip
    y = _row(canvas, y, name, stage.description, notes, to_rgb_image(stage.strip), captions, source, stage.crops)
    if not len(stage.views):
        return y
    # The views, in one or more lines per crop.
    views, crops = stage.shape[0], len(stage.crops)
    text = f"the middle frame of each of the {views} views" + (", one color per crop:" if crops > 1 else ":")
    canvas.text(_FRAMES, y - 6, text, 600, styles.CAPTION)
    x, y, below = float(_FRAMES), y + 14, y
    for index, frame in enumerate(to_rgb_image(stage.views)):
        tile = fit_image(frame, _SMALL_TILE, _SMALL_TILE)
        crop, clip = divmod(index, views // crops)
        if x + tile.shape[1] > WIDTH - MARGIN or (clip == 0 and index and views // crops > 2):
            x, y = float(_FRAMES), below
        canvas.image(x, y, tile, color=styles.indexed_color(crop) if crops > 1 else None)
        x, below = x + tile.shape[1] + 7, y + tile.shape[0] + 7
    return below + 9


def _row(
    canvas: Canvas, y: float, name: str, description: str, notes: Sequence[str], frames: RGBImage,
    captions: Sequence[str], source: RGBImage | None = None, crops: Sequence[View] = (),
) -> float:  # fmt: skip
    """Draw text on the left, frames with captions on the right, and between them the video's frame with the crops."""
    canvas.line((MARGIN, y), (WIDTH - MARGIN, y))
    top = y = y + 10
    texts = [(name, styles.NAME), (description, styles.DESCRIPTION), *((note, styles.SMALL) for note in notes)]
    for text, style in texts:
        y += canvas.paragraph(MARGIN, y, text, TEXT_WIDTH, style) if text else 0
    bottom = y
    if source is not None:
        frame_bottom = draw_crops(canvas, _LEFT, top, source, crops, (TILE, TILE))
        canvas.text(_LEFT, frame_bottom + 2, "crops of the video", TILE, styles.CAPTION)
        bottom = max(bottom, frame_bottom + 18)
    for index, (frame, caption) in enumerate(zip(frames, captions, strict=True)):
        x, tile = _FRAMES + index * (TILE + GAP), fit_image(frame, TILE, TILE)
        canvas.image(x, top, tile)
        canvas.text(x, top + tile.shape[0] + 2, caption, TILE, styles.CAPTION)
        bottom = max(bottom, top + tile.shape[0] + 18)
    return bottom + 12


def _timeline(canvas: Canvas, y: float, stages: PipelineStages) -> float:
    """Draw the positions of the clips in the video."""
    width, clips = WIDTH - MARGIN - _FRAMES, stages.numbers[:10]
    scale = width / stages.video.num_frames
    canvas.box(_FRAMES, y, width, 7 * len(clips) + 4, color=styles.PALE, fill=True)
    for index, clip in enumerate(clips):
        xs = (_FRAMES + (clip + 0.5) * scale).tolist()
        canvas.ticks(xs, y + 3 + 7 * index, 5, color=styles.indexed_color(index))
    canvas.text(MARGIN, y - 2, "positions of the clips in the video", TEXT_WIDTH, styles.SMALL)
    return y + 7 * len(clips) + 18


def _input_texts(stages: PipelineStages, img_norm: ImgNorm, *, is_flow: bool) -> tuple[str, list[str]]:
    """Return the description of the normalization, and notes about the model's input."""
    values, views = stages.model_input, stages.num_views
    channels = "xy" if is_flow else "BGR" if img_norm.to_bgr else "RGB"
    notes = [(f"each of {views} views: " if views > 1 else "") + f"float32 {values.shape}  C T H W"]
    if not has_colors(len(values)):
        return "heat maps are not normalized", notes
    for index, (name, plane) in enumerate(zip(channels, values, strict=True)):
        statistics = f"{plane.min():.2f}..{plane.max():.2f}, mean {plane.mean():.2f}, std {plane.std():.2f}"
        notes.append(f"channel {index} {name}: {statistics}")
    drawn = f"{values.min():.2f} as 0, {values.max():.2f} as 255"
    channels_drawn = "x and y side by side" if is_flow else "channels as red, green, blue"
    notes.append(f"{format_bytes(values.nbytes * views)} · drawn: {drawn}; {channels_drawn}")
    mean, std = ("[" + ", ".join(f"{value:g}" for value in channel) + "]" for channel in (img_norm.mean, img_norm.std))
    return f"mean {mean}, std {std}" + (", to_bgr" * img_norm.to_bgr), notes
