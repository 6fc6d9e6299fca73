"""The ``cls_head`` of a model: loss, labels, how views become one score; and clips that are mixed."""

from __future__ import annotations

from vexp.core.errors import ConfigError
from vexp.tools.mmaction2.backbones import NOT_OURS, Family
from vexp.tools.mmaction2.datasets import multi_class
from vexp.tools.mmaction2.rules import ConversionResult, Ignore, Map, Require, Rule, Unsupported, apply, apply_rules
from vexp.tools.mmaction2.tree import MappingNode, Node, SequenceNode, to_python


def convert_head(result: ConversionResult, head: MappingNode, family: Family | None) -> None:
    usual = family.head if family is not None else {}
    own = result.options("model", result.choices["model"])
    rules: dict[str, Rule] = {
        "type": _usual,
        "num_classes": Ignore("counted in the training list, or the lines of data.classes"),
        "in_channels": Ignore("the model's own"),
        "spatial_type": Ignore("the model's own"),
        "consensus": Ignore("logits of frames are averaged"),
        "num_segments": Ignore("the frames of the clip, pipeline.*.sample"),
        "is_shift": Ignore("the model's own"),
        "temporal_pool": Require(False),
        "fc1_bias": Require(False),
        "loss_cls": _loss,
        "multi_class": multi_class,
        "label_smooth_eps": _label_smoothing,
        "average_clips": _average_clips,
        "topk": Ignore("of training batches top-1 is shown; eval.topk is for evaluation"),
        "init_cfg": Unsupported("set model.init"),
    }
    names = {"dropout_ratio": "dropout", "init_std": "init_std"}
    for theirs, here in names.items():
        if here in own:
            rules[theirs] = Map(here, implied=usual[here]) if here in usual else Map(here)
        else:
            rules[theirs] = NOT_OURS
    apply_rules(result, head, rules, "model.", owner=f"{head.text('type')}'s ")


#: Heads whose place the model's own classifier takes.
HEADS = ("TSNHead", "TSMHead", "I3DHead", "SlowFastHead", "X3DHead", "TimeSformerHead", "MViTHead")


def _usual(result: ConversionResult, node: Node, prefix: str) -> None:
    if to_python(node) in HEADS:
        result.mark_unneeded(node, "the model's own classifier")
        return
    result.add_pitfall(
        node, f"{to_python(node)} is not built: the model here ends in its usual classifier, which is another model"
    )
    result.mark_unsupported(
        node, "not built; the model's usual classifier is not the same, take another model with model=NAME"
    )


def _loss(result: ConversionResult, node: Node, prefix: str) -> None:
    if not isinstance(node, MappingNode):
        raise ConfigError("is not a loss; set loss=")
    kind, name = node.items.get("type"), node.text("type")
    options = {"CrossEntropyLoss": "cross_entropy", "BCELossWithLogits": "bce"}
    if kind is None or name not in options:
        raise ConfigError(f"{name or 'a loss without type'}: supported: cross_entropy and bce; set loss=")
    result.choose("loss", options[name], kind)
    rules: dict[str, Rule] = {
        "loss_weight": Require(
            1.0, "losses here weigh {0}: multiply optimizer.lr by it, divide weight_decay and grad.clip.max_norm"
        ),
        "class_weight": Map("class_weights", lambda value: None if value is None else list(value)),
    }
    apply_rules(result, node, rules, "loss.")


def _label_smoothing(result: ConversionResult, node: Node, prefix: str) -> None:
    share = to_python(node)
    if not share:
        result.mark_default(node, "none")
    elif result.generation == 0 and not result.config_value("model", "cls_head", "multi_class"):
        result.add_pitfall(
            node, "label_smooth_eps has no effect in mmaction2 0.x without multi_class=True; left out here"
        )
        result.mark_unsupported(
            node, f"has no effect in 0.x with one label per video; loss.label_smoothing={share} has"
        )
    elif result.choices.get("loss") == "bce":
        raise ConfigError("loss=bce does not support label smoothing; remove it")
    else:
        result.set(node, "loss.label_smoothing", share)


_REDUCTIONS = {"prob": "mean_prob", "score": "mean_logit"}


def _average_clips(result: ConversionResult, node: Node, prefix: str) -> None:
    how = to_python(node)
    if how is None:
        result.mark_default(node, "views are averaged all the same: eval.view_reduction")
    elif str(how) not in _REDUCTIONS:
        raise ConfigError(f"supported: prob and score; eval.view_reduction is {result.default('eval.view_reduction')}")
    elif result.choices["model"] == "tsn_r50" and how == "prob":
        result.record(
            node, "changed", "eval.view_reduction", "TSN's head averages logits before probabilities could be"
        )
    else:
        result.set(node, "eval.view_reduction", _REDUCTIONS[how])


def convert_test_cfg(result: ConversionResult, node: Node) -> None:
    """How views become one score (0.x)."""
    if not isinstance(node, MappingNode):
        result.mark_unneeded(node, "it is empty")
        return
    apply_rules(result, node, {
        "average_clips": _average_clips,
        "max_testing_views": Map("eval.max_views_per_forward"),
        "feature_extraction": Unsupported("vexp features run=RUN input=VIDEOS gives features"),
        "fcn_test": Unsupported("not built: test with crops (transform=three_crop)"),
    })  # fmt: skip


#: Classes that mix clips -> the alpha here.
_BLENDINGS = {"MixupBlending": "mixup_alpha", "CutmixBlending": "cutmix_alpha"}


def convert_blending(result: ConversionResult, table: MappingNode) -> None:
    """``blending`` of 0.x's model.train_cfg and of 1.x's data_preprocessor."""
    kind = table.text("type")
    several = table.get("augments")
    if kind == "RandomBatchAugment" and isinstance(several, SequenceNode | MappingNode):
        result.mark_unneeded(table.items["type"], "each batch takes one of those that are set")
        for inner in several.items if isinstance(several, SequenceNode) else [several]:
            if isinstance(inner, MappingNode):
                convert_blending(result, inner)
        if (probs := table.get("probs")) is not None:
            apply(
                result,
                Unsupported("each batch is mixed, by either of the two as often; see blending.probability"),
                probs,
            )
        return
    if kind not in _BLENDINGS:
        result.mark_unsupported(table, "supported: mixup and CutMix (blending=mixup_cutmix)")
        return
    apply_rules(result, table, {
        "type": Ignore("its alpha is set"),
        "num_classes": Ignore("counted in the training list"),
        "alpha": Map(_BLENDINGS[kind], float, implied=0.2 if kind == "MixupBlending" and result.generation == 0 else 1.0),
        "smoothing": Unsupported("set loss.label_smoothing", off=(None, 0, 0.0)),
    }, "blending.", owner=f"{kind}'s ")  # fmt: skip
