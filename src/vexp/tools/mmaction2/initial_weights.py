"""The initial weights of a config: ``pretrained`` and ``init_cfg`` of a backbone or of the whole model."""

from __future__ import annotations

import re

from vexp.core.errors import ConfigError
from vexp.tools.mmaction2.result import ConversionResult
from vexp.tools.mmaction2.rules import Ignore, Map, Rule, sets
from vexp.tools.mmaction2.tables import apply_rules
from vexp.tools.mmaction2.tree import Node


@sets("weights.path")
def weights(result: ConversionResult, node: Node, prefix: str) -> None:
    """Convert ``pretrained`` of a backbone; weights that vexp cannot find by their name are left to the user."""
    value = node.to_python()
    if value in (None, False):
        result.mark_default(node, "no weights")
        return
    try:
        if not isinstance(value, str):
            raise ConfigError("is not a path of weights")
        result.set(node, "model.weights.path", weights_name(value))
    except ConfigError as error:
        result.need("model.weights.path", node, f"{error}; null: random weights")


#: ``init_cfg`` of type Pretrained.
PRETRAINED: dict[str, Rule] = {
    "type": Ignore("model.weights.path names the file"),
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
        known = "torchvision://mobilenet_v2" if name == "mmcls://mobilenet_v2" else "the file's address or its path"
        raise ConfigError(f"{name} is a name in a list of OpenMMLab: give {known}")
    if name.startswith("http://"):
        raise ConfigError(f"{name}: only https is read; give an https address or a file")
    return name


@sets("weights.path")
def named_image_weights(result: ConversionResult, node: Node, prefix: str) -> None:
    """Convert ``pretrained`` of UniFormer and UniFormerV2, a name in a list of mmaction2, or a file."""
    value = node.to_python()
    if isinstance(value, str) and not re.search(r"\.\w+$", value):
        why = f"{value} is a name in a list of mmaction2: give the file or its address; null: random weights"
        result.need("model.weights.path", node, why)
        return
    weights(result, node, prefix)
