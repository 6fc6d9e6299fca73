"""Convert the detectors of mmaction2 for AVA: the region head, its training and its test settings."""

from __future__ import annotations

from typing import Any

from vexp.core.errors import ConfigError, UserError
from vexp.tools.mmaction2.result import ConversionResult
from vexp.tools.mmaction2.rules import Ignore, Map, Require, Rule, sets
from vexp.tools.mmaction2.tables import Section, all_of, apply_rules, required
from vexp.tools.mmaction2.tree import MappingNode, Node

#: Class of the detector.
DETECTOR = "FastRCNN"
#: Option of group model of a backbone -> that of the detector with it.
_OPTIONS = {"slowonly_r50": "slowonly_r50_ava", "slowfast_r50": "slowfast_r50_ava"}
_BUILT = "SlowOnly and SlowFast with a plain region head are built"
#: Parts of a region head that vexp does not have -> what they are.
_PARTS = {"FBOHead": "long-term feature banks (LFB)", "LFBInferHead": "long-term feature banks (LFB)",
          "ACRNHead": "ACRN"}  # fmt: skip


def is_detector(model: MappingNode) -> bool:
    """Whether the ``model`` of a config is a detector."""
    return model.text("type") == DETECTOR


def check_detector(model: MappingNode) -> None:
    """Check that the parts of a detector are among those that vexp has.

    Raises:
        UserError: If the detector is another one, with its name.
    """
    shared = model.get("roi_head", "shared_head")
    if shared is not None:
        name = shared.text("type")
        raise UserError(
            f"{shared.where}: refused: vexp has no {_PARTS.get(name, name or 'shared head')} for detectors; {_BUILT}"
        )
    backbone = model.get("backbone")
    name = model.text("backbone", "type")
    if name not in ("ResNet3dSlowOnly", "ResNet3dSlowFast"):
        where = (backbone or model).where
        raise UserError(f"{where}: refused: vexp has no detector with {name or 'this backbone'}; {_BUILT}")
    context = model.get("roi_head", "bbox_roi_extractor", "with_global")
    if context is not None and context.to_python():
        raise UserError(
            f"{context.where}: refused: vexp has no context of the whole frame (with_global) for detectors; {_BUILT}"
        )


def choose_detector(result: ConversionResult) -> None:
    """Replace the option of the recognizer by that of the detector."""
    result.choices["model"] = _OPTIONS[result.choices["model"]]
    result.choices["eval"] = "boxes"
    result.choices["loss"] = "bce"


@sets("/loss.alpha", "/loss.gamma")
def _focal(result: ConversionResult, node: Node, prefix: str) -> None:
    head: Any = result.config.get("model", "roi_head", "bbox_head")
    alpha, gamma = head.scalar("focal_alpha"), head.scalar("focal_gamma")
    alpha, gamma = 1.0 if alpha is None else float(alpha), 0.0 if gamma is None else float(gamma)
    if (alpha, gamma) == (1.0, 0.0):
        result.mark_default(node, "loss=bce")
        return
    result.choices["loss"] = "focal"
    key = "alpha" if node is head.get("focal_alpha") else "gamma"
    result.set(node, f"loss.{key}", alpha if key == "alpha" else gamma)
    for name, value, given in (("alpha", alpha, head.get("focal_alpha")), ("gamma", gamma, head.get("focal_gamma"))):
        if given is None:
            result.set_implied(f"loss.{name}", value, f"mmaction2's default of focal_{name}")


_POOLS = {"avg": "mean", "max": "max"}
EXTRACTOR = Section({
    "type": Require("SingleRoIExtractor3D", "the model of vexp has SingleRoIExtractor3D"),
    "roi_layer_type": Require("RoIAlign", "the model of vexp has RoIAlign"),
    "output_size": Map("roi_size", implied=16),
    **required(featmap_stride=16, sampling_ratio=0, pool_mode="avg", aligned=True, with_temporal_pool=True,
               with_global=False),
    "temporal_pool_mode": Map("temporal_pool", _POOLS.__getitem__, implied="mean"),
}, "model.")  # fmt: skip
HEAD = Section({
    "type": Require("BBoxHeadAVA", "the model of vexp has BBoxHeadAVA"),
    "in_channels": Ignore("the model's own"),
    "num_classes": Ignore("counted in data.label_map or the training list; mmaction2's output 0 is not used"),
    "multilabel": Require(True, "a box has any number of classes"),
    "dropout_ratio": Map("dropout", implied=0.0),
    "dropout_before_pool": Require(True, "the model of vexp has dropout before the pooling"),
    **required(temporal_pool_type="avg", spatial_pool_type="max", mlp_head=False),
    **all_of("focal_alpha focal_gamma", _focal),
    **all_of("topk", Ignore("eval.metrics measures")),
    "background_class": Require(True, "output 0 has no part in the loss"),
}, "model.")  # fmt: skip
ROI_HEAD = Section({
    "type": Require("AVARoIHead", "the model of vexp has AVARoIHead"),
    "bbox_roi_extractor": EXTRACTOR, "bbox_head": HEAD,
})  # fmt: skip


@sets("/data.assign_iou")
def _assigner(result: ConversionResult, node: Node, prefix: str) -> None:
    if not isinstance(node, MappingNode):
        raise ConfigError("is not an assigner")
    values = {node.scalar(key) for key in ("pos_iou_thr", "neg_iou_thr", "min_pos_iou")} - {None}
    if len(values) > 1:
        raise ConfigError("has several thresholds, vexp has one: data.assign_iou")
    for key, leaf in node.items.items():
        if key == "type":
            result.mark_default(leaf, "labels go to the boxes of most overlap")
        else:
            result.set(leaf, "data.assign_iou", leaf.to_python())


_SAMPLER = Ignore("all boxes with a label are trained on, the labeled ones among them")
RCNN_TRAIN = Section({
    "rcnn": Section({
        "assigner": _assigner,
        "sampler": Section(all_of("type num pos_fraction neg_pos_ub add_gt_as_proposals", _SAMPLER)),
        **all_of("pos_weight debug", Ignore("it has no effect on the loss")),
    }),
})  # fmt: skip
_THRESHOLD = Map("/model.action_thr", lambda value: 0.0 if value is None else value)
RCNN_TEST = Section({
    "rcnn": Section({"action_thr": _THRESHOLD}, otherwise=Ignore("no threshold of scores")),
})  # fmt: skip
#: Arguments of the ``model`` of a detector.
DETECTOR_MODEL: dict[str, Rule] = {
    "roi_head": ROI_HEAD, "train_cfg": RCNN_TRAIN, "test_cfg": RCNN_TEST,
    "_scope_": Ignore("classes are found by their names"),
}  # fmt: skip
#: ``val_evaluator`` of class AVAMetric (1.x).
AVA_METRIC: dict[str, Rule] = {
    "type": Ignore("eval=boxes"), "action_thr": _THRESHOLD,
    **all_of("ann_file label_file exclude_file custom_classes num_classes", Ignore("those of the data")),
    **all_of("options collect_device prefix", Ignore("the result is mAP@0.5IOU")),
}  # fmt: skip


def convert_detector(result: ConversionResult, model: MappingNode) -> None:
    """Convert the parts of a detector besides its backbone."""
    apply_rules(result, model, DETECTOR_MODEL, "model.")
    if result.generation and model.scalar("test_cfg", "rcnn", "action_thr") is None:
        result.set_implied("model.action_thr", 0.002, "the default of AVAMetric")
