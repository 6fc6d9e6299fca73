"""The models: the ``model`` of a config, backbone and head."""

from __future__ import annotations

from vexp.core.errors import UserError
from vexp.tools.mmaction2.backbones import BACKBONES, Family
from vexp.tools.mmaction2.heads import convert_blending, convert_head, convert_test_cfg
from vexp.tools.mmaction2.rules import (
    ConversionResult,
    Ignore,
    Rule,
    Unsupported,
    apply,
    apply_rules,
    handled_elsewhere,
)
from vexp.tools.mmaction2.tree import MappingNode, Node, to_python
from vexp.tools.mmaction2.weights import init_cfg, weights

#: Prefixes of image models of other libraries, of which torchvision's are here.
_TORCHVISION_PREFIX = "torchvision."


def convert_model(result: ConversionResult, model: MappingNode, chosen: str | None) -> Family | None:
    """The ``model`` of a config.

    Args:
        chosen: the option that the user wants instead, ``model=NAME``; None: as the backbone says.

    Raises:
        UserError: a backbone that is not here and nothing chosen instead.
    """
    backbone = model.get("backbone")
    if not isinstance(backbone, MappingNode) or not backbone.text("type"):
        raise UserError(f"{model.where}: model has no backbone with a type; only recognition models can be imported")
    name = backbone.text("type")
    kind = backbone.items["type"]
    family = BACKBONES.get(name)
    if chosen is not None:
        result.choose("model", chosen)
        result.mark_unsupported(backbone, f"model={chosen} was asked for instead")
        family = None
    elif name.startswith(_TORCHVISION_PREFIX):
        family = Family("tsn_r50", {"pretrained": _named_weights(name)}, {"dropout": 0.4, "init_std": 0.01}, True)
        result.choose("model", family.option)
        result.set(kind, "model.backbone", name.removeprefix(_TORCHVISION_PREFIX))
    elif family is None:
        raise UserError(
            f"{kind.where}: {name} is not among the models of vexp (vexp models lists them); choose another, vexp import CONFIG.py model=NAME, or one of your own (plugins=)"
        )
    else:
        result.choose("model", family.option, kind, family.says)
        for key, value in family.values.items():
            result.set_implied(f"model.{key}", value, f"mmaction2's {name}")
    if result.choices["model"] == "tsn_r50":
        result.set_implied(
            "eval.view_reduction", "mean_logit", "TSN's head averages the logits of all frames and crops"
        )
    if family is not None:
        apply_rules(result, backbone, family.rules, "model.", owner=f"{name}'s ")
    head = model.get("cls_head")
    if isinstance(head, MappingNode):
        convert_head(result, head, family)
    elif family is not None and head is None:
        result.pitfalls.append((model.where, "model has no cls_head: the model here has its usual one"))
    for key, node in model.items.items():
        if key in _MODEL:
            apply(result, _MODEL[key], node)
    return family


def _named_weights(name: str) -> Rule:
    def rule(result: ConversionResult, node: Node, prefix: str) -> None:
        if to_python(node) is True:
            result.set(node, "model.weights.path", f"torchvision://{name.removeprefix(_TORCHVISION_PREFIX)}")
        else:
            weights(result, node, prefix)

    return rule


_MODEL: dict[str, Rule] = {
    "type": Ignore("model= says which model"),
    "neck": Unsupported("vexp's models have none"),
    "init_cfg": init_cfg,
    "train_cfg": lambda result, node, prefix: _convert_train_cfg(result, node),
    "test_cfg": lambda result, node, prefix: convert_test_cfg(result, node),
    "data_preprocessor": handled_elsewhere,  # read by vexp.tools.mmaction2.pipelines
}


def _convert_train_cfg(result: ConversionResult, node: Node) -> None:
    blending = node.get("blending") if isinstance(node, MappingNode) else None
    if isinstance(blending, MappingNode):
        convert_blending(result, blending)
    elif not isinstance(node, MappingNode) or not node.items:
        result.mark_unneeded(node, "it is empty")
    if isinstance(node, MappingNode) and "aux_info" in node.items:
        result.mark_unneeded(node.items["aux_info"], "no model here asks for it")
