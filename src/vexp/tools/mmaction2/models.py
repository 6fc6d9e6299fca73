"""Convert the ``model`` of a config: backbone, head and weights."""

from __future__ import annotations

from vexp.core.errors import UserError
from vexp.tools.mmaction2.backbones import BACKBONES, Family
from vexp.tools.mmaction2.heads import TEST_CFG, convert_blending, convert_head
from vexp.tools.mmaction2.result import ConversionResult
from vexp.tools.mmaction2.rules import Ignore, Rule, Unsupported, handled_elsewhere
from vexp.tools.mmaction2.tables import apply_rules
from vexp.tools.mmaction2.tree import MappingNode, Node
from vexp.tools.mmaction2.weights import init_cfg, weights

_TORCHVISION = "torchvision."  # of the names of image models


def convert_model(result: ConversionResult, model: MappingNode, chosen: str | None) -> Family | None:
    """Convert the ``model`` of a config; ``chosen`` is the option of group model that replaces that of the backbone.

    Raises:
        UserError: If vexp does not have the backbone and no option is chosen.
    """
    backbone, name = model.get("backbone"), model.text("backbone", "type")
    if not isinstance(backbone, MappingNode) or not name:
        raise UserError(f"{model.where}: model has no backbone with a type; only recognition models can be imported")
    kind = backbone.items["type"]
    family = BACKBONES.get(name)
    if chosen is not None:
        result.choose("model", chosen)
        result.mark_unsupported(backbone, f"model={chosen} was asked for instead")
        family = None
    elif name.startswith(_TORCHVISION):
        weights_rules = {"pretrained": _torchvision_weights(name.removeprefix(_TORCHVISION))}
        family = Family("tsn_r50", weights_rules, BACKBONES["ResNet"].head, frames=True)
        result.choose("model", family.option)
        result.set(kind, "model.backbone", name.removeprefix(_TORCHVISION))
    elif family is None:
        hint = "choose another, vexp import CONFIG.py model=NAME, or one of your own (plugins=)"
        raise UserError(f"{kind.where}: {name} is not among the models of vexp (vexp models lists them); {hint}")
    else:
        result.choose("model", family.option, kind, family.remark)
        for key, value in family.values.items():
            result.set_implied(f"model.{key}", value, f"mmaction2's {name}")
    if result.choices["model"] == "tsn_r50":
        why = "TSN's head averages the logits of all frames and crops"
        result.set_implied("eval.view_reduction", "mean_logit", why)
    if family is not None:
        apply_rules(result, backbone, family.rules, "model.", owner=f"{name}'s ")
    head = model.get("cls_head")
    if isinstance(head, MappingNode):
        convert_head(result, head, family)
    elif family is not None and head is None:
        result.pitfalls.append((model.where, "model has no cls_head: the model here has its usual one"))
    apply_rules(result, model, MODEL)
    return family


def _torchvision_weights(name: str) -> Rule:
    def rule(result: ConversionResult, node: Node, prefix: str) -> None:
        if node.to_python() is True:
            result.set(node, "model.weights.path", f"torchvision://{name}")
        else:
            weights(result, node, prefix)

    return rule


def _train_cfg(result: ConversionResult, node: Node, prefix: str) -> None:
    if not isinstance(node, MappingNode) or not node.items:
        result.mark_unneeded(node, "it is empty")
    convert_blending(result, node.get("blending"))
    apply_rules(result, node, {"aux_info": Ignore("no model here asks for it")})


MODEL: dict[str, Rule] = {
    "type": Ignore("model= says which model"),
    "neck": Unsupported("vexp's models have none"),
    "init_cfg": init_cfg,
    "train_cfg": _train_cfg,
    "test_cfg": TEST_CFG,
    "data_preprocessor": handled_elsewhere,  # by vexp.tools.mmaction2.norms
}
