"""Rules of arguments that many backbones have: layers, norms, non-local blocks, frozen stages."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vexp.core.errors import ConfigError
from vexp.tools.mmaction2.initial_weights import init_cfg, weights
from vexp.tools.mmaction2.result import ConversionResult
from vexp.tools.mmaction2.rules import Ignore, Map, Require, Rule, Unsupported, number, sets
from vexp.tools.mmaction2.tables import Section, apply_rules, required
from vexp.tools.mmaction2.tree import MappingNode, Node


@sets("/dist.sync_bn")
def _norm_type(result: ConversionResult, node: Node, prefix: str) -> None:
    name = str(node.to_python())
    if name not in ("SyncBN", "MMSyncBN"):
        raise ConfigError(f"the model of vexp has batch norm, not {name}")
    result.set(node, "dist.sync_bn", True, "has an effect with several GPUs (dist.nproc)")


def batch_norm(eps: Rule | None = None) -> Section:
    """Return the rule of ``norm_cfg`` of a model with batch norm; ``eps`` is that of its argument."""
    return Section({
        "type": _Type(("BN", "BN1d", "BN2d", "BN3d"), otherwise=_norm_type), "requires_grad": Require(True),
        "eps": eps or Require(1e-5), "momentum": Require(0.1),
    })  # fmt: skip


def layer_norm(eps: float) -> Section:
    """Return the rule of ``norm_cfg`` of a model with layer norm."""
    return Section({"type": _Type(("LN",)), "eps": Require(eps, implied=1e-5), "requires_grad": Require(True)})


@dataclass(frozen=True, slots=True)
class _Type:
    """The rule of the ``type`` of a layer, which must be one of ``names``."""

    names: tuple[str, ...]
    otherwise: Rule | None = None

    def __call__(self, result: ConversionResult, node: Node, prefix: str) -> None:
        name = str(node.to_python())
        if name in self.names:
            result.mark_default(node, "the only supported value")
        elif self.otherwise is not None:
            self.otherwise(result, node, prefix)
        else:
            raise ConfigError(f"the model of vexp has {self.names[0]}, not {name}")


def layer_type(*names: str) -> Section:
    """Return the rule of ``conv_cfg`` or ``act_cfg``."""
    return Section({"type": _Type(names), "inplace": Ignore("the numbers are the same")})


BN, CONV, RELU = batch_norm(), layer_type("Conv3d", "Conv2d", "Conv"), layer_type("ReLU")
FROM_WEIGHTS = Ignore("seen from the weights")


#: Backbones whose stages have other names in vexp than those of a ResNet.
_OTHER_STAGES = ("ResNet3dSlowFast", "MobileNetV2", "MobileNetV2TSM", "mmpretrain.MobileOne", "mmcls.MobileOne",
                 "MobileOneTSM")  # fmt: skip


@sets("freeze")
def _frozen_stages(result: ConversionResult, node: Node, prefix: str) -> None:
    stages = -1 if node.to_python() is None else number(node)
    if stages < 0:
        result.mark_default(node, "nothing is frozen")
        return
    if result.config.text("model", "backbone", "type") in _OTHER_STAGES:
        result.need("model.freeze", node, f"{stages} stages are frozen, which have other names here: name the modules")
        return
    stem = ["backbone.conv1"] + (["backbone.bn1"] if is_image_model(result.choices["model"]) else [])
    result.set(node, "model.freeze", stem + [f"backbone.layer{i}" for i in range(1, stages + 1)])


def _has_non_local(result: ConversionResult) -> bool:
    """Return whether a block of the backbone is a non-local one, by its ``non_local``: for each stage, or block."""
    node = result.config.get("model", "backbone", "non_local")
    return node is not None and re.search(r"[1-9]|True", str(node.to_python())) is not None


def non_local_blocks(*blocks: Sequence[int]) -> Rule:
    """Return the rule of ``non_local`` of a model with the non-local ``blocks`` of each stage."""

    def rule(result: ConversionResult, node: Node, prefix: str) -> None:
        if not _has_non_local(result):
            result.mark_default(node, "none")
        elif result.config.get("model", "backbone", "non_local_cfg") is None:
            raise ConfigError("no non_local_cfg: mmaction2's blocks have no norm, those of vexp have a batch norm")
        else:
            Require(blocks)(result, node, prefix)

    return rule


#: Where SlowOnly and TSM have non-local blocks.
FROM_THE_FIRST = ((0, 0, 0), (1, 0, 1, 0), (1, 0, 1, 0, 1, 0), (0, 0, 0))


@sets("non_local")
def non_local(result: ConversionResult, node: Node, prefix: str) -> None:
    """Convert ``non_local_cfg``."""
    if not _has_non_local(result):
        result.mark_unneeded(node, "no block is a non-local one")
        return
    if not isinstance(node, MappingNode):
        raise ConfigError("names no mode of the non-local blocks; set model.non_local")
    if node.get("norm_cfg") is None:
        raise ConfigError("no norm_cfg: mmaction2's blocks have no norm, those of vexp have a batch norm")
    scaled = (node.text("mode") or "embedded_gaussian") == "embedded_gaussian"
    apply_rules(result, node, {
        "mode": Map("non_local", implied="embedded_gaussian"), "sub_sample": Require(True, implied=False),
        "use_scale": Map("non_local_scale", implied=True) if scaled else Ignore("only embedded_gaussian has a scale"),
        "norm_cfg": BN,
    }, prefix)  # fmt: skip


def in_channels(result: ConversionResult, node: Node, prefix: str) -> None:
    """Check ``in_channels``, which must be the values that a pixel of the data has."""
    if node.to_python() != result.channels:
        raise ConfigError(f"a pixel of the data has {result.channels} values, and model.stacked is for TSN alone")
    result.mark_default(node, "model.channels")


def is_image_model(option: str) -> bool:
    """Whether an option of group model applies an image model to each frame."""
    return option.startswith(("tsn", "tsm", "tin", "tanet", "trn", "tpn_tsm"))


def _spatial_strides(result: ConversionResult, node: Node, prefix: str) -> None:
    last = 1 if result.config.text("model", "type") == "FastRCNN" else 2  # detectors keep the size in the last stage
    Require((1, 2, 2, last))(result, node, prefix)


COMMON: dict[str, Rule] = {
    "pretrained": weights,
    "norm_eval": Map("norm_eval"), "partial_bn": Map("partial_bn"), "frozen_stages": _frozen_stages,
    "in_channels": in_channels,
    "norm_cfg": BN, "conv_cfg": CONV, "act_cfg": RELU,
    "init_cfg": init_cfg,
    "with_cp": Ignore("activations are kept: the same numbers, more memory; lower data.batch_size, raise "
                      "grad.accumulate"),
    **required(num_stages=4, style="pytorch", dilations=(1, 1, 1, 1), base_channels=64, out_indices=(3,)),
    "spatial_strides": _spatial_strides,
    "pretrained2d": Ignore("seen from the weights: those of an image model are inflated"),
    "advprop": Unsupported("not supported"),
}  # fmt: skip


def like(otherwise: int, *path: str) -> Rule:
    """Return the rule of an argument of a pathway that must equal another argument of the backbone."""
    return lambda result, node, prefix: Require(result.config.scalar("model", "backbone", *path) or otherwise)(
        result, node, prefix
    )


NOT_OURS = Unsupported("the model of vexp has no such argument", off=(None, 0, 0.0))


@dataclass(frozen=True, slots=True)
class Family:
    """The option of group model for a backbone, the rules of its arguments, and ``values`` where these set none.

    ``head`` are the default arguments of its usual head in mmaction2. ``frames`` marks image models: mmaction2's clips
    of one frame are the frames of one clip of vexp.
    """

    option: str
    rules: Mapping[str, Rule]
    head: Mapping[str, Any] = field(default_factory=dict)
    frames: bool = False
    values: Mapping[str, Any] = field(default_factory=dict)
    remark: str = ""

    def has(self, option: str) -> bool:
        """Whether an option of group model is this model, perhaps of another size."""
        return option.partition("_")[0] == self.option.partition("_")[0]


def head(dropout: float, init_std: float = 0.01) -> dict[str, Any]:
    """Return the default arguments of a head in mmaction2, under their names in vexp."""
    return {"dropout": dropout, "init_std": init_std}
