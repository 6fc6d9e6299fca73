"""curves.png: written whatever there is to draw, and it shows what there is."""

import math

import pytest
from matplotlib.figure import Figure
from support.tables import default_lane_has

from vexp.tracking.curves import draw_curves


def train(step, **values):
    return {
        "mode": "train",
        "step": step,
        "epoch": 1,
        "lr": 0.1,
        "loss": 1.0,
        "top1_acc": 0.5,
        "time/step": 0.1,
    } | values


def val(step, **values):
    return {"mode": "val", "step": step, "epoch": 1, "top1_acc": 0.5, "top5_acc": 0.9, "loss": 1.1} | values


MANY = [record for step in range(1, 400) for record in ([train(step), val(step)] if step % 20 == 0 else [train(step)])]


@pytest.mark.parametrize(
    ("records", "lines"),
    default_lane_has(
        3,
        [
            ([], [[], [], []]),
            ([train(1)], [["train"], [], ["lr"]]),
            ([val(0)], [["val"], ["val top1_acc", "val top5_acc"], []]),
            ([train(1), val(1)], [["train", "val"], ["train top1_acc", "val top1_acc", "val top5_acc"], ["lr"]]),
            (MANY, [["train", "val"], ["train top1_acc", "val top1_acc", "val top5_acc"], ["lr"]]),
            ([train(1, **{"lr/head": 0.01}), train(2)], [["train"], [], ["lr", "lr/head"]]),
            (  # a group with the base rate has no line of its own, two groups with one rate have one
                [train(s, **{"lr/base": 0.1, "lr/stem": 0.2, "lr/norm": 0.2}) for s in (1, 2)],
                [["train"], [], ["lr", "lr/stem"]],
            ),
            (  # more than a legend can tell apart
                [train(s, **{f"lr/layer_{k}": 0.1 * 0.75**k for k in range(1, 27)}) for s in (1, 2)],
                [["train"], [], ["lr", "26 more", *["_"] * 25]],
            ),
            ([train(1, loss=math.nan), train(2, loss=math.inf), train(3)], [["train"], [], ["lr"]]),
            (
                [val(1, **{f"top{k}_acc": 0.5 for k in range(2, 9)})],
                [["val"], [f"val top{k}_acc" for k in (1, 5, 2, 3)], []],
            ),
        ],
    ),
    ids=[
        "nothing",
        "one step",
        "before training",
        "one of each",
        "many",
        "two groups",
        "equal groups",
        "many groups",
        "not finite",
        "metrics",
    ],
)
def test_draw_curves_has_lines_of_records(tmp_path, monkeypatch, records, lines):
    drawn = []
    real = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda self, path, **options: drawn.append(self) or real(self, path, **options)
    )
    draw_curves(tmp_path / "curves.png", records, title=r"motion $\lr$ 0.1")
    content = (tmp_path / "curves.png").read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    assert (int.from_bytes(content[16:20], "big"), int.from_bytes(content[20:24], "big")) == (1440, 432)
    (figure,) = drawn
    assert [[line.get_label() for line in panel.lines] for panel in figure.axes] == lines
    assert [panel.get_xlabel() for panel in figure.axes] == ["optimizer step"] * 3
    for line in (line for panel in figure.axes for line in panel.lines):
        assert len(line.get_xdata()) > 1 or line.get_marker() == "o"  # a single point is seen


def test_draw_curves_points_equal_records(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda self, path, **_: drawn.append(self) or path.touch())
    records = [train(10, loss=3.0), train(20, loss=2.0), val(20, loss=2.5), train(30, loss=1.0), val(30, loss=1.5)]
    draw_curves(tmp_path / "curves.png", records, title="run")
    points = [line.get_xydata().tolist() for line in drawn[0].axes[0].lines]
    assert points == [[[10, 3], [20, 2], [30, 1]], [[20, 2.5], [30, 1.5]]]
    assert drawn[0].get_suptitle() == "run"
