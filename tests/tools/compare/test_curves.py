"""The mean and the band over the runs of a setting."""

import json
import math

import numpy as np
import pytest
from matplotlib.figure import Figure
from support.run_folders import make_run

from vexp.tools.compare.comparison import Comparison
from vexp.tools.compare.config import Compare
from vexp.tools.compare.curves import COLORS, band, plot_curves
from vexp.tools.compare.metrics_file import Series
from vexp.tools.compare.runs import find_runs, read_runs

NAN = math.nan


def series(steps, values):
    return Series(np.array(steps), np.array(values, np.float64))


@pytest.mark.parametrize(
    ("runs", "steps", "mean", "low", "high", "std", "count"),
    [
        # equal steps
        ([([1, 2], [1, 5]), ([1, 2], [3, 5])], [1, 2], [2, 5], [1, 5], [3, 5], [math.sqrt(2), 0], [2, 2]),
        # a run counts between its first and its last step, interpolated
        ([([0, 4], [0, 4]), ([2, 6], [6, 6])], [0, 2, 4, 6], [0, 4, 5, 6], [0, 2, 4, 6], [0, 6, 6, 6],
         [NAN, math.sqrt(8), math.sqrt(2), NAN], [1, 2, 2, 1]),
        # values that are not finite do not count
        ([([1, 2], [NAN, 1]), ([1, 2], [math.inf, 3])], [1, 2], [NAN, 2], [NAN, 1], [NAN, 3],
         [NAN, math.sqrt(2)], [0, 2]),
        # one run, with a step that was evaluated twice
        ([([3, 1, 3], [1, 2, 1])], [1, 3], [2, 1], [2, 1], [2, 1], [NAN, NAN], [1, 1]),
    ],
)  # fmt: skip
def test_band(runs, steps, mean, low, high, std, count):
    found = band([series(*run) for run in runs], 100)
    for name, expected in {"steps": steps, "mean": mean, "low": low, "high": high, "std": std, "count": count}.items():
        np.testing.assert_allclose(getattr(found, name), expected, err_msg=name)


def test_band_keeps_evenly_spaced_steps():
    runs = [series(np.arange(1, 1002), np.full(1001, value)) for value in (1.0, 2.0)]
    found = band(runs, 11)
    assert found.steps.tolist() == list(range(1, 1002, 100))
    assert set(found.mean.tolist()) == {1.5}


def legend_of(comparison, path, monkeypatch):
    """The texts of the legend of curves.png."""
    figures, original = [], Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda figure, *a, **k: figures.append(figure) or original(figure, *a, **k))
    plot_curves(path, comparison)
    return [text.get_text() for legend in figures[-1].legends for text in legend.get_texts()]


def test_legend_has_every_setting_with_a_curve(tmp_path, monkeypatch):
    """Also one that has never been evaluated, or whose first run has not."""
    for name, optimizer, seed in (("a", "sgd", 0), ("b", "adamw", 0), ("c", "adamw", 1)):
        run = make_run(tmp_path / name, [f"optimizer={optimizer}", f"seed={seed}"])
        if name != "c":
            lines = (run / "metrics.jsonl").read_text().splitlines()
            kept = [line for line in lines if json.loads(line)["mode"] == "train"]
            (run / "metrics.jsonl").write_text("\n".join(kept) + "\n")
    comparison = Comparison(read_runs(find_runs([tmp_path]))[0], Compare())
    assert legend_of(comparison, tmp_path / "c.png", monkeypatch) == ["optimizer=adamw", "optimizer=sgd"]


def test_legend_counts_the_settings_without_a_color(tmp_path, monkeypatch):
    for number in range(len(COLORS) + 2):
        make_run(tmp_path / str(number), [f"optimizer.lr={number + 1}"], score=1 - number / 20)
    comparison = Comparison(read_runs(find_runs([tmp_path]))[0], Compare())
    texts = legend_of(comparison, tmp_path / "c.png", monkeypatch)
    assert texts[-1] == "2 other settings"
    assert len(texts) == len(COLORS) + 1
