"""The sheet of ``vexp show pipeline``: one row per stage with its description and its frames."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vexp.core.files import format_bytes
from vexp.data.batch.normalize import ImgNorm
from vexp.data.transforms.resample import FLOW_CHANNELS
from vexp.data.transforms.view import View
from vexp.tools.visualize.canvas import (
    CAPTION,
    INK,
    NAME,
    PALE,
    SMALL,
    Canvas,
    RGBImage,
    TextStyle,
    fit_image,
    indexed_color,
)
from vexp.tools.visualize.colors import input_to_rgb, to_rgb_image
from vexp.tools.visualize.layout import MARGIN, draw_crops, draw_header
from vexp.tools.visualize.pipeline_data import STRIP, PipelineStages, Stage
from vexp.tools.visualize.samples import evenly_spaced

WIDTH, TEXT_WIDTH = 1400, 320
TILE, GAP = 104, 7
_SMALL_TILE = 64  # of one of many views
_LEFT = MARGIN + TEXT_WIDTH + 20  # of the frame with crops
_FRAMES = _LEFT + TILE + GAP  # left edge of the frames


@dataclass(frozen=True, slots=True)
class _Row:
    """Text on the left, frames with captions on the right, and between them the video's frame with the crops."""

    name: str
    description: str
    notes: Sequence[str]
    frames: NDArray[np.uint8]
    captions: Sequence[str]
    source: RGBImage | None = None
    crops: Sequence[View] = ()


def pipeline_sheet(
    stages: PipelineStages, *, img_norm: ImgNorm, pathways: Mapping[str, int], warnings: Sequence[str]
) -> Canvas:
    """Draw one sample in all stages of its pipeline.

    Args:
        stages: The sample.
        img_norm: Normalization of the run.
        pathways: Frame stride of each pathway, for a model with several.
        warnings: Warnings to draw below the title.
    """
    canvas, video = Canvas(WIDTH), stages.video
    is_flow = stages.final.shape[-1] == FLOW_CHANNELS
    subtitle = f"sample {stages.index} · {video.name} · {stages.label}"
    y = draw_header(canvas, f"pipeline.{stages.split.title}", subtitle, warnings, is_flow=is_flow)
    order = "x, y of optical flow" if is_flow else "RGB"
    notes = [video.describe(), f"decoded to uint8, {order}, 0..255"]
    captions = [video.frame_label(index) for index in stages.frame_indices]
    y = _draw_row(canvas, y, _Row("video", "", notes, to_rgb_image(stages.frames), captions))
    y = _timeline(canvas, y, stages)
    chosen = evenly_spaced(stages.numbers.shape[1], STRIP)
    captions = [video.frame_label(int(stages.numbers[0, position])) for position in chosen]
    source = to_rgb_image(stages.steps[0].strip)[0]
    for before, stage in zip([None, *stages.steps], stages.steps, strict=False):
        notes = _stage_notes(stage, order)
        if before is not None and np.array_equal(stage.strip, before.strip):
            notes.append("does not change this sample")
        crops_changed = before is not None and stage.crops != before.crops
        name = f"pipeline.{stages.split.name}.{stage.name}"
        y = _stage_row(canvas, y, name, stage, notes, captions, source if crops_changed else None)
    mean, largest = stages.difference
    difference = f"differs by {mean:.2g} grey levels on average, {largest} at most" if largest else "identical"
    notes = [*_stage_notes(stages.final, order), f"compared with the steps above: {difference}"]
    y = _stage_row(canvas, y, stages.final.name, stages.final, notes, captions, None)
    y = _draw_row(canvas, y, _input_row(stages, img_norm, captions))
    for name, stride in pathways.items():
        y = _draw_row(canvas, y, _pathway_row(stages, name, stride))
    return canvas


def _stage_notes(stage: Stage, order: str) -> list[str]:
    views, *shape = stage.shape
    return [
        (f"{views} views of " if views > 1 else "") + f"uint8 ({', '.join(map(str, shape))})  T H W C",
        f"{order} · {stage.low}..{stage.high} · {format_bytes(math.prod(stage.shape))}",
    ]


def _stage_row(
    canvas: Canvas, y: float, name: str, stage: Stage, notes: Sequence[str], captions: Sequence[str],
    source: RGBImage | None,
) -> float:  # fmt: skip
    frames = to_rgb_image(stage.strip)
    y = _draw_row(canvas, y, _Row(name, stage.description, notes, frames, captions, source, stage.crops))
    return _views(canvas, y - 6, stage) if len(stage.views) else y


def _views(canvas: Canvas, y: float, stage: Stage) -> float:
    """Draw the views of a sample, in one or more lines per crop."""
    views, crops = stage.shape[0], len(stage.crops)
    text = f"the middle frame of each of the {views} views" + (", one color per crop:" if crops > 1 else ":")
    canvas.text(_FRAMES, y, text, 600, CAPTION)
    x, y, below = float(_FRAMES), y + 20, y
    for index, frame in enumerate(to_rgb_image(stage.views)):
        tile = fit_image(frame, _SMALL_TILE, _SMALL_TILE)
        crop, clip = divmod(index, views // crops)
        if x + tile.shape[1] > WIDTH - MARGIN or (clip == 0 and index and views // crops > 2):
            x, y = float(_FRAMES), below
        canvas.image(x, y, tile, color=indexed_color(crop) if crops > 1 else None)
        x, below = x + tile.shape[1] + 7, y + tile.shape[0] + 7
    return below + 9


def _draw_row(canvas: Canvas, y: float, row: _Row) -> float:
    canvas.line((MARGIN, y), (WIDTH - MARGIN, y))
    top = y = y + 10
    y += canvas.paragraph(MARGIN, y, row.name, TEXT_WIDTH, NAME)
    if row.description:
        y += canvas.paragraph(MARGIN, y, row.description, TEXT_WIDTH, TextStyle(12, INK))
    for note in row.notes:
        y += canvas.paragraph(MARGIN, y, note, TEXT_WIDTH, SMALL)
    bottom = y
    if row.source is not None:
        frame_bottom = draw_crops(canvas, (_LEFT, top), row.source, row.crops, (TILE, TILE))
        canvas.text(_LEFT, frame_bottom + 2, "crops of the video", TILE, CAPTION)
        bottom = max(bottom, frame_bottom + 18)
    for index, (frame, caption) in enumerate(zip(row.frames, row.captions, strict=True)):
        x, tile = _FRAMES + index * (TILE + GAP), fit_image(frame, TILE, TILE)
        canvas.image(x, top, tile)
        canvas.text(x, top + tile.shape[0] + 2, caption, TILE, CAPTION)
        bottom = max(bottom, top + tile.shape[0] + 18)
    return bottom + 12


def _timeline(canvas: Canvas, y: float, stages: PipelineStages) -> float:
    """Draw the positions of the clips in the video."""
    width, clips = WIDTH - MARGIN - _FRAMES, stages.numbers[:10]
    scale = width / stages.video.num_frames
    canvas.box(_FRAMES, y, width, 7 * len(clips) + 4, color=PALE, fill=True)
    for index, clip in enumerate(clips):
        canvas.ticks((_FRAMES + (clip + 0.5) * scale).tolist(), y + 3 + 7 * index, 5, color=indexed_color(index))
    canvas.text(MARGIN, y - 2, "positions of the clips in the video", TEXT_WIDTH, SMALL)
    return y + 7 * len(clips) + 18


def _input_row(stages: PipelineStages, img_norm: ImgNorm, captions: Sequence[str]) -> _Row:
    values, views = stages.model_input, stages.num_views
    low, high = float(values.min()), float(values.max())
    is_flow = len(values) == FLOW_CHANNELS
    channels = "xy" if is_flow else "BGR" if img_norm.to_bgr else "RGB"
    notes = [(f"each of {views} views: " if views > 1 else "") + f"float32 {values.shape}  C T H W"]
    for index, (name, plane) in enumerate(zip(channels, values, strict=True)):
        statistics = f"{plane.min():.2f}..{plane.max():.2f}, mean {plane.mean():.2f}, std {plane.std():.2f}"
        notes.append(f"channel {index} {name}: {statistics}")
    drawn = "x and y side by side" if is_flow else "channels as red, green, blue"
    notes.append(f"{format_bytes(values.nbytes * views)} · drawn: {low:.2f} as 0, {high:.2f} as 255; {drawn}")
    mean, std = ("[" + ", ".join(f"{value:g}" for value in channel) + "]" for channel in (img_norm.mean, img_norm.std))
    description = f"mean {mean}, std {std}" + (", to_bgr" * img_norm.to_bgr)
    frames = input_to_rgb(values, low, high)[evenly_spaced(values.shape[1], STRIP)]
    return _Row("img_norm: the model's input", description, notes, frames, captions)


def _pathway_row(stages: PipelineStages, name: str, stride: int) -> _Row:
    values = stages.model_input
    indices = range(0, values.shape[1], stride)
    chosen = [indices[position] for position in evenly_spaced(len(indices), STRIP)]
    frames = input_to_rgb(values, float(values.min()), float(values.max()))[chosen]
    notes = [f"{len(indices)} of {values.shape[1]} frames, " + (f"one in {stride}" if stride > 1 else "all")]
    captions = [stages.video.frame_label(int(stages.numbers[0, index])) for index in chosen]
    return _Row(f"{name} pathway", "", notes, frames, captions)
