"""The sheet of ``show pipeline``: a row a stage, its facts beside its frames."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from vexp.core.files import format_bytes
from vexp.data.batch.normalize import ImgNorm
from vexp.data.transforms.resample import FLOW_CHANNELS
from vexp.data.transforms.view import View
from vexp.tools.visualize.canvas import GREY, INK, PALE, Canvas, Picture, colour_of, fitted
from vexp.tools.visualize.colors import as_levels, as_rgb
from vexp.tools.visualize.layout import MARGIN, header, on_frame
from vexp.tools.visualize.pipeline_data import STRIP, Stage, Stages
from vexp.tools.visualize.samples import evenly_spaced

WIDTH, FACTS = 1400, 320
TILE, GAP = 104, 7
_SMALL = 64  # of a frame of one of many views
_LEFT = MARGIN + FACTS + 20  # of the crops on the video's frame
_FRAMES = _LEFT + TILE + GAP  # of the strips


def pipeline_sheet(
    stages: Stages, *, img_norm: ImgNorm, pathways: Mapping[str, int], warnings: Sequence[str]
) -> Canvas:
    """The sheet of one sample.

    Args:
        stages: of the sample.
        img_norm: of the run.
        pathways: of a net with several, every so-manieth frame that each sees.
        warnings: to be said at the top.
    """
    sheet, video = Canvas(WIDTH), stages.video
    is_flow = stages.final.shape[-1] == FLOW_CHANNELS
    y = header(
        sheet, f"pipeline.{stages.split.title}",
        f"sample {stages.index} · {video.name} · {stages.label}", warnings, is_flow=is_flow,
    )  # fmt: skip
    order = "x, y of optical flow" if is_flow else "RGB"
    frames = as_rgb(stages.frames)
    facts = [video.text(), f"decoded to uint8, {order}, 0..255"]
    captions = [video.at(place) for place in stages.places]
    y = _row(sheet, y, "video", "", facts, frames, captions)
    y = _timeline(sheet, y, stages)
    chosen = evenly_spaced(stages.numbers.shape[1], STRIP)
    captions = [video.at(int(stages.numbers[0, place])) for place in chosen]
    before, whole = None, as_rgb(stages.steps[0].strip)[0]
    for stage in stages.steps:
        picture, notes = None, list[str]()
        if before is not None:
            if stage.crops != before.crops:
                picture = whole
            if np.array_equal(stage.strip, before.strip):
                notes = ["leaves this sample as it was"]
        y = _stage_row(sheet, y, stage, f"pipeline.{stages.split.name}.", order, captions, picture, notes)
        before = stage
    mean, most = stages.difference
    apart = f"differs from them by {mean:.2g} grey levels on average, {most} at most" if most else "the same to the bit"
    y = _stage_row(sheet, y, stages.final, "", order, captions, None, [f"held against the steps above: {apart}"])
    y = _net_row(sheet, y, stages, img_norm, captions)
    for name, stride in pathways.items():
        numbers = list(range(0, stages.net.shape[1], stride))
        y = _pathway_row(sheet, y, stages, name, stride, numbers)
    return sheet


def _stage_row(
    sheet: Canvas, y: float, stage: Stage, key: str, order: str, captions: Sequence[str], source: Picture | None,
    notes: Sequence[str] = (),
) -> float:  # fmt: skip
    views, length, height, width, channels = stage.shape
    facts = [
        (f"{views} views of " if views > 1 else "") + f"uint8 ({length}, {height}, {width}, {channels})  T H W C",
        f"{order} · {stage.low}..{stage.high} · {format_bytes(math.prod(stage.shape))}",
        *notes,
    ]
    name = f"{key}{stage.name}"
    y = _row(sheet, y, name, stage.does, facts, as_rgb(stage.strip), captions, source, stage.crops)
    return _views(sheet, y - 6, stage) if len(stage.views) else y


def _views(sheet: Canvas, y: float, stage: Stage) -> float:
    """The views of a sample, a line or more for each crop."""
    views, crops = stage.shape[0], len(stage.crops)
    text = f"the middle frame of each of the {views} views" + (", a colour a crop:" if crops > 1 else ":")
    sheet.text(_FRAMES, y, text, width=600, size=8, colour=GREY)
    x, y, below = float(_FRAMES), y + 20, y
    for number, frame in enumerate(as_rgb(stage.views)):
        tile = fitted(frame, _SMALL, _SMALL)
        crop, clip = divmod(number, views // crops)
        if x + tile.shape[1] > WIDTH - MARGIN or (clip == 0 and number and views // crops > 2):
            x, y = float(_FRAMES), below
        sheet.picture(x, y, tile, colour=colour_of(crop) if crops > 1 else None)
        x, below = x + tile.shape[1] + 7, y + tile.shape[0] + 7
    return below + 9


def _row(
    sheet: Canvas, y: float, name: str, does: str, facts: Sequence[str], frames: NDArray[np.uint8],
    captions: Sequence[str], source: Picture | None = None, crops: Sequence[View] = (),
) -> float:  # fmt: skip
    """Facts on the left, frames on the right, before them the video's frame with the crops on it."""
    sheet.rule((MARGIN, y), (WIDTH - MARGIN, y))
    top = y = y + 10
    y += sheet.paragraph(MARGIN, y, name, width=FACTS, size=11, bold=True)
    if does:
        y += sheet.paragraph(MARGIN, y, does, width=FACTS, size=8.5, colour=INK)
    for fact in facts:
        y += sheet.paragraph(MARGIN, y, fact, width=FACTS, size=8.5, colour=GREY)
    x, bottom = float(_LEFT), y
    if source is not None:
        low = on_frame(sheet, x, top, source, crops, TILE, TILE)
        sheet.text(x, low + 2, "on the video's frame", width=TILE, size=7.5, colour=GREY)
        bottom = max(bottom, low + 18)
    for frame, caption in zip(frames, captions, strict=True):
        x += TILE + GAP
        tile = fitted(frame, TILE, TILE)
        sheet.picture(x, top, tile)
        sheet.text(x, top + tile.shape[0] + 2, caption, width=TILE, size=7.5, colour=GREY)
        bottom = max(bottom, top + tile.shape[0] + 18)
    return bottom + 12


def _timeline(sheet: Canvas, y: float, stages: Stages) -> float:
    """Where in the video the clips lie, below its frames."""
    room, clips = WIDTH - MARGIN - _FRAMES, stages.numbers[:10]
    scale = room / stages.video.num_frames
    sheet.box(_FRAMES, y, room, 7 * len(clips) + 4, colour=PALE, fill=True)
    for number, clip in enumerate(clips):
        sheet.ticks((_FRAMES + (clip + 0.5) * scale).tolist(), y + 3 + 7 * number, 5, colour=colour_of(number))
    sheet.text(MARGIN, y - 2, "where the clips lie in it", width=FACTS, size=8.5, colour=GREY)
    return y + 7 * len(clips) + 18


def _net_row(sheet: Canvas, y: float, stages: Stages, img_norm: ImgNorm, captions: Sequence[str]) -> float:
    net = stages.net
    low, high = float(net.min()), float(net.max())
    is_flow = len(net) == FLOW_CHANNELS
    drawn = "x beside y" if is_flow else "channels as red, green, blue"
    names = "xy" if is_flow else "BGR" if img_norm.to_bgr else "RGB"
    facts = [
        f"{'each of ' + str(stages.views) + ' views: ' if stages.views > 1 else ''}float32 {net.shape}  C T H W",
        *(
            f"channel {number} {name}: {plane.min():.2f}..{plane.max():.2f}, mean {plane.mean():.2f}, "
            f"std {plane.std():.2f}"
            for number, (name, plane) in enumerate(zip(names, net, strict=True))
        ),
        f"{format_bytes(net.nbytes * stages.views)} · drawn: {low:.2f} black, {high:.2f} full; {drawn}",
    ]
    chosen = evenly_spaced(net.shape[1], STRIP)
    does = f"mean {_numbers(img_norm.mean)}, std {_numbers(img_norm.std)}" + (", to_bgr" * img_norm.to_bgr)
    return _row(sheet, y, "img_norm: the net's input", does, facts, as_levels(net, low, high)[chosen], captions)


def _pathway_row(sheet: Canvas, y: float, stages: Stages, name: str, stride: int, numbers: Sequence[int]) -> float:
    chosen = [numbers[place] for place in evenly_spaced(len(numbers), STRIP)]
    net = stages.net
    frames = as_levels(net, float(net.min()), float(net.max()))[chosen]
    clip = stages.numbers[0]
    facts = [f"{len(numbers)} of {net.shape[1]} frames, " + (f"one in {stride}" if stride > 1 else "all")]
    captions = [stages.video.at(int(clip[number])) for number in chosen]
    return _row(sheet, y, f"{name} pathway", "", facts, frames, captions)


def _numbers(values: Sequence[float]) -> str:
    return "[" + ", ".join(f"{value:g}" for value in values) + "]"
