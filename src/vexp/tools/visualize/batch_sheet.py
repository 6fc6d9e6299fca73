"""The sheet of ``show batch``: train, val and test beside each other, then several draws of one sample, then blends."""

from __future__ import annotations

from collections.abc import Sequence

from vexp.data.batch.normalize import ImgNorm
from vexp.data.transforms.resample import FLOW_CHANNELS
from vexp.tools.visualize.batch_data import Blended, Crop, Draws, Shown
from vexp.tools.visualize.canvas import GREY, Canvas, colour_of, fitted
from vexp.tools.visualize.colors import as_levels, as_rgb
from vexp.tools.visualize.layout import MARGIN, header, on_frame

WIDTH, BETWEEN = 1500, 30
TILE, GAP = 100, 5


def batch_sheet(
    shown: Sequence[Shown], draws: Draws, blends: Blended | None, *, img_norm: ImgNorm, warnings: Sequence[str]
) -> Canvas:
    """The sheet of a batch of each split, of draws of one sample, and of the blended training batch if there is one."""
    sheet = Canvas(WIDTH)
    is_flow = len(img_norm.mean) == FLOW_CHANNELS
    given = "channels x and y" if is_flow else "channels 0, 1, 2 (B, G, R)" if img_norm.to_bgr else "channels R, G, B"
    under = (
        "left: a frame of the video and the crop of it (dashed: mirrored); upper line: de-normalised; lower line: as "
        f"the net gets it, {given}" + ("" if is_flow else " painted red, green, blue")
    )
    top = header(sheet, "batch", under, warnings, is_flow=is_flow)
    width = (WIDTH - 2 * MARGIN - BETWEEN * (len(shown) - 1)) / len(shown)
    bottom = top
    for column, one in enumerate(shown):
        bottom = max(bottom, _column(sheet, MARGIN + column * (width + BETWEEN), top, width, one))
    y = _draws(sheet, bottom + 4, draws)
    if blends is not None:
        _blends(sheet, y, blends)
    return sheet


def frames_of(columns: int) -> int:
    """How many frames of a clip have room beside each other."""
    return {1: 8, 2: 5}.get(columns, 3)


def _column(sheet: Canvas, x: float, y: float, width: float, shown: Shown) -> float:
    sheet.rule((x, y), (x + width, y))
    y += 8
    sheet.text(x, y, shown.split.title, width=width, size=13, bold=True)
    y += 24
    views = shown.samples[0].views
    text = f"{shown.size} samples" + (f" x {views} views" if views > 1 else "")
    values = f"{shown.low:.2f}..{shown.high:.2f}, mean {_mean(shown.mean)}, std {_mean(shown.std)}"
    y += sheet.paragraph(x, y, f"{text} · float32 {shown.shape}\n{values}", width=width, size=8.5, colour=GREY) + 8
    for sample in shown.samples:
        y = _sample(sheet, x, y, width, sample, shown)
    return y


def _sample(sheet: Canvas, x: float, y: float, width: float, sample: Crop, shown: Shown) -> float:
    words = ("mirrored · " if any(crop.mirrored for crop in sample.crops) else "") + sample.label
    label = sheet.text(x, y, words, width=width * 0.6, size=10, bold=True)
    rest = width - label - 10
    sheet.text(x + label + 10, y + 2, sample.name, width=rest, size=8, colour=GREY, keep_end=True)
    y, count = y + 20, len(sample.frames)
    left = int(width - frames_of(round(WIDTH / width)) * (TILE + GAP) - 8)
    low = on_frame(sheet, x, y, as_rgb(sample.source), sample.crops, left, 2 * TILE + GAP)
    bottom = y
    for line in (as_rgb(sample.frames), as_levels(sample.net, shown.low, shown.high)):
        top = bottom
        for number in range(count):
            picture = fitted(line[number], TILE, TILE)
            sheet.picture(x + left + 8 + number * (TILE + GAP), top, picture)
            bottom = max(bottom, top + picture.shape[0] + GAP)
    return max(bottom, low) + 12


def _draws(sheet: Canvas, y: float, draws: Draws) -> float:
    sheet.rule((MARGIN, y), (WIDTH - MARGIN, y))
    title = sheet.text(MARGIN, y + 8, f"{len(draws.crops)} draws of one training sample", width=600, size=13, bold=True)
    sheet.text(
        MARGIN + title + 12, y + 12, f"{draws.name} · the frame of each colour shows what its box cuts out",
        width=WIDTH - 2 * MARGIN - title - 12, size=9, colour=GREY,
    )  # fmt: skip
    y += 38
    bottom = on_frame(sheet, MARGIN, y, as_rgb(draws.source), draws.crops, 250, 2 * TILE)
    x = MARGIN + 250 + 24.0
    side = min(128, int((WIDTH - MARGIN - x) / len(draws.frames)) - 12)
    for number, (frame, crop, label) in enumerate(zip(draws.frames, draws.crops, draws.labels, strict=True)):
        tile = fitted(as_rgb(frame), side, side)
        sheet.picture(x, y, tile, colour=colour_of(number))
        words = f"{number + 1}: {label}" + (" · mirrored" if crop.mirrored else "")
        height = sheet.paragraph(x, y + tile.shape[0] + 4, words, width=side, size=8, colour=GREY)
        bottom = max(bottom, y + tile.shape[0] + 4 + height)
        x += side + 12
    return bottom + 16


def _blends(sheet: Canvas, y: float, blends: Blended) -> None:
    sheet.rule((MARGIN, y), (WIDTH - MARGIN, y))
    title = sheet.text(MARGIN, y + 8, "the training batch blended", width=600, size=13, bold=True)
    sheet.text(MARGIN + title + 12, y + 12, blends.note, width=600, size=9, colour=GREY)
    side = min(160, (WIDTH - 2 * MARGIN) // len(blends.frames) - 12)
    for number, (frame, label) in enumerate(zip(blends.frames, blends.labels, strict=True)):
        x, tile = MARGIN + number * (side + 12), fitted(as_rgb(frame), side, side)
        sheet.picture(x, y + 38, tile)
        sheet.paragraph(x, y + 42 + tile.shape[0], label.replace(" + ", "\n"), width=side, size=8.5, colour=GREY)


def _mean(values: Sequence[float]) -> str:
    return "/".join(f"{value:.2f}" for value in values)
