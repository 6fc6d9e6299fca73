"""The sheet of ``show sampling``: videos as bars as long as they last, the frames of every clip as ticks on them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from vexp.tools.visualize.canvas import FAINT, GREY, PALE, Canvas, colour_of, fitted
from vexp.tools.visualize.colors import as_rgb
from vexp.tools.visualize.layout import MARGIN, header
from vexp.tools.visualize.samples import Video
from vexp.tools.visualize.sampling_data import Coverage, Sampled, share

WIDTH = 1400
_NAMES = 270  # pixels for what stands left of a bar
_LEFT = MARGIN + _NAMES + 16
_ROOM = WIDTH - MARGIN - _LEFT - 70
_MOST_LANES = 30
_THUMB = 82


def sampling_sheet(coverages: Sequence[Coverage], *, warnings: Sequence[str]) -> Canvas:
    """The sheet of the splits, below each other so that they can be compared."""
    sheet = Canvas(WIDTH)
    under = "every bar is a whole video; a line of ticks is a clip, its ticks are the frames that the net sees"
    y = header(sheet, "sampling", under, warnings)
    for coverage in coverages:
        sheet.rule((MARGIN, y), (WIDTH - MARGIN, y))
        y += 10
        width = sheet.text(MARGIN, y, coverage.split.title, width=WIDTH / 2, size=13, bold=True)
        x = MARGIN + width + 18
        sheet.text(x, y + 5, coverage.sampler, width=WIDTH - MARGIN - x, size=9, colour=GREY)
        y += 26
        y += sheet.paragraph(MARGIN, y, " · ".join(coverage.lines()), width=WIDTH - 2 * MARGIN, size=10) + 8
        for sampled in coverage.shown:
            y = _video(sheet, y, sampled, train=coverage.split.name == "train")
    return sheet


def _video(sheet: Canvas, y: float, sampled: Sampled, *, train: bool) -> float:
    video = sampled.video
    lanes = [(number, draw, clip) for number, draw in enumerate(sampled.draws) for clip in range(len(draw))]
    high = 12 if len(lanes) <= 12 else 7
    top = y
    sheet.text(MARGIN, y, video.name, width=_NAMES, size=9.5, bold=True, keep_end=True)
    y += 17
    y += sheet.paragraph(MARGIN, y, video.text(), width=_NAMES, size=8.5, colour=GREY)
    clips, length = sampled.draws[0].shape
    taken = f"{clips} clip{'s' * (clips != 1)} of {length} frame{'s' * (length != 1)}"
    taken += f" · {len(sampled.draws)} draws" * train
    y += sheet.paragraph(MARGIN, y, taken, width=_NAMES, size=8.5, colour=GREY)
    shown = lanes[:_MOST_LANES]
    _ruler(sheet, top, video)
    row = top + 16
    sheet.box(_LEFT, row, _ROOM, high * len(shown) + 4, colour=PALE, fill=True)
    scale = _ROOM / max(1, video.num_frames)
    for place, (number, draw, clip) in enumerate(shown):
        lane = row + 3 + high * place
        colour = colour_of(clip if len(draw) > 1 or not train else number)
        xs = [_LEFT + (frame + 0.5) * scale for frame in draw[clip].tolist()]
        sheet.rule((min(xs), lane + high / 2 - 1), (max(xs) + 0.1, lane + high / 2 - 1), colour=colour, line=1)
        sheet.ticks(xs, lane, high - 2, colour=colour)
        if high > 8 and clip == 0:
            text = f"{share(draw, video.num_frames):.0%}"
            sheet.text(_LEFT + _ROOM + 8, lane - 1, text, width=60, size=8, colour=GREY)
    row = max(row + high * len(shown) + 8, y + 2)
    if len(shown) < len(lanes):
        sheet.text(_LEFT, row, f"and {len(lanes) - len(shown)} more", width=_ROOM, size=8, colour=GREY)
        row += 16
    sheet.text(MARGIN, row, "frames of the first clip", width=_NAMES, size=8.5, colour=GREY, align="right")
    x = float(_LEFT)
    for frame, place in zip(as_rgb(sampled.thumbs), sampled.thumb_places, strict=True):
        tile = fitted(frame, _ROOM // 8 - 8, _THUMB)
        sheet.picture(x, row, tile)
        sheet.text(x, row + tile.shape[0] + 1, video.at(place), width=_ROOM / 8 - 8, size=7.5, colour=GREY)
        y = max(y, row + tile.shape[0] + 16)
        x += _ROOM / 8
    return y + 14


def _ruler(sheet: Canvas, y: float, video: Video) -> None:
    """Seconds over the bar, or frame numbers where no time is known."""
    whole = video.seconds if video.seconds is not None else float(video.num_frames)
    unit = " s" if video.seconds is not None else ""
    step = _nice(whole / 8)
    count = int(whole / step + 1e-9)
    for number in range(count + 1):
        x = _LEFT + _ROOM * number * step / whole
        sheet.rule((x, y + 11), (x, y + 16), colour=FAINT)
        sheet.text(x - 25, y - 4, f"{number * step:g}{unit}", width=50, size=7.5, colour=GREY, align="center")


def _nice(value: float) -> float:
    """1, 2 or 5 times a power of ten, at least ``value``."""
    power = 10.0 ** math.floor(math.log10(value)) if value > 0 else 1.0
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= value * (1 - 1e-9))
