"""The ``cls_head`` of a model: loss, labels and the reduction of views to one score; and mixup and CutMix."""

from __future__ import annotations

from typing import Any

from vexp.core.errors import ConfigError
from vexp.tools.mmaction2.backbones import NOT_OURS, Family
from vexp.tools.mmaction2.datasets import MULTI_CLASS
from vexp.tools.mmaction2.result import ConversionResult
from vexp.tools.mmaction2.rules import Ignore, Map, Require, Rule, Unsupported, sets
from vexp.tools.mmaction2.tables import Section, all_of, apply_rules
from vexp.tools.mmaction2.tree import MappingNode, Node, SequenceNode

#: Heads whose place the model's own classifier takes.
HEADS = ("TSNHead", "TSMHead", "I3DHead", "SlowFastHead", "X3DHead", "TimeSformerHead", "MViTHead")


def _type(result: ConversionResult, node: Node, prefix: str) -> None:
    name = node.to_python()
    if name in HEADS:
        result.mark_unneeded(node, "the model's own classifier")
        return
    what = f"{name} is not built: the model here ends in its usual classifier, which is another model"
    result.add_pitfall(node, what)
    other = "the model's usual classifier is not the same, take another model with model=NAME"
    result.mark_unsupported(node, f"not built; {other}")


LOSS: dict[str, Rule] = {
    "loss_weight": Require(
        1.0, "losses here weigh {0}: multiply optimizer.lr by it, divide weight_decay and grad.clip.max_norm"
    ),
    "class_weight": Map("class_weights", lambda value: None if value is None else list(value)),
}
_LOSSES = {"CrossEntropyLoss": "cross_entropy", "BCELossWithLogits": "bce"}


def _loss(result: ConversionResult, node: Node, prefix: str) -> None:
    if not isinstance(node, MappingNode):
        raise ConfigError("is not a loss; set loss=")
    name = node.text("type")
    if name not in _LOSSES:
        raise ConfigError(f"{name or 'a loss without type'}: supported: cross_entropy and bce; set loss=")
    result.choose("loss", _LOSSES[name], node.items["type"])
    apply_rules(result, node, LOSS, "loss.")


@sets("/loss.label_smoothing")
def _label_smoothing(result: ConversionResult, node: Node, prefix: str) -> None:
    share = node.to_python()
    if not share:
        result.mark_default(node, "none")
    elif result.generation == 0 and not result.config.scalar("model", "cls_head", "multi_class"):
        what = "label_smooth_eps has no effect in mmaction2 0.x without multi_class=True; left out here"
        result.add_pitfall(node, what)
        raise ConfigError(f"has no effect in 0.x with one label per video; loss.label_smoothing={share} has")
    elif result.choices.get("loss") == "bce":
        raise ConfigError("loss=bce does not support label smoothing; remove it")
    else:
        result.set(node, "loss.label_smoothing", share)


_REDUCTIONS = {"prob": "mean_prob", "score": "mean_logit"}


@sets("/eval.view_reduction")
def _average_clips(result: ConversionResult, node: Node, prefix: str) -> None:
    how: Any = node.to_python()
    key = "eval.view_reduction"
    if how is None:
        result.mark_default(node, f"views are averaged all the same: {key}")
    elif str(how) not in _REDUCTIONS:
        raise ConfigError(f"supported: prob and score; {key} is {result.default(key)}")
    elif result.choices["model"] == "tsn_r50" and how == "prob":
        result.record(node, "changed", key, "TSN's head averages logits before probabilities could be")
    else:
        result.set(node, key, _REDUCTIONS[how])


HEAD: dict[str, Rule] = {
    "type": _type,
    "num_classes": Ignore("counted in the training list, or the lines of data.classes"),
    **all_of("in_channels spatial_type is_shift", Ignore("the model's own")),
    "consensus": Ignore("logits of frames are averaged"),
    "num_segments": Ignore("the frames of the clip, pipeline.*.sample"),
    "temporal_pool": Require(False),
    "fc1_bias": Require(False),
    "loss_cls": _loss,
    "multi_class": MULTI_CLASS,
    "label_smooth_eps": _label_smoothing,
    "average_clips": _average_clips,
    "topk": Ignore("of training batches top-1 is shown; eval.topk is for evaluation"),
    "init_cfg": Unsupported("set model.init"),
    "dropout_ratio": Map("dropout"),
    "init_std": Map("init_std"),
}


def convert_head(result: ConversionResult, head: MappingNode, family: Family | None) -> None:
    """Convert the arguments of a head; dropout and initialization only if the model of vexp has them."""
    usual = family.head if family is not None else {}
    own = result.options("model", result.choices["model"])
    rules = dict(HEAD)
    for name, key in (("dropout_ratio", "dropout"), ("init_std", "init_std")):
        if key not in own:
            rules[name] = NOT_OURS
        elif key in usual:
            rules[name] = Map(key, implied=usual[key])
    apply_rules(result, head, rules, "model.", owner=f"{head.text('type')}'s ")


#: ``test_cfg``, of the root or of the model (0.x): how views become one score.
TEST_CFG = Section({
    "average_clips": _average_clips,
    "max_testing_views": Map("/eval.max_views_per_forward"),
    "feature_extraction": Unsupported("vexp features run=RUN input=VIDEOS gives features"),
    "fcn_test": Unsupported("not built: test with crops (transform=three_crop)"),
})  # fmt: skip
#: Classes that mix clips -> the alpha of vexp.
BLENDINGS = {"MixupBlending": "mixup_alpha", "CutmixBlending": "cutmix_alpha"}


def convert_blending(result: ConversionResult, node: Node | None) -> None:
    """Convert ``blending`` of 0.x's model.train_cfg and of 1.x's data_preprocessor."""
    if not isinstance(node, MappingNode):
        return
    kind, several = node.text("type"), node.get("augments")
    if kind == "RandomBatchAugment" and isinstance(several, SequenceNode | MappingNode):
        apply_rules(result, node, {
            "type": Ignore("each batch takes one of those that are set"),
            "probs": Unsupported("each batch is mixed, by either of the two as often; see blending.probability"),
        })  # fmt: skip
        for inner in several.items if isinstance(several, SequenceNode) else [several]:
            convert_blending(result, inner)
    elif kind in BLENDINGS:
        alpha = 0.2 if kind == "MixupBlending" and result.generation == 0 else 1.0
        apply_rules(result, node, {
            "type": Ignore("its alpha is set"),
            "num_classes": Ignore("counted in the training list"),
            "alpha": Map(BLENDINGS[kind], float, implied=alpha),
            "smoothing": Unsupported("set loss.label_smoothing", off=(None, 0, 0.0)),
        }, "blending.", owner=f"{kind}'s ")  # fmt: skip
    else:
        result.mark_unsupported(node, "supported: mixup and CutMix (blending=mixup_cutmix)")
