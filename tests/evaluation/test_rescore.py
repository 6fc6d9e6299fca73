"""Scoring of saved logits: equality with the evaluation, and bootstrap intervals."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from vexp.core.errors import UserError
from vexp.evaluation.config import Eval
from vexp.evaluation.predictions import Predictions, measure
from vexp.evaluation.rescore import bootstrap, rescore, rescore_into
from vexp.evaluation.view_logits import load_view_logits, save_view_logits
from vexp.evaluation.view_reduction import reduce_views

ALL = ["top_k_accuracy", "mean_class_accuracy", "expected_calibration_error", "mean_average_precision"]


def make_predictions(reduction="mean_prob", videos=600, multi_label=False):
    random = np.random.RandomState(0)
    labels = random.randint(0, 4, videos)
    logits = (random.randn(videos, 3, 4) + 1.5 * np.eye(4)[labels][:, None]).astype(np.float32)
    if multi_label:
        labels = (random.rand(videos, 4) < 0.4).astype(np.float32)
    scores = reduce_views(logits, reduction, multi_label=multi_label)
    return Predictions(ids=np.arange(videos) + 5, labels=labels, scores=scores, loss=0.75, views=3, view_logits=logits)


def save_and_load(path, predictions, options):
    save_view_logits(
        path, predictions, ["a", "b", "ü", "d"], [f"vidéo {i}.mp4" for i in predictions.ids],
        protocol={"split": "val", "views": "1 clip x 3 crops"}, options=options,
    )  # fmt: skip
    return load_view_logits(path)


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("reduction", ["mean_prob", "mean_logit", "max_prob"])
def test_rescore_equals_evaluation(tmp_path, reduction, multi_label):
    metrics = ["mean_average_precision", "mmit_mean_average_precision"] if multi_label else ALL
    options = Eval(view_reduction=reduction, metrics=metrics)
    loaded = save_and_load(tmp_path / "v.npz", make_predictions(multi_label=multi_label), options)  # of mean_prob
    again, direct = rescore(loaded, options), make_predictions(reduction, multi_label=multi_label)
    np.testing.assert_array_equal(again.scores, direct.scores)
    assert measure(again, options) == measure(direct, options)
    assert Eval(**loaded.options) == options
    assert (loaded.names[0], loaded.classes[2], again.views) == ("vidéo 5.mp4", "ü", 3)


def test_bootstrap_intervals_are_repeatable_and_contain_result():
    options = Eval(metrics=ALL)
    predictions = make_predictions()
    first, again = (bootstrap(predictions, options, resamples=200, seed=0) for _ in range(2))
    assert first == again != bootstrap(predictions, options, resamples=200, seed=1)
    results = measure(predictions, options)
    assert set(first) == set(results) - {"loss"}
    for name in ("top1_acc", "mean_class_accuracy", "mean_average_precision"):
        assert first[name].low < results[name] < first[name].high


def test_bootstrap_interval_matches_binomial_distribution():
    predictions = make_predictions()
    p = measure(predictions, Eval())["top1_acc"]
    interval = bootstrap(predictions, Eval(), resamples=4000, seed=0)["top1_acc"]
    half = 1.96 * np.sqrt(p * (1 - p) / 600)
    assert (interval.low, interval.high) == pytest.approx((p - half, p + half), abs=0.004)


def test_bootstrap_ignores_resamples_without_label():
    labels = np.zeros((3, 2), np.float32)
    labels[0, 0] = 1
    predictions = Predictions(ids=np.arange(3), labels=labels, scores=np.eye(3, 2), loss=0.1, views=1)
    options = Eval(metrics=["mean_average_precision"])
    interval = bootstrap(predictions, options, resamples=100, seed=0)["mean_average_precision"]
    assert (interval.low, interval.high) == (1.0, 1.0)


def test_rescore_into_reports_bootstrap_options(tmp_path):
    options = Eval(view_reduction="max_prob")
    loaded = save_and_load(tmp_path / "v.npz", make_predictions(videos=20), Eval())
    results, intervals = rescore_into(tmp_path / "out", loaded, options, source=tmp_path / "v.npz", resamples=50)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["metrics"] == results
    assert results["loss"] == 0.75
    assert report["bootstrap"] == {"confidence": 0.95, "resamples": 50, "seed": 0, "of": "videos"}
    assert report["intervals"]["top1_acc"] == {"low": intervals["top1_acc"].low, "high": intervals["top1_acc"].high}
    assert (report["view_reduction"], report["rescored_from"]) == ("max_prob", str(tmp_path / "v.npz"))
    assert "vidéo 5.mp4" in (tmp_path / "out" / "predictions.csv").read_text(encoding="utf-8")


def test_rescore_rejects_metrics_of_other_labels(tmp_path):
    loaded = save_and_load(tmp_path / "v.npz", make_predictions(multi_label=True), Eval())
    with pytest.raises(UserError, match=r"eval\.metrics: top_k_accuracy needs one label"):
        rescore(loaded, Eval(metrics=["top_k_accuracy"]))


@pytest.mark.parametrize(
    ("content", "text"),
    [(None, "no such file.*eval.save_view_logits=true"), (b"", "damaged"), (b"PK\x03\x04abc", "damaged"),
     (b"epochs: 3", "not a view_logits.npz of vexp, or damaged$")],
)  # fmt: skip
def test_load_view_logits_rejects_other_files(tmp_path, content, text):
    path = tmp_path / "v.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=text):
        load_view_logits(path)


def test_load_view_logits_rejects_incomplete_file(tmp_path):
    np.savez(tmp_path / "v.npz", logits=np.zeros(3))
    with pytest.raises(UserError, match="not a view_logits"):
        load_view_logits(tmp_path / "v.npz")


@pytest.mark.parametrize("shape", ["(2, -1, 3)", f"({2**70}, 2)", "'x'", "(__import__('os').system('touch PWNED'),)"])
def test_load_view_logits_rejects_header_of_odd_shape(tmp_path, monkeypatch, shape):
    monkeypatch.chdir(tmp_path)
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    with zipfile.ZipFile("v.npz", "w") as archive:
        archive.writestr("logits.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(64))
    with pytest.raises(UserError, match="not a view_logits"):
        load_view_logits(Path("v.npz"))
    assert not Path("PWNED").exists()


def test_load_view_logits_rejects_compressed_arrays(tmp_path):
    """A megabyte of an archive may hold a gigabyte of zeros."""
    np.savez_compressed(tmp_path / "v.npz", logits=np.zeros((2, 1, 3), np.float32))
    with pytest.raises(UserError, match="not a view_logits"):
        load_view_logits(tmp_path / "v.npz")
