"""Options of eval: names of results, the metric of the best checkpoint, and whether greater is better."""

import pytest

from vexp import compose
from vexp.core.interval import Interval
from vexp.evaluation.config import Eval
from vexp.evaluation.metrics import METRICS, Metric


@pytest.mark.parametrize(
    ("values", "results"),
    [
        ({}, ["top1_acc", "top5_acc", "mean_class_accuracy", "loss"]),
        ({"topk": [1, 2, 10]}, ["top1_acc", "top2_acc", "top10_acc", "mean_class_accuracy", "loss"]),
        ({"metrics": ["mean_class_accuracy"]}, ["mean_class_accuracy", "loss"]),
        (
            {"metrics": ["mean_class_accuracy", "top_k_accuracy"]},
            ["mean_class_accuracy", "top1_acc", "top5_acc", "loss"],
        ),
        ({"metrics": []}, ["loss"]),  # the loss is always a result
        ({"topk": 3}, ["top3_acc", "mean_class_accuracy", "loss"]),
        (
            {"metrics": ["mean_average_precision", "mmit_mean_average_precision", "expected_calibration_error"]},
            ["mean_average_precision", "mmit_mean_average_precision", "expected_calibration_error", "loss"],
        ),
    ],
)
def test_results_and_default_best_metric_of_options(values, results):
    options = Eval(**values)
    assert options.results() == results
    assert options.best_metric() == results[0]  # save_best=auto chooses the first


@pytest.mark.parametrize(
    ("values", "metric", "greater"),
    [
        ({}, "top1_acc", True),
        ({"save_best": "top5_acc"}, "top5_acc", True),
        ({"save_best": "mean_class_accuracy"}, "mean_class_accuracy", True),
        ({"save_best": "loss"}, "loss", False),
        ({"metrics": []}, "loss", False),
        ({"metrics": ["expected_calibration_error"]}, "expected_calibration_error", False),
        ({"metrics": ["mean_average_precision"]}, "mean_average_precision", True),
        ({"save_best": "loss", "rule": "greater"}, "loss", True),  # an explicit rule has priority
        ({"save_best": "top1_acc", "rule": "less"}, "top1_acc", False),
        ({"save_best": None}, None, True),
    ],
)
def test_best_metric_and_rule_of_options(values, metric, greater):
    options = Eval(**values)
    assert options.best_metric() == metric
    assert options.greater_is_better() == greater


@pytest.mark.parametrize(
    ("name", "greater"),
    [
        ("top1_acc", True),
        ("mean_class_accuracy", True),
        ("balanced_accuracy", True),
        ("mean_average_precision", True),
        ("mAP@0.5IOU", True),
        ("recall_macro", True),
        ("F1", True),
        ("auc", True),
        ("Recall@100", True),  # mmcv overwrites the names that mmaction2 adds
        ("expected_calibration_error", False),
        ("val_loss", False),
        ("loss_top", False),
        ("top1_error", False),  # "error" has priority over "top1"
        ("errors", False),
        ("perplexity", None),
        ("rank", None),
        ("glossy", None),  # "loss" only counts as a whole word
    ],
)
def test_greater_is_better_by_name_of_result(monkeypatch, name, greater):
    monkeypatch.setitem(METRICS, "new", Metric(len, result=name))
    options = Eval()
    options.metrics, options.save_best = ["new"], name
    if greater is None:
        with pytest.raises(ValueError, match=f"save_best={name}: .*set eval.rule=greater or eval.rule=less"):
            options.greater_is_better()
        options.rule = "less"
        greater = False
    assert options.greater_is_better() == greater


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (
            {"save_best": "mAP"},
            r"results: top1.*\(eval.metrics=\[mean_average_precision\] gives mean_average_precision\)",
        ),
        ({"save_best": "mAP", "metrics": ["mean_average_precision"]}, r"; did you mean mean_average_precision\?"),
        ({"save_best": "expected_calibration_error"}, r"\(eval.metrics=\[expected_calibration_error\] gives"),
        ({"patience": 3, "save_best": None}, "patience=3: needs a metric to improve"),
        ({"patience": 0}, "patience=0: must be >= 1"),
        ({"topk": []}, r"topk=\[\]: must be a number >= 1 or a list"),
        ({"topk": [1, 1]}, r"topk=\[1,1\]: must not contain a number twice"),
        ({"topk": "5"}, "topk=5: must be a number"),
        ({"topk": True}, "topk=true: must be a number"),
        ({"metrics": ["top_k_accuracy", "AR@AN"]}, "AR@AN is of localization, .*use data=motion_segments"),
        (
            {"save_best": "mAP@0.5IOU"},
            "mAP@0.5IOU is of detection, but the data is for recognition; use data=motion_boxes",
        ),
        ({"save_best": "auc"}, "auc is of localization"),
        ({"metrics": ["top1_acc"]}, r"metrics=\[top1_acc\]: must be one of top_k_accuracy, mean_class_accuracy"),
        (
            {"save_best": "top1"},
            "save_best=top1: is not a result of eval.metrics; results: top1_acc, top5_acc, mean_class",
        ),
        ({"save_best": "top3_acc"}, "save_best=top3_acc: is not a result"),
        ({"save_best": "top1_acc", "metrics": ["mean_class_accuracy"]}, "results: mean_class_accuracy, loss"),
        ({"save_best": ""}, "save_best=: is not a result"),
        ({"rule": "more"}, "rule=more: must be one of greater, less"),
        ({"topk": [1, 0]}, r"topk=\[1,0\]: must be a number >= 1"),
        ({"interval": 0}, "interval=0: must be >= 1, or -1 for never"),
        ({"start": -1}, "start=-1: must be >= 0"),
        ({"view_reduction": "mean"}, "view_reduction=mean: must be one of mean_prob, mean_logit, max_prob"),
        ({"max_views_per_forward": 0}, "max_views_per_forward=0: must be >= 1"),
    ],
)
def test_eval_rejects_invalid_options(values, text):
    with pytest.raises(ValueError, match=text):
        Eval(**values).check_metrics("recognition")


@pytest.mark.parametrize("data", ["motion", "motion_segments", "motion_boxes"])
def test_eval_never_fits_every_task(data):
    """Its metrics, of recognition, are not computed."""
    config = compose([f"data={data}", "eval=never"])
    assert not config.eval.happens
    assert config.eval.results(config.data.task)[-1] == "loss"


def test_every_returns_interval_of_options():
    assert Eval(interval=2, by_epoch=False, start=3).every() == Interval(2, False, 3)
    assert Eval(interval=-1).every() == Interval(-1, True)


def test_topk_accepts_list_or_number():
    """YAML has no tuples; mmaction2 rejects a list."""
    assert compose(["eval.topk=[1,3]"]).eval.topk == [1, 3]
    assert compose(["eval.topk=3"]).eval.topk == [3]
