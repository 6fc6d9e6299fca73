"""Convert the initial weights of a config."""

from __future__ import annotations

import re

from vexp.core.errors import ConfigError
from vexp.tools.mmaction2.result import ConversionResult
from vexp.tools.mmaction2.rules import Ignore, Map, Rule, sets
from vexp.tools.mmaction2.tables import apply_rules
from vexp.tools.mmaction2.tree import Node


@sets("weights.path")
def weights(result: ConversionResult, node: Node, prefix: str) -> None:
    """Convert ``pretrained`` of a backbone."""
    value = node.to_python()
    if value in (None, False):
        result.mark_default(node, "no weights")
    elif isinstance(value, str):
        result.set(node, "model.weights.path", weights_name(value))
    else:
        raise ConfigError("is not a path of weights; set model.weights.path")


#: ``init_cfg`` of type Pretrained.
PRETRAINED: dict[str, Rule] = {
    "type": Ignore("model.weights.path"),
    "checkpoint": weights,
    "prefix": Map("weights.prefix", lambda name: str(name).rstrip(".") or None),
}


@sets("init")
def init_cfg(result: ConversionResult, node: Node, prefix: str) -> None:
    """Convert ``init_cfg`` of a backbone or of the whole model."""
    if node.text("type") == "Pretrained":
        apply_rules(result, node, PRETRAINED, "model.")
    else:
        result.mark_unsupported(node, "set model.init, whose rules are the same")


def weights_name(name: str) -> str:
    """Return the name of weights in vexp.

    Raises:
        ConfigError: If vexp does not read such names.
    """
    if name.startswith("modelzoo://"):
        return f"torchvision://{name.partition('://')[2]}"
    if re.match(r"(open-mmlab|openmmlab|mmcls|jhu|timm)://", name):
        hint = "set model.weights.path to the file's address or its path"
        raise ConfigError(f"{name} is a name of OpenMMLab's own list; {hint}")
    if name.startswith("http://"):
        raise ConfigError(f"{name}: only https is read; set model.weights.path to an https address or a file")
    return name
