"""Backbones that apply an image model to every frame, and the neck TPN: which ``model=`` they are, and their rules."""

from __future__ import annotations

from typing import Any

from vexp.core.errors import ConfigError
from vexp.model.image_models import TIMM_PREFIX, registered_names
from vexp.tools.mmaction2.backbone_arguments import (
    BN,
    COMMON,
    FROM_THE_FIRST,
    FROM_WEIGHTS,
    Family,
    head,
    layer_type,
    non_local,
    non_local_blocks,
)
from vexp.tools.mmaction2.initial_weights import weights
from vexp.tools.mmaction2.result import ConversionResult
from vexp.tools.mmaction2.rules import Ignore, Map, Require, Rule, number, sets
from vexp.tools.mmaction2.tables import Section, all_of, apply_rules, required
from vexp.tools.mmaction2.tree import MappingNode, Node


@sets("stacked")
def _stacked(result: ConversionResult, node: Node, prefix: str) -> None:
    """Convert ``in_channels`` of TSN: mmaction2 stacks the optical flow of several frames, 2 * clip_len channels."""
    frames, rest = divmod(number(node), result.channels)
    if rest or not frames:
        raise ConfigError(f"is not a multiple of the {result.channels} values that a pixel of the data has")
    if frames == 1:
        result.mark_default(node, "model.channels")
    else:
        result.set(node, f"{prefix}stacked", frames, "frames that are one image; in_channels is theirs together")


_RESNET2D: dict[str, Rule] = {
    **COMMON, "depth": Map("backbone", lambda depth: f"resnet{depth}"), "torchvision_pretrain": FROM_WEIGHTS,
    **required(strides=(1, 2, 2, 2)),
}  # fmt: skip
_TSM: dict[str, Rule] = {
    "num_segments": Ignore("the frames of the clip, pipeline.*.sample"), "is_shift": Require(True),
    "shift_div": Map("shift_div", implied=8), "pretrained2d": FROM_WEIGHTS,
}  # fmt: skip


def _non_local_blocks_of_tsm(result: ConversionResult, node: Node, prefix: str) -> None:
    """Check ``non_local`` of ResNetTSM, which has no effect without ``non_local_cfg``."""
    settings = result.config.get("model", "backbone", "non_local_cfg")
    if isinstance(settings, MappingNode) and settings.items:
        non_local_blocks(*FROM_THE_FIRST)(result, node, prefix)
    else:
        result.mark_unneeded(node, "no effect without non_local_cfg")


@sets(*non_local.keys)
def _non_local_of_tsm(result: ConversionResult, node: Node, prefix: str) -> None:
    if isinstance(node, MappingNode) and not node.items:
        result.mark_default(node, "no non-local blocks")
    else:
        non_local(result, node, prefix)


_TSM_RESNET: dict[str, Rule] = {
    **_RESNET2D, **_TSM, "shift_place": Require("blockres"), "temporal_pool": Map("temporal_pool"),
    "non_local": _non_local_blocks_of_tsm, "non_local_cfg": _non_local_of_tsm,
}  # fmt: skip


def _no_non_local(result: ConversionResult, node: Node, prefix: str) -> None:
    if isinstance(node, MappingNode) and node.items:
        raise ConfigError("the model of vexp has no non-local blocks")
    result.mark_default(node, "no non-local blocks")


_TIN: dict[str, Rule] = {
    **_TSM_RESNET, "num_segments": Map("num_frames", implied=8), "is_tin": Require(True),
    **all_of("is_shift shift_place temporal_pool", Ignore("no effect in ResNetTIN")),
    "non_local_cfg": _no_non_local,
}  # fmt: skip
_TANET: dict[str, Rule] = {
    **_RESNET2D, "num_segments": Map("num_frames"),
    "tam_cfg": Section({
        **required(alpha=2, adaptive_kernel_size=3, beta=4, conv1d_kernel_size=3, adaptive_convolution_stride=1,
                   adaptive_convolution_padding=1),
        "init_std": Ignore("mmaction2 does not use it"),
    }, otherwise=Ignore("mmaction2's defaults, which are those of the model")),
}  # fmt: skip
#: ``neck`` of type TPN.
TPN_NECK: dict[str, Rule] = {
    "type": Ignore("model= names the model"), "flow_type": Require("cascade"),
    **required(in_channels=(1024, 2048), out_channels=1024),
    "spatial_modulation_cfg": Section(required(in_channels=(1024, 2048), out_channels=2048)),
    "temporal_modulation_cfg": Section(required(downsample_scales=(8, 8))),
    "upsample_cfg": Section({**required(scale_factor=(1, 1, 1)), "mode": Ignore("the size is the same")}),
    "downsample_cfg": Section({"downsample_scale": Require((1, 1, 1), implied=(1, 2, 2))}),
    "level_fusion_cfg": Section(required(in_channels=(1024, 1024), mid_channels=(1024, 1024), out_channels=2048,
                                         downsample_scales=((1, 1, 1), (1, 1, 1)))),
    "aux_head_cfg": Section({
        "out_channels": Ignore("counted in the training list"), "loss_weight": Map("auxiliary_weight", implied=0.5),
        "loss_cls": Ignore("that of the classifier, loss="),
    }, otherwise=Map("auxiliary_weight", lambda _: 0.0)),
}  # fmt: skip
_PARTS_OF_TPN = ("spatial_modulation_cfg", "temporal_modulation_cfg", "upsample_cfg", "downsample_cfg")


def convert_neck(result: ConversionResult, neck: MappingNode) -> None:
    """Convert ``neck`` of type TPN."""
    apply_rules(result, neck, TPN_NECK, "model.", owner="TPN's ")
    if "aux_head_cfg" not in neck.items:
        result.set_implied("model.auxiliary_weight", 0.0, "mmaction2's TPN without aux_head_cfg")
    for name in _PARTS_OF_TPN:
        if not isinstance(neck.get(name), MappingNode):
            result.missing.append((neck.where, f"TPN's {name} is missing: the model of vexp has this part"))


@sets("backbone")
def _resnext(result: ConversionResult, node: Node, prefix: str) -> None:
    """Convert ``depth`` of mmpretrain's ResNeXt, to a model of torchvision or else of timm."""
    groups, width = (
        result.config.scalar("model", "backbone", key) or default
        for key, default in (("groups", 32), ("width_per_group", 4))
    )
    name = f"resnext{number(node)}_{groups}x{width}d"
    library = next((each for each in ("torchvision", "timm") if name in registered_names(each)), None)
    if library is None:
        raise ConfigError(f"neither torchvision nor timm has {name}; choose model.backbone yourself")
    result.set(node, f"{prefix}backbone", name if library == "torchvision" else TIMM_PREFIX + name)


_RESNEXT: dict[str, Rule] = {
    **COMMON, "depth": _resnext, **all_of("groups width_per_group", Ignore("part of the name of the image model")),
    "norm_cfg": BN,
}  # fmt: skip


def _mobileone(arch: str) -> str:
    if arch not in ("s0", "s1", "s2", "s3", "s4"):
        raise ConfigError("supported: s0, s1, s2, s3, s4; choose model.backbone yourself")
    return f"{TIMM_PREFIX}mobileone_{arch}"


_MOBILEONE: dict[str, Rule] = {
    **COMMON, "arch": Map("backbone", _mobileone, implied=_mobileone("s0")), "out_indices": Require((3,)),
    "deploy": Map("deploy", bool),
    "se_cfg": Section(required(ratio=16)),
}  # fmt: skip
_MOBILE: dict[str, Rule] = {
    **COMMON, "act_cfg": layer_type("ReLU6"), **required(widen_factor=1.0, out_indices=(7,)),
}  # fmt: skip
_MOBILENET: dict[str, Any] = {"frames": True, "values": {"backbone": "mobilenet_v2"}}
#: Class of mmaction2's backbone -> the model of vexp.
FRAME_BACKBONES: dict[str, Family] = {
    "ResNet": Family("tsn_r50", {**_RESNET2D, "in_channels": _stacked}, head(0.4), frames=True),
    "ResNetTSM": Family("tsm_r50", _TSM_RESNET, head(0.8, 0.001), frames=True),
    "ResNetTIN": Family("tin_r50", _TIN, head(0.8, 0.001), frames=True),
    "TANet": Family("tanet_r50", _TANET, head(0.8, 0.001), frames=True),
    "MobileNetV2": Family("tsn_r50", _MOBILE, head(0.4), **_MOBILENET),
    "MobileNetV2TSM": Family("tsm_r50", {**_MOBILE, **_TSM}, head(0.8, 0.001), **_MOBILENET),
    **dict.fromkeys(("mmpretrain.ResNeXt", "mmcls.ResNeXt"), Family("tsn_r50", _RESNEXT, head(0.4), frames=True)),
    **dict.fromkeys(("mmpretrain.MobileOne", "mmcls.MobileOne"),
                    Family("tsn_r50", _MOBILEONE, head(0.4), frames=True)),
    "MobileOneTSM": Family("tsm_r50", {**_MOBILEONE, **_TSM}, head(0.8, 0.001), frames=True),
}  # fmt: skip
#: Models with the head TRNHead, by the class of the backbone.
WITH_TRN_HEAD = {
    "ResNet": Family("trn_r50", _RESNET2D, head(0.8, 0.001), frames=True),
}  # fmt: skip


# --- image models of other libraries ---------------------------------------------------------------------------------

#: Prefix of mmaction2's names of other libraries' image models -> that of ``model.backbone``, and of their weights.
IMAGE_LIBRARIES = {"torchvision.": ("", "torchvision://"), "timm.": ("timm/", "timm://")}
#: Models of torchvision with a norm, an activation or a layer between ``features`` and the classifier, which mmaction2
#: leaves out: ``model.features_only``.
_MORE_THAN_FEATURES = ("densenet", "convnext", "swin", "mobilenet_v3")
#: Models of both libraries of which mmaction2 takes other features than vexp, such as the mean over all tokens.
_OTHER_FEATURES = {"torchvision.": ("vgg", "alexnet", "vit"),
                   "timm.": ("vit", "deit", "beit", "eva", "cait", "convnext", "mobilenetv3", "vgg")}  # fmt: skip


def convert_image_model(result: ConversionResult, kind: Node, library: str, name: str) -> Family:
    """Choose TSN on a model of torchvision or timm; return the rules of its arguments."""
    prefix, scheme = IMAGE_LIBRARIES[library]
    rules: dict[str, Rule] = {
        "pretrained": _published_weights(scheme + name),
        "feature_shape": Ignore("seen from the model"),
    }
    family = Family("tsn_r50", rules, FRAME_BACKBONES["ResNet"].head, frames=True)
    result.choose("model", family.option)
    result.set(kind, "model.backbone", prefix + name)
    if name.startswith(_OTHER_FEATURES[library]):
        other = f"mmaction2 takes other features of {name} than vexp, which pools them as the library does"
        result.missing.append((kind.where, other))
    elif library == "torchvision." and name.startswith(_MORE_THAN_FEATURES):
        result.set(kind, "model.features_only", True, "as mmaction2")
    return family


def _published_weights(source: str) -> Rule:
    def rule(result: ConversionResult, node: Node, prefix: str) -> None:
        if node.to_python() is True:
            result.set(node, "model.weights.path", source)
        else:
            weights(result, node, prefix)

    return rule
