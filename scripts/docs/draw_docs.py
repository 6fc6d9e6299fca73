"""Draw docs/images/*.png of the explanation pages from vexp's own samplers, crops and learning-rate policies.

    python scripts/docs/draw_docs.py          draws all; a test fails while the numbers of a drawing are out of date

Each carries a checksum of the numbers that it shows, in its metadata (``Description``).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vexp.data.transforms.base import SpatialTransform
from vexp.data.transforms.crops import CenterCrop, MultiScaleCrop, RandomCrop, RandomResizedCrop, TenCrop, ThreeCrop
from vexp.data.transforms.frame_sampling import DenseSampleFrames, SampleFrames, Sampler, SegmentFrames
from vexp.data.transforms.resize import Resize
from vexp.data.transforms.view import View
from vexp.evaluation.detections import Detections
from vexp.evaluation.temporal import average_recall, match_segments, temporal_iou
from vexp.optim import lr_policy as lr

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

IMAGES = Path(__file__).resolve().parents[2] / "docs" / "images"
FRAMES = 300  # of the sampled video: 10 s at 30 fps
#: Annotated segments of a video (start, end in seconds), proposals with scores, and the thresholds of matching.
SEGMENTS = [[2.0, 8.0], [11.0, 14.0], [18.0, 26.0]]
PROPOSALS = [
    [2.3, 8.2, 0.9],
    [18.5, 23.5, 0.8],
    [9.0, 13.0, 0.7],
    [2.0, 7.0, 0.6],
    [11.2, 13.9, 0.4],
    [17.8, 26.4, 0.3],
]
MATCH_TIOUS = (0.5, 0.75)
EPOCHS, STEPS_PER_EPOCH, BASE_LR = 30, 20, 0.1
SOURCE = (340, 256)  # width and height of the cropped frame
INK, PALE = "#37474f", "#cfd8dc"
COLORS = ("#1565c0", "#c62828", "#2e7d32", "#ef6c00", "#6a1b9a", "#00838f", "#ad1457", "#4e342e", "#558b2f", "#283593")

#: Samplers in training: title, policy.
TRAIN: list[tuple[str, Sampler]] = [
    ("SampleFrames 16x4x1: one clip of 64 frames, anywhere", SampleFrames(clip_len=16, frame_interval=4)),
    ("SampleFrames 1x1x8: a frame of each eighth (TSN)", SampleFrames(clip_len=1, num_clips=8)),
    ("SampleFrames 8x4x4: a clip of each quarter", SampleFrames(clip_len=8, frame_interval=4, num_clips=4)),
    (
        "DenseSampleFrames 1x1x8: eight frames of one window of 64 (TSM, dense)",
        DenseSampleFrames(clip_len=1, num_clips=8),
    ),
    ("SegmentFrames 8: one clip of 8 frames spread over the video", SegmentFrames(segments=8)),
]
#: The same in test mode: title, policy, clips drawn on one line.
TEST: list[tuple[str, Sampler, int]] = [
    ("SampleFrames 16x4x1: the middle", SampleFrames(clip_len=16, frame_interval=4, test_mode=True), 1),
    (
        "SampleFrames 16x4x10: ten clips spread over the video",
        SampleFrames(clip_len=16, frame_interval=4, num_clips=10, test_mode=True),
        1,
    ),
    (
        "SampleFrames 1x1x8, twice_sample: eight centres, then eight first frames (TSM)",
        SampleFrames(clip_len=1, num_clips=8, twice_sample=True, test_mode=True),
        8,
    ),
    (
        "DenseSampleFrames 1x1x8: ten windows, eight frames of each",
        DenseSampleFrames(clip_len=1, num_clips=8, test_mode=True),
        8,
    ),
    ("SegmentFrames 8: the middles of the eighths", SegmentFrames(segments=8, test_mode=True), 1),
]
#: Videos of 40 frames, shorter than the 64 of a clip 16x4.
SHORT = [
    (f"out_of_bound_opt={option}", SampleFrames(clip_len=16, frame_interval=4, out_of_bound_opt=option))
    for option in ("loop", "repeat_last")
]
POLICIES: list[tuple[str, lr.WarmedPolicy]] = [
    ("fixed", lr.Fixed()),
    ("step", lr.Step()),
    ("exp", lr.Exp()),
    ("inv", lr.Inv(gamma=0.2)),
    ("poly, power=0.9", lr.Poly(power=0.9)),
    ("linear", lr.Linear()),
    ("cosine", lr.Cosine()),
    ("cosine, by_epoch=false", lr.Cosine(by_epoch=False)),
    ("flat_cosine", lr.FlatCosine(by_epoch=False)),
    ("cosine_restart, min_lr_ratio=0.1", lr.CosineRestart(by_epoch=False, min_lr_ratio=0.1)),
    ("one_cycle", lr.OneCycle()),
    ("cyclic, target_ratio=[10,1e-4]", lr.Cyclic(target_ratio=[10, 1e-4])),
]
WARMUPS: list[tuple[str, lr.WarmedPolicy]] = [
    (
        f"warmup={kind}",
        lr.Cosine(by_epoch=False, warmup=kind, warmup_iters=5, warmup_ratio=0.1, warmup_by_epoch=True),
    )
    for kind in ("constant", "linear", "exp")
]
#: Chains: a warm-up in epochs under drops, one phase after the other, two phases that overlap.
CHAINS: list[tuple[str, lr.WarmedPolicy]] = [
    (
        "linear to 5, step at 12, 24",
        lr.Chain(phases={"warmup": {"shape": "linear", "end": 5}, "drops": {"shape": "step", "step": [12, 24]}}),
    ),
    (
        "linear to 5, cosine from 5",
        lr.Chain(
            phases={
                "warmup": {"shape": "linear", "end": 5, "every_step": True},
                "cosine": {"shape": "cosine", "begin": 5, "every_step": True, "min_lr_ratio": 0.1},
            }
        ),
    ),
    (
        "cosine to 10, poly from 15",
        lr.Chain(
            phases={
                "first": {"shape": "cosine", "end": 10, "min_lr": 0.05},
                "last": {"shape": "poly", "begin": 15, "min_lr": 0.005},
            }
        ),
    ),
]
#: Crops of a frame of 340x256: title, the steps before and the crop itself, how many draws.
CROPS: list[tuple[str, Sequence[SpatialTransform], int]] = [
    ("RandomResizedCrop\narea_range=[0.08,1.0]", [RandomResizedCrop()], 6),
    ("RandomCrop\nsize=224", [RandomCrop(size=224)], 6),
    ("MultiScaleCrop\nscales=[1,.875,.75,.66]", [MultiScaleCrop(input_size=224, scales=[1.0, 0.875, 0.75, 0.66])], 6),
    ("CenterCrop\ncrop_size=224", [Resize(scale=[-1, 256]), CenterCrop(crop_size=224)], 1),
    ("ThreeCrop\ncrop_size=256: left, right, middle", [Resize(scale=[-1, 256]), ThreeCrop(crop_size=256)], 1),
    (
        "TenCrop\ncrop_size=224: these five, then mirrored",
        [Resize(scale=[-1, 256]), TenCrop(crop_size=224)],
        1,
    ),
]


@dataclass(frozen=True, slots=True)
class Drawing:
    """A drawing: ``numbers()`` computes with vexp what ``draw(numbers)`` draws."""

    numbers: Callable[[], Any]
    draw: Callable[[Any], Figure]

    def checksum(self) -> str:
        """Return the digest of the numbers, rounded to six digits."""
        return hashlib.sha256(json.dumps(_rounded(self.numbers())).encode()).hexdigest()[:16]


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(entry) for entry in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _train_samples() -> dict[str, Any]:
    """Return frame numbers: title -> draws x clips x clip_len."""
    return {
        title: [sampler.indices(FRAMES, np.random.default_rng(draw)).tolist() for draw in range(4)]
        for title, sampler in TRAIN
    }


def _test_samples() -> dict[str, Any]:
    """Return frame numbers: title -> rows x clips x clip_len."""
    shown = {}
    for title, sampler, clips_a_row in TEST:
        clips = sampler.indices(FRAMES, np.random.default_rng(0)).tolist()
        shown[title] = [clips[first : first + clips_a_row] for first in range(0, len(clips), clips_a_row)]
    return shown


def _draw_samples(numbers: dict[str, Any]) -> Figure:
    """Draw one panel per sampler, one time line per row of clips, one color per clip and one mark per frame."""
    rows = [len(lines) for lines in numbers.values()]
    figure = _figure(9, 0.3 + sum(0.62 + 0.16 * count for count in rows))
    panels = figure.subplots(len(numbers), 1, sharex=True, height_ratios=[3 + count for count in rows])
    for panel, (title, lines) in zip(panels, numbers.items(), strict=True):
        for y, clips in enumerate(lines):
            panel.plot([0, FRAMES - 1], [y, y], color=PALE, linewidth=1, zorder=0)
            for clip, color in zip(clips, COLORS, strict=False):
                panel.plot(clip, [y] * len(clip), "|", color=color, markersize=8, markeredgewidth=2)
        panel.set_title(title, loc="left", fontsize=10, color=INK)
        panel.set(yticks=[], xlim=(-2, FRAMES + 1), ylim=(len(lines) - 0.4, -0.6))
        panel.spines["left"].set_visible(False)
        _bare(panel)
    panels[-1].set_xlabel(f"frame of a video of {FRAMES}")
    return figure


def _short() -> dict[str, list[int]]:
    return {title: sampler.indices(40, np.random.default_rng(0))[0].tolist() for title, sampler in SHORT}


def _draw_short(numbers: dict[str, list[int]]) -> Figure:
    figure = _figure(9, 2.4)
    panels = figure.subplots(1, 2, sharey=True)
    for panel, (title, frames) in zip(panels, numbers.items(), strict=True):
        panel.axhspan(40, 64, color=PALE, alpha=0.5)
        panel.plot(frames, "o", color=COLORS[0], markersize=5)
        panel.set_title(title, fontsize=10, color=INK)
        panel.set(xlabel="place in the clip", ylim=(-3, 64))
        _bare(panel)
    panels[0].set_ylabel("frame of a video of 40")
    panels[0].text(0, 50, "no such frames", color=INK, fontsize=9)
    return figure


def _rates(policies: Sequence[tuple[str, lr.WarmedPolicy]], epochs: int = EPOCHS) -> dict[str, list[float]]:
    total = epochs * STEPS_PER_EPOCH
    return {
        title: [
            policy.lr_at(BASE_LR, step=step, steps_per_epoch=STEPS_PER_EPOCH, total_steps=total)
            for step in range(total)
        ]
        for title, policy in policies
    }


def _draw_rates(numbers: dict[str, list[float]]) -> Figure:
    columns = 3
    rows = -(-len(numbers) // columns)
    figure = _figure(10, 0.3 + 1.85 * rows)
    panels = figure.subplots(rows, columns, sharex=True, squeeze=False).flat
    for panel, (title, rates) in zip(panels, numbers.items(), strict=True):
        epochs = np.arange(len(rates)) / STEPS_PER_EPOCH
        panel.axhline(BASE_LR, color=PALE, linewidth=1)
        panel.step(epochs, rates, where="post", color=COLORS[0], linewidth=1.6)
        panel.set_title(title, fontsize=10, color=INK)
        panel.set_ylim(0, 1.08 * max(*rates, BASE_LR))
        _bare(panel)
    figure.supxlabel("epoch", fontsize=10, color=INK)
    figure.supylabel("learning rate, base 0.1", fontsize=10, color=INK)
    return figure


def _crops() -> dict[str, Any]:
    """Return boxes (x, y, width, height, mirrored) in a frame of 340x256: title -> boxes."""
    shown: dict[str, Any] = {}
    for title, steps, draws in CROPS:
        boxes = []
        for draw in range(draws):
            rng = np.random.default_rng(draw)
            views = [View.whole(*SOURCE)]
            for step in steps:
                views = step.plan(views, rng)
            boxes += [[*view.box, view.mirrored] for view in views]
        shown[title] = boxes
    return shown


def _draw_crops(numbers: dict[str, Any]) -> Figure:
    from matplotlib.patches import Rectangle

    figure = _figure(10, 5.4)
    for panel, (title, boxes) in zip(figure.subplots(2, 3).flat, numbers.items(), strict=True):
        panel.add_patch(Rectangle((0, 0), *SOURCE, facecolor="#eceff1", edgecolor=INK))
        for (x, y, width, height, mirrored), color in zip(boxes, COLORS, strict=False):
            if not mirrored:  # the mirrored crops of TenCrop have the same boxes
                panel.add_patch(Rectangle((x, y), width, height, fill=False, edgecolor=color, linewidth=1.8))
        panel.set_title(title, fontsize=10, color=INK)
        panel.set(xlim=(-6, SOURCE[0] + 6), ylim=(SOURCE[1] + 6, -6), aspect="equal")
        panel.axis("off")
    return figure


def _figure(width: float, height: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _bare(panel: Axes) -> None:
    panel.spines[["top", "right"]].set_visible(False)
    panel.tick_params(labelsize=8, colors=INK)
    panel.xaxis.label.set(color=INK, fontsize=9)
    panel.yaxis.label.set(color=INK, fontsize=9)


def _matches() -> dict[str, Any]:
    """Return segments, proposals with scores, which of them match at each threshold, precision, and recall."""
    video = np.zeros(3, np.int64)
    truth = Detections(video, np.array(SEGMENTS), np.zeros(3, np.int64), np.zeros(3))
    rows = np.array(PROPOSALS)
    found = Detections(np.zeros(len(rows), np.int64), rows[:, :2], np.zeros(len(rows), np.int64), rows[:, 2])
    matched = match_segments(truth, found, num_classes=1, thresholds=MATCH_TIOUS)
    curve = average_recall(truth, found, max_proposals=len(rows))
    return {
        "segments": SEGMENTS,
        "proposals": rows.tolist(),
        "iou": temporal_iou(truth.extent[:, None], found.extent).max(axis=0).tolist(),
        "is_hit": matched.is_hit.tolist(),
        "precision": matched.average_precision()[:, 0].tolist(),
        "number": curve.numbers.tolist(),
        "recall": curve.recall[[0, 5]].tolist(),
        "average_recall": curve.average_recall.tolist(),
        "auc": curve.auc,
    }


def _draw_matches(numbers: dict[str, Any]) -> Figure:
    """Draw segments and proposals on a time line, precision over recall, and recall over the number of proposals."""
    figure = _figure(9, 4.6)
    grid = figure.add_gridspec(2, 2, height_ratios=[3, 2])
    panel = figure.add_subplot(grid[0, :])
    for start, end in numbers["segments"]:
        panel.barh(0, end - start, left=start, height=0.7, color=INK)
    for row, ((start, end, score), iou, *hits) in enumerate(
        zip(numbers["proposals"], numbers["iou"], *numbers["is_hit"], strict=True), start=1
    ):
        color = {(True, True): COLORS[2], (True, False): COLORS[3], (False, True): COLORS[0]}.get(
            tuple(hits), COLORS[1]
        )
        panel.barh(row, end - start, left=start, height=0.6, color=color)
        panel.text(end + 0.3, row, f"{score:g}, IoU {iou:.2f}", va="center", fontsize=8, color=INK)
    panel.invert_yaxis()
    panel.set(yticks=[0, 3], xlim=(0, 30), xlabel="seconds")
    panel.set_yticklabels(["annotated", "proposals\nby score"])
    title = (
        "true positive at temporal IoU 0.5 and 0.75: green; only at 0.5: orange; only at 0.75: blue; at neither: red"
    )
    panel.set_title(title, loc="left", fontsize=10, color=INK)
    _bare(panel)
    left, right = figure.add_subplot(grid[1, 0]), figure.add_subplot(grid[1, 1])
    for index, (hits, value) in enumerate(zip(numbers["is_hit"], numbers["precision"], strict=True)):
        found = np.cumsum(hits)
        precision, recall = found / np.arange(1, len(hits) + 1), found / len(numbers["segments"])
        interpolated = np.maximum.accumulate(precision[::-1])[::-1]  # the highest at this or a higher recall
        label = f"IoU {MATCH_TIOUS[index]:g}: AP {value:.2f}"
        left.step([0, *recall], [interpolated[0], *interpolated], where="pre", color=COLORS[index], label=label)
    left.set(xlabel="recall", ylabel="interpolated precision", xlim=(0, 1.02), ylim=(0, 1.05))
    left.legend(fontsize=8)
    for index, recall in enumerate(numbers["recall"]):
        right.plot(numbers["number"], recall, color=COLORS[index], label=f"IoU {MATCH_TIOUS[index]:g}")
    right.plot(numbers["number"], numbers["average_recall"], color=INK, linewidth=2, label="average (AR)")
    right.fill_between(numbers["number"], numbers["average_recall"], color=PALE, alpha=0.6)
    right.set(xlabel="proposals per video (AN)", ylabel="recall", ylim=(0, 1.05), title=f"auc {numbers['auc']:.1f}")
    right.title.set(fontsize=9, color=INK)
    right.legend(fontsize=8)
    for each in (left, right):
        _bare(each)
    return figure


DRAWINGS: dict[str, Drawing] = {
    "sampling_train": Drawing(_train_samples, _draw_samples),
    "sampling_test": Drawing(_test_samples, _draw_samples),
    "sampling_short": Drawing(_short, _draw_short),
    "lr_policies": Drawing(lambda: _rates(POLICIES), _draw_rates),
    "lr_warmup": Drawing(lambda: _rates(WARMUPS), _draw_rates),
    "lr_chain": Drawing(lambda: _rates(CHAINS), _draw_rates),
    "segment_metrics": Drawing(_matches, _draw_matches),
    "crops": Drawing(_crops, _draw_crops),
}


def main() -> None:
    """Draw all of them."""
    for name, drawing in DRAWINGS.items():
        path = IMAGES / f"{name}.png"
        figure = drawing.draw(drawing.numbers())
        figure.savefig(path, metadata={"Description": drawing.checksum()})
        print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
