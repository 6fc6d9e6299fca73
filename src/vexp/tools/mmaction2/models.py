"""Convert the ``model`` of a config: backbone, head and loss, mixup and CutMix, and normalization."""

from __future__ import annotations

import re
import shlex
from typing import Any

from vexp.core.errors import ConfigError, UserError
from vexp.tools.mmaction2.backbone_arguments import NOT_OURS, Family, is_image_model
from vexp.tools.mmaction2.backbones import BACKBONES, POSE_BACKBONES, WITH_TPN_NECK
from vexp.tools.mmaction2.datasets import MULTI_CLASS
from vexp.tools.mmaction2.detectors import DETECTOR_MODEL, choose_detector, convert_detector, is_detector
from vexp.tools.mmaction2.frame_backbones import IMAGE_LIBRARIES, WITH_TRN_HEAD, convert_image_model, convert_neck
from vexp.tools.mmaction2.initial_weights import init_cfg, weights_name
from vexp.tools.mmaction2.refused import nearest_model
from vexp.tools.mmaction2.result import ConversionResult, Value
from vexp.tools.mmaction2.rules import (
    INVALID,
    Function,
    Ignore,
    Map,
    Require,
    Rule,
    Unsupported,
    handled_elsewhere,
    number,
    sets,
)
from vexp.tools.mmaction2.tables import Section, all_of, apply, apply_rules, required, same
from vexp.tools.mmaction2.tree import MappingNode, Node, SequenceNode, check_known

# --- head and loss ---------------------------------------------------------------------------------------------------

#: Heads whose place the model's own classifier takes.
HEADS = ("TSNHead", "TSMHead", "I3DHead", "SlowFastHead", "X3DHead", "TimeSformerHead", "MViTHead", "UniFormerHead")
#: Beginning of an option of group model -> the only head that is its classifier.
_OWN_HEADS = {"trn": "TRNHead", "tpn": "TPNHead", "omni": "OmniHead"}


def _type(result: ConversionResult, node: Node, prefix: str) -> None:
    name, own = node.to_python(), _OWN_HEADS.get(result.choices["model"].partition("_")[0])
    if name == own or (own is None and name in HEADS):
        result.mark_unneeded(node, "the model's own classifier")
        return
    raise ConfigError(f"vexp has no {name}; its models end in one linear layer")


def _loss_weight(result: ConversionResult, node: Node, prefix: str) -> None:
    weight = number(node)
    if weight == 1:
        result.mark_default(node, "the only supported value")
    elif weight > 0:
        result.loss_weight = (weight, node)  # apply_loss_weight
    else:
        raise ConfigError(INVALID)


def apply_loss_weight(result: ConversionResult) -> None:
    """Move the weight of the loss into the optimizer: SGD takes the same steps with lr * w and weight_decay / w."""
    weight, node = result.loss_weight
    if node is None:
        return
    rates = [key for key in result.values if key.startswith("lr_policy.") and re.search(r"(min|max)_lr$", key)]
    if result.choices.get("optimizer") != "sgd" or any(result.values[key].value for key in rates):
        result.mark_unsupported(node, "vexp has no weight of the loss; only SGD without min_lr can make up for it")
        return
    for key, factor in (("optimizer.lr", weight), ("optimizer.weight_decay", 1 / weight),
                        ("grad.clip.max_norm", 1 / weight), ("grad.clip.max_value", 1 / weight)):  # fmt: skip
        given = result.values.get(key)
        if given is not None and isinstance(given.value, int | float):
            why = f"loss_weight={weight:g} is moved into the optimizer: the same steps"
            result.values[key] = Value(given.value * factor, given.node, why)
            for source in (node, given.node):
                if source is not None:
                    result.record(source, "carried", key, why)


LOSS: dict[str, Rule] = {
    "loss_weight": _loss_weight,
    "class_weight": Map("class_weights", lambda value: None if value is None else list(value)),
}
_LOSSES = {"CrossEntropyLoss": "cross_entropy", "BCELossWithLogits": "bce"}


def _loss(result: ConversionResult, node: Node, prefix: str) -> None:
    check_known(node)
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
        result.mark_unneeded(node, f"no effect in 0.x with one label per video; loss.label_smoothing={share} has one")
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
        raise ConfigError(f"only prob and score are supported; using {result.default(key)}")
    elif result.choices["model"] == "tsn_r50" and how == "prob":
        result.mark_unneeded(node, "TSN averages the logits, so average_clips='prob' has no effect")
    else:
        result.set(node, key, _REDUCTIONS[how])


def _like_the_backbone(result: ConversionResult, node: Node, prefix: str) -> None:
    """Check ``temporal_pool`` of TSM's head, which must be that of the backbone."""
    Require(result.config.scalar("model", "backbone", "temporal_pool") or False)(result, node, prefix)


#: Arguments of TRN's head.
_RELATIONS: dict[str, Rule] = {
    "relation_type": Map("multi_scale", {"TRN": False, "TRNMultiScale": True}.__getitem__, implied=True),
    "hidden_dim": Map("width", implied=256), "num_segments": Map("num_frames", implied=8),
}  # fmt: skip


#: Arguments of OmniHead.
_OMNI: dict[str, Rule] = {
    "image_classes": Map("image_classes"),
    "video_classes": Ignore("counted in the training list, or the lines of data.classes"),
    "image_dropout_ratio": Map("image_dropout", implied=0.2), "video_dropout_ratio": Map("dropout", implied=0.5),
    **required(video_nl_head=True),
}  # fmt: skip


@sets("weights.path")
def _init_cfg(result: ConversionResult, node: Node, prefix: str) -> None:
    """Convert ``init_cfg`` of a head: the classifier of the file of the backbone, which is then loaded as a whole."""
    path = f"{prefix}weights.path"
    if node.text("type") != "Pretrained":
        raise ConfigError("set model.init")
    if result.value(path) != weights_name(node.text("checkpoint")):
        raise ConfigError(f"a model has one weight file, {path}={result.value(path)}")
    result.revoke(f"{prefix}weights.prefix", "the classifier of the file is loaded as well", "needless")
    result.record(node, "carried", path, "the classifier of the file")


HEAD: dict[str, Rule] = {
    "type": _type, "loss_cls": _loss, "multi_class": MULTI_CLASS, "label_smooth_eps": _label_smoothing,
    "average_clips": _average_clips, "dropout_ratio": Map("dropout"), "init_std": Map("init_std"),
    "num_classes": Ignore("counted in the training list, or the lines of data.classes"),
    **all_of("in_channels spatial_type is_shift", Ignore("the model's own")),
    "consensus": Ignore("logits of frames are averaged"), **required(fc1_bias=False, with_cls_token=True),
    "temporal_pool": _like_the_backbone,
    "num_segments": Ignore("the frames of the clip, pipeline.*.sample"), "init_cfg": _init_cfg,
    "init_scale": handled_elsewhere,
    "channel_map": Map("weights.class_map"),
    "topk": Ignore("of training batches top-1 is shown; eval.topk is for evaluation"),
}  # fmt: skip


@sets("init_std")
def _init_scale(result: ConversionResult, node: Node, prefix: str) -> None:
    """Multiply the standard deviation of the classifier's initial weights by their scale."""
    key, scale = f"{prefix}init_std", number(node)
    std = result.value(key, result.default(key))
    if not isinstance(std, float):
        raise ConfigError(f"multiply {key} by it")
    result.values[key] = Value(std * scale, node, "init_std * init_scale")
    result.record(node, "carried", key, "init_std * init_scale")


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
    if "multi_scale" in own:
        rules |= _RELATIONS
    if "image_classes" in own:
        rules |= _OMNI
    apply_rules(result, head, rules, "model.", owner=f"{head.text('type')}'s ")
    if (scale := head.get("init_scale")) is not None:
        apply(result, _init_scale, scale, "model.")


def _fcn_test(result: ConversionResult, node: Node, prefix: str) -> None:
    if node.to_python() and result.choices["model"].startswith("tpn"):
        result.mark_unneeded(node, "TPN pools all positions before its classifier: the scores are the same")
    else:
        Unsupported("not supported: test with crops (transform=three_crop)")(result, node, prefix)


#: ``test_cfg``, of the root or of the model (0.x): how views become one score.
TEST_CFG = Section({
    "average_clips": _average_clips,
    "max_testing_views": Map("/eval.max_views_per_forward"),
    "feature_extraction": Unsupported("vexp features run=RUN input=VIDEOS gives features"),
    "fcn_test": _fcn_test,
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
        apply_rules(result, node, {
            "type": Ignore("its alpha is set"),
            "num_classes": Ignore("counted in the training list"),
            "alpha": Map(BLENDINGS[kind], float, implied=0.2),
            "smoothing": Unsupported("set loss.label_smoothing", off=(None, 0, 0.0)),
        }, "blending.", owner=f"{kind}'s ")  # fmt: skip
    else:
        result.mark_unsupported(node, "supported: mixup and CutMix (blending=mixup_cutmix)")


# --- normalization ---------------------------------------------------------------------------------------------------


def _per_channel(key: str) -> Function:
    """Return the rule of a list of numbers, one per channel; 1.x repeats them for each of several stacked frames."""

    @sets(key)
    def rule(result: ConversionResult, node: Node, prefix: str) -> None:
        values = node.to_python()
        if not isinstance(values, list | tuple) or not all(isinstance(value, int | float) for value in values):
            raise ConfigError("is not a list of numbers")
        numbers = [float(value) for value in values]
        first = numbers[: result.channels]
        repeated = first * (len(numbers) // result.channels) == numbers
        result.set(node, f"{prefix}{key}", first if repeated else numbers)

    return rule


@sets("to_bgr")
def _to_rgb(result: ConversionResult, node: Node, prefix: str) -> None:
    if not node.to_python():
        result.mark_default(node, "decoders deliver RGB")
        return
    result.add_pitfall(node, (
        "to_rgb=True swaps the channels of frames that are RGB already, so the model sees BGR; carried over as "
        "img_norm.to_bgr=true, which gives the same numbers: set it to false if RGB was meant"
    ))  # fmt: skip
    result.set(node, "img_norm.to_bgr", True, "see the pitfalls")


_STATISTICS: dict[str, Rule] = {"mean": _per_channel("mean"), "std": _per_channel("std")}
#: Arguments of ``Normalize`` (0.x) and of ``ActionDataPreprocessor`` (1.x).
NORMALIZE: dict[str, Rule] = {**_STATISTICS, **same("to_bgr adjust_magnitude")}
PREPROCESSOR: dict[str, Rule] = {
    **all_of("type _scope_", Ignore("img_norm does it, on the device")), **_STATISTICS, "to_rgb": _to_rgb,
    "format_shape": Ignore("vexp formats the batch for the model"),
    "to_float32": Ignore("pixels become float32 on the device"),
}  # fmt: skip


def convert_preprocessor(result: ConversionResult, node: Node | None) -> None:
    """Convert ``data_preprocessor`` of 1.x: ActionDataPreprocessor."""
    if isinstance(node, MappingNode) and "preprocessors" in node.items:
        result.mark_unsupported(node, "only one preprocessor (img_norm) is supported")
    elif isinstance(node, MappingNode):
        apply_rules(result, node, PREPROCESSOR, "img_norm.")
        convert_blending(result, node.get("blending"))


# --- model -----------------------------------------------------------------------------------------------------------


def convert_model(result: ConversionResult, model: MappingNode, chosen: str | None) -> None:
    """Convert the ``model`` of a config; ``chosen`` is the option of group model that replaces that of the backbone.

    Raises:
        UserError: If vexp does not have the backbone and no option is chosen.
    """
    backbone, name = model.get("backbone"), model.text("backbone", "type")
    if not isinstance(backbone, MappingNode) or not name:
        raise UserError(f"{model.where}: model has no backbone with a type; only recognition models can be imported")
    kind, neck = backbone.items["type"], model.get("neck")
    family = (POSE_BACKBONES if result.choices["data"] == "skeleton" else BACKBONES).get(name)
    if isinstance(neck, MappingNode) and neck.text("type") == "TPN":
        family = WITH_TPN_NECK.get(name, family)
    elif model.text("cls_head", "type") == "TRNHead":
        family = WITH_TRN_HEAD.get(name, family)
    if chosen is not None and (family is None or not family.has(chosen)):
        result.choose("model", chosen)
        other = {key: node for key, node in backbone.items.items() if key not in ("depth", "pretrained")}
        result.mark_unsupported(MappingNode(other, backbone.where), f"model={chosen} replaces {name}, as asked")
        result.frames = family is not None and family.frames
        if family is not None and result.frames and is_image_model(chosen) and "depth" in family.rules:
            kept = {key: family.rules[key] for key in ("depth", "pretrained")}  # the same image model
            apply_rules(result, backbone, kept, "model.")
        family = None
    elif (library := next((each for each in IMAGE_LIBRARIES if name.startswith(each)), None)) is not None:
        family = convert_image_model(result, kind, library, name.removeprefix(library))
    elif family is None:
        nearest = nearest_model(name, model.text("type"))
        raise UserError(
            f"{kind.where}: refused: vexp has no {name} (vexp models lists what there is); the nearest is {nearest}; "
            f"to take it all the same: vexp import {shlex.quote(str(result.config.where.file))} model={nearest}"
        )
    else:
        result.choose("model", family.option, kind, family.remark)
    result.frames = result.frames or is_image_model(result.choices["model"])
    if result.choices["model"] == "tsn_r50":
        why = "TSN's head averages the logits of all frames and crops"
        result.set_implied("eval.view_reduction", "mean_logit", why)
    if is_detector(model):
        choose_detector(result)
    if family is not None:
        apply_rules(result, backbone, family.rules, "model.", owner=f"{name}'s ")
        if isinstance(neck, MappingNode) and family.option.startswith("tpn"):
            convert_neck(result, neck)
        for key, value in family.values.items():
            result.set_implied(f"model.{key}", value, f"mmaction2's {name}")
        if chosen is not None:
            result.choices["model"] = chosen  # arch may have chosen another size
    head = model.get("cls_head")
    if head is not None and head.scalar() is None and not getattr(head, "unread", "no"):
        result.mark_unneeded(head, "the model here has its usual one")
        head = None
    if isinstance(head, MappingNode):
        convert_head(result, head, family)
    elif is_detector(model):
        convert_detector(result, model)
    elif family is not None and head is None:
        result.pitfalls.append((model.where, "model has no cls_head: the model here has its usual one"))
    apply_rules(
        result, model, {**MODEL, **dict.fromkeys(DETECTOR_MODEL, handled_elsewhere)} if is_detector(model) else MODEL
    )


def _train_cfg(result: ConversionResult, node: Node, prefix: str) -> None:
    check_known(node)
    if not isinstance(node, MappingNode) or not node.items:
        result.mark_unneeded(node, "it is empty")
    convert_blending(result, node.get("blending"))
    apply_rules(result, node, {"aux_info": Ignore("no model here asks for it")})


def _neck(result: ConversionResult, node: Node, prefix: str) -> None:
    if not result.choices["model"].startswith("tpn"):  # convert_neck
        Unsupported("vexp has the neck TPN on ResNetTSM and ResNet3dSlowOnly only")(result, node, prefix)


MODEL: dict[str, Rule] = {
    "type": Ignore("model= names the model"), "neck": _neck,
    "init_cfg": init_cfg,
    "train_cfg": _train_cfg, "test_cfg": TEST_CFG, "data_preprocessor": handled_elsewhere,
}  # fmt: skip
