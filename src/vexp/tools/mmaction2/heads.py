"""The ``cls_head`` of a model: loss, labels, how views become one score; and clips that are mixed."""

from __future__ import annotations

from vexp.tools.mmaction2.backbones import NOT_OURS, Family
from vexp.tools.mmaction2.datasets import multi_class
from vexp.tools.mmaction2.rules import ConversionResult, Ignore, Map, Require, Rule, Unsupported, apply, apply_rules
from vexp.tools.mmaction2.tree import MappingNode, Node, SequenceNode, plain


def convert_head(draft: ConversionResult, head: MappingNode, family: Family | None) -> None:
    usual = family.head if family is not None else {}
    own = draft.options("model", draft.choices["model"])
    rules: dict[str, Rule] = {
        "type": _usual,
        "num_classes": Ignore("counted in the training list, or the lines of data.classes"),
        "in_channels": Ignore("the net's own"),
        "spatial_type": Ignore("the net's own"),
        "consensus": Ignore("logits of frames are averaged"),
        "num_segments": Ignore("the frames of the clip, pipeline.*.sample"),
        "is_shift": Ignore("the net's own"),
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
    apply_rules(draft, head, rules, "model.", owner=f"{head.word('type')}'s ")


#: Heads whose place the net's own classifier takes.
HEADS = ("TSNHead", "TSMHead", "I3DHead", "SlowFastHead", "X3DHead", "TimeSformerHead", "MViTHead")


def _usual(draft: ConversionResult, node: Node, prefix: str) -> None:
    if plain(node) in HEADS:
        draft.drop(node, "the net's own classifier")
        return
    draft.trap(node, f"{plain(node)} is not built: the net here ends in its usual classifier, which is another model")
    draft.refuse(node, "not built; the net's usual classifier is not the same, take another net with model=NAME")


def _loss(draft: ConversionResult, node: Node, prefix: str) -> None:
    if not isinstance(node, MappingNode):
        raise ValueError("names no loss; set loss=")
    kind, name = node.items.get("type"), node.word("type")
    options = {"CrossEntropyLoss": "cross_entropy", "BCELossWithLogits": "bce"}
    if kind is None or name not in options:
        raise ValueError(f"{name or 'a loss without type'}: there are cross_entropy and bce here; set loss=")
    draft.choose("loss", options[name], kind)
    rules: dict[str, Rule] = {
        "loss_weight": Require(
            1.0, "losses here weigh {0}: multiply optimizer.lr by it, divide weight_decay and grad.clip.max_norm"
        ),
        "class_weight": Map("class_weights", lambda value: None if value is None else list(value)),
    }
    apply_rules(draft, node, rules, "loss.")


def _label_smoothing(draft: ConversionResult, node: Node, prefix: str) -> None:
    share = plain(node)
    if not share:
        draft.same(node, "none")
    elif draft.generation == 0 and not draft.config_word("model", "cls_head", "multi_class"):
        draft.trap(node, "label_smooth_eps has no effect in mmaction2 0.x without multi_class=True; left out here")
        draft.refuse(node, f"has no effect in 0.x with one label a video; loss.label_smoothing={share} has")
    elif draft.choices.get("loss") == "bce":
        raise ValueError("loss=bce smooths no labels; leave it out")
    else:
        draft.carry(node, "loss.label_smoothing", share)


_REDUCTIONS = {"prob": "mean_prob", "score": "mean_logit"}


def _average_clips(draft: ConversionResult, node: Node, prefix: str) -> None:
    how = plain(node)
    if how is None:
        draft.same(node, "views are averaged all the same: eval.view_reduction")
    elif how not in _REDUCTIONS:
        raise ValueError(f"there are prob and score; eval.view_reduction is {draft.default('eval.view_reduction')}")
    elif draft.choices["model"] == "tsn_r50" and how == "prob":
        draft.record(node, "changed", "eval.view_reduction", "TSN's head averages logits before probabilities could be")
    else:
        draft.carry(node, "eval.view_reduction", _REDUCTIONS[how])


def convert_test_cfg(draft: ConversionResult, node: Node) -> None:
    """How views become one score (0.x)."""
    if not isinstance(node, MappingNode):
        draft.drop(node, "nothing in it")
        return
    apply_rules(draft, node, {
        "average_clips": _average_clips,
        "max_testing_views": Map("eval.max_views_per_forward"),
        "feature_extraction": Unsupported("python -m vexp.cli.features run=RUN input=VIDEOS gives features"),
        "fcn_test": Unsupported("not built: test with crops (transform=three_crop)"),
    })  # fmt: skip


#: Classes that mix clips -> the alpha here.
_BLENDINGS = {"MixupBlending": "mixup_alpha", "CutmixBlending": "cutmix_alpha"}


def convert_blending(draft: ConversionResult, table: MappingNode) -> None:
    """``blending`` of 0.x's model.train_cfg and of 1.x's data_preprocessor."""
    kind = table.word("type")
    several = table.get("augments")
    if kind == "RandomBatchAugment" and isinstance(several, SequenceNode | MappingNode):
        draft.drop(table.items["type"], "each batch takes one of those that are set")
        for inner in several.items if isinstance(several, SequenceNode) else [several]:
            if isinstance(inner, MappingNode):
                convert_blending(draft, inner)
        if (probs := table.get("probs")) is not None:
            apply(
                draft,
                Unsupported("each batch is mixed, by either of the two as often; see blending.probability"),
                probs,
            )
        return
    if kind not in _BLENDINGS:
        draft.refuse(table, "there are mixup and CutMix here (blending=mixup_cutmix)")
        return
    apply_rules(draft, table, {
        "type": Ignore("its alpha is set"),
        "num_classes": Ignore("counted in the training list"),
        "alpha": Map(_BLENDINGS[kind], float, implied=0.2 if kind == "MixupBlending" and draft.generation == 0 else 1.0),
        "smoothing": Unsupported("set loss.label_smoothing", off=(None, 0, 0.0)),
    }, "blending.", owner=f"{kind}'s ")  # fmt: skip
