"""An image of predicted segments: a time line per video, with a bar per segment in the color of its class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vexp.core.files import atomic_write
from vexp.core.log import escape_controls
from vexp.data.annotations.segments import Segment

_MAX_LABELS = 10  # colors


def draw_timeline(path: Path, videos: Sequence[tuple[str, float, Sequence[Segment]]], *, title: str) -> None:
    """Draw (name, duration in seconds, segments) of each video; the opacity of a bar is its score."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure  # not pyplot: no global state, no display

    figure = Figure(figsize=(11, 1.2 + 0.9 * len(videos)), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(videos), squeeze=False)[:, 0]
    labels = sorted({label for _, _, segments in videos for _, _, label, _ in segments})
    for one, (name, duration, segments) in zip(axes, videos, strict=True):
        lanes: list[float] = []  # end of the last segment of each row
        for start, end, label, score in sorted(segments):
            lane = next((i for i, last in enumerate(lanes) if last <= start), len(lanes))
            lanes[lane : lane + 1] = [end]
            color = f"C{labels.index(label) % _MAX_LABELS}"
            one.barh(-lane, end - start, left=start, height=0.8, color=color, alpha=0.25 + 0.75 * min(score, 1.0))
            text = f"{escape_controls(label)} {score:.2f}".strip()
            one.text(start, -lane, f" {text}", va="center", fontsize=7, clip_on=True, parse_math=False)
        one.set(xlim=(0, duration), ylim=(-max(len(lanes), 1) + 0.4, 0.6), yticks=[])
        one.set_ylabel(escape_controls(name), rotation=0, ha="right", va="center", fontsize=8, parse_math=False)
        one.tick_params(labelsize=7)
    axes[-1].set_xlabel("seconds")
    figure.suptitle(escape_controls(title), fontsize=10, parse_math=False)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png")
