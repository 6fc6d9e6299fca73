"""Convert the initial weights of a config."""

from __future__ import annotations

import re

from vexp.core.errors import ConfigError
from vexp.tools.mmaction2.rules import ConversionResult, Ignore, Map, apply_rules
from vexp.tools.mmaction2.tree import MappingNode, Node, to_python


def weights(result: ConversionResult, node: Node, prefix: str) -> None:
    value = to_python(node)
    if value in (None, False):
        result.mark_default(node, "no weights")
    elif isinstance(value, str):
        result.set(node, "model.weights.path", weights_name(value))
    else:
        raise ConfigError("is not a path of weights; set model.weights.path")


def init_cfg(result: ConversionResult, node: Node, prefix: str) -> None:
    """``init_cfg`` of a backbone or of the whole model."""
    if not isinstance(node, MappingNode) or node.text("type") != "Pretrained":
        result.mark_unsupported(node, "set model.init, whose rules are the same")
        return
    apply_rules(result, node, {
        "type": Ignore("model.weights.path"), "checkpoint": weights,
        "prefix": Map("weights.prefix", lambda name: str(name).rstrip(".") or None),
    }, "model.")  # fmt: skip


def weights_name(named: str) -> str:
    """Weights as vexp names them.

    Raises:
        ValueError: it does not read such names.
    """
    if named.startswith("modelzoo://"):
        return f"torchvision://{named.partition('://')[2]}"
    if re.match(r"(open-mmlab|openmmlab|mmcls|jhu|timm)://", named):
        raise ConfigError(
            f"{named} is a name of OpenMMLab's own list; set model.weights.path to the file's address or its path"
        )
    if named.startswith("http://"):
        raise ConfigError(f"{named}: only https is read; set model.weights.path to an https address or a file")
    return named
