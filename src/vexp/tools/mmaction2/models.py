"""The nets: the ``model`` of a config, backbone and head."""

from __future__ import annotations

from vexp.core.errors import UserError
from vexp.tools.mmaction2.backbones import BACKBONES, Family
from vexp.tools.mmaction2.heads import convert_blending, convert_head, convert_test_cfg
from vexp.tools.mmaction2.rules import ConversionResult, Ignore, Rule, Unsupported, apply, apply_rules, elsewhere
from vexp.tools.mmaction2.tree import MappingNode, Node, plain
from vexp.tools.mmaction2.weights import init_cfg, weights

#: Prefixes of image nets of other libraries, of which torchvision's are here.
_TORCHVISION_PREFIX = "torchvision."


def convert_model(draft: ConversionResult, model: MappingNode, chosen: str | None) -> Family | None:
    """The ``model`` of a config.

    Args:
        chosen: the option that the user wants instead, ``model=NAME``; None: as the backbone says.

    Raises:
        UserError: a backbone that is not here and nothing chosen instead.
    """
    backbone = model.get("backbone")
    if not isinstance(backbone, MappingNode) or not backbone.word("type"):
        raise UserError(f"{model.where}: model has no backbone with a type; only recognition models can be imported")
    name = backbone.word("type")
    kind = backbone.items["type"]
    family = BACKBONES.get(name)
    if chosen is not None:
        draft.choose("model", chosen)
        draft.refuse(backbone, f"model={chosen} was asked for instead")
        family = None
    elif name.startswith(_TORCHVISION_PREFIX):
        family = Family("tsn_r50", {"pretrained": _named_weights(name)}, {"dropout": 0.4, "init_std": 0.01}, True)
        draft.choose("model", family.option)
        draft.carry(kind, "model.backbone", name.removeprefix(_TORCHVISION_PREFIX))
    elif family is None:
        raise UserError(
            f"{kind.where}: {name} is not among vexp's nets (python -m vexp.cli.models lists them); name one to take "
            "instead, python -m vexp.cli.import_mmaction CONFIG.py model=NAME, or one of your own (plugins=)"
        )
    else:
        draft.choose("model", family.option, kind, family.says)
        for key, value in family.values.items():
            draft.imply(f"model.{key}", value, f"mmaction2's {name}")
    if draft.choices["model"] == "tsn_r50":
        draft.imply("eval.view_reduction", "mean_logit", "TSN's head averages the logits of all frames and crops")
    if family is not None:
        apply_rules(draft, backbone, family.rules, "model.", owner=f"{name}'s ")
    head = model.get("cls_head")
    if isinstance(head, MappingNode):
        convert_head(draft, head, family)
    elif family is not None and head is None:
        draft.traps.append((model.where, "model has no cls_head: the net here has its usual one"))
    for key, node in model.items.items():
        if key in _MODEL:
            apply(draft, _MODEL[key], node)
    return family


def _named_weights(name: str) -> Rule:
    def rule(draft: ConversionResult, node: Node, prefix: str) -> None:
        if plain(node) is True:
            draft.carry(node, "model.weights.path", f"torchvision://{name.removeprefix(_TORCHVISION_PREFIX)}")
        else:
            weights(draft, node, prefix)

    return rule


_MODEL: dict[str, Rule] = {
    "type": Ignore("model= says which net"),
    "neck": Unsupported("vexp's nets have none"),
    "init_cfg": init_cfg,
    "train_cfg": lambda draft, node, prefix: _convert_train_cfg(draft, node),
    "test_cfg": lambda draft, node, prefix: convert_test_cfg(draft, node),
    "data_preprocessor": elsewhere,  # read by vexp.tools.mmaction2.pipelines
}


def _convert_train_cfg(draft: ConversionResult, node: Node) -> None:
    blending = node.get("blending") if isinstance(node, MappingNode) else None
    if isinstance(blending, MappingNode):
        convert_blending(draft, blending)
    elif not isinstance(node, MappingNode) or not node.items:
        draft.drop(node, "nothing in it")
    if isinstance(node, MappingNode) and "aux_info" in node.items:
        draft.drop(node.items["aux_info"], "no net here asks for it")
