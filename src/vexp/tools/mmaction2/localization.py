"""Convert the parts of a BMN config that recognition lacks: model, ActivityNetDataset, its pipeline and metric."""

from __future__ import annotations

from typing import Any

from vexp.core.errors import ConfigError
from vexp.tools.mmaction2.result import ConversionResult
from vexp.tools.mmaction2.rules import Ignore, Map, Rule, Unsupported, handled_elsewhere, sets
from vexp.tools.mmaction2.tables import all_of, apply_rules
from vexp.tools.mmaction2.tree import MappingNode, Node, SequenceNode, entries

MODEL = "BMN"
DATASET = "ActivityNetDataset"


@sets("/data.length", "/model.length")
def _length(result: ConversionResult, node: Node, prefix: str) -> None:
    for key in ("data.length", "model.length"):
        result.set(node, key, node.to_python())


@sets("/data.feature_dim", "/model.feature_dim")
def _feature_dim(result: ConversionResult, node: Node, prefix: str) -> None:
    for key in ("data.feature_dim", "model.feature_dim"):
        result.set(node, key, node.to_python())


def _interval(result: ConversionResult, node: Node, prefix: str) -> None:
    if node.to_python() != 16:
        raise ConfigError("the annotation says how many frames the features cover (feature_frame)")
    result.mark_default(node, "feature_frame of the annotation")


_WEIGHTS: dict[str, Rule] = {
    "type": Ignore("the loss of model=bmn"), "weight_pem_reg": Map("/loss.regression_weight"),
    "weight_pem_cls": Map("/loss.classification_weight"),
    "weight_tem": Unsupported("the loss of the boundaries has the weight 1", off=(1, 1.0)),
}  # fmt: skip
#: Arguments of ``BMN``.
BMN: dict[str, Rule] = {
    "type": handled_elsewhere, "temporal_dim": _length, "feat_dim": _feature_dim,
    "boundary_ratio": Map("boundary_ratio"), "num_samples": Map("num_samples"),
    "num_samples_per_bin": Map("num_samples_per_bin"), "soft_nms_alpha": Map("nms_alpha"),
    "soft_nms_low_threshold": Map("nms_low"), "soft_nms_high_threshold": Map("nms_high"),
    "post_process_top_k": Map("max_segments"), "hidden_dim_1d": Map("hidden_1d"), "hidden_dim_2d": Map("hidden_2d"),
    "hidden_dim_3d": Map("hidden_3d"), "feature_extraction_interval": _interval,
    "init_cfg": Unsupported("set model.init"), "data_preprocessor": Ignore("features are not normalized"),
    **all_of("train_cfg test_cfg", Ignore("it is empty")),
}  # fmt: skip


def convert_localizer(result: ConversionResult, model: MappingNode) -> None:
    """Convert ``model = dict(type='BMN', ...)``."""
    result.choose("model", "bmn", model.items["type"])
    result.choices |= {"loss": "bmn", "eval": "proposals"}
    loss = model.get("loss_cls")
    apply_rules(result, loss, _WEIGHTS)
    apply_rules(result, model, {**BMN, "loss_cls": handled_elsewhere}, "model.")
    why = "mmaction2's rule"
    result.set_implied("model.last_bin", False, f"{why}: no proposal ends with the video")
    result.set_implied("loss.limit_ratio", False, f"{why} of drawing segments")


@sets("/data.features")
def _features(result: ConversionResult, node: Node, prefix: str) -> None:
    """Convert ``data_prefix``: text in 0.x, a dict in 1.x; all splits have their features in one folder here."""
    for leaf in node.items.values() if isinstance(node, MappingNode) else (node,):
        before, folder = result.values.get("data.features"), leaf.to_python()
        if before is None or before.value == folder:
            result.set(leaf, "data.features", folder)
        else:
            raise ConfigError("all splits have their features in one folder, data.features; put them into that one")


@sets("ann_file")
def _ann_file(result: ConversionResult, node: Node, prefix: str) -> None:
    result.set(node, f"{prefix}ann_file", node.to_python())


#: Arguments of ``ActivityNetDataset``, below ``data.SPLIT.`` of vexp.
SPLIT: dict[str, Rule] = {
    "type": handled_elsewhere, "pipeline": handled_elsewhere, "ann_file": _ann_file, "data_prefix": _features,
    "test_mode": Ignore("given by the split"),
}  # fmt: skip
_STEPS = {
    "LoadLocalizationFeature": "features are read by data=activitynet",
    "GenerateLocalizationLabels": "segments are those of the annotation",
    "Collect": "vexp makes the batch", "ToTensor": "vexp makes the batch", "ToDataContainer": "vexp makes the batch",
    "PackLocalizationInputs": "vexp makes the batch",
}  # fmt: skip


def convert_feature_dataset(result: ConversionResult, node: Node | None, split: str) -> None:
    """Convert an ``ActivityNetDataset`` with its pipeline."""
    if not isinstance(node, MappingNode):
        return
    result.record(node.items["type"], "carried", "data=activitynet")
    apply_rules(result, node, SPLIT, f"data.{split}.")
    pipeline = node.get("pipeline")
    for step in pipeline.items if isinstance(pipeline, SequenceNode) else ():
        name = step.text("type")
        if name in _STEPS:
            result.mark_unneeded(step, _STEPS[name])
        else:
            result.mark_unsupported(step, "features have no transforms")


def _metric_names(value: Any) -> list[str]:
    names = list(value) if isinstance(value, list | tuple) else [str(value)]
    if any(name != "AR@AN" for name in names):
        raise ConfigError(f"{', '.join(map(str, names))}: proposals are measured by AR@AN; set eval.metrics")
    return ["AR@AN"]


#: Arguments of ``ANetMetric`` (1.x).
EVALUATOR: dict[str, Rule] = {
    "type": Ignore("eval.metrics names the metrics"), "metric_type": Map("/eval.metrics", _metric_names),
    "metric_options": Unsupported("has no options here"),
    "dump_config": Ignore("eval/proposals.json has the proposals in this format"),
    "collect_device": Ignore("handled by dist"), "prefix": Ignore("results are called val/... and test/..."),
}  # fmt: skip


def convert_anet_metric(result: ConversionResult, node: Node | None) -> None:
    """Convert ``ANetMetric``."""
    for entry in [node] if isinstance(node, MappingNode) else entries(node):
        if entry.text("type") == "ANetMetric":
            apply_rules(result, entry, EVALUATOR)
        else:
            result.mark_unsupported(entry, "only the metrics of eval.metrics are supported")
