"""The ``backbone`` of a model: which class of mmaction2 is which ``model=`` here, and what its arguments become."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vexp.core.errors import ConfigError
from vexp.tools.mmaction2.rules import ConversionResult, Ignore, Map, Require, Rule, Unsupported, apply_rules, number
from vexp.tools.mmaction2.tree import MappingNode, Node, to_python
from vexp.tools.mmaction2.weights import init_cfg, weights

_LAYERS = "built into the model of vexp"


def _image_net(result: ConversionResult, node: Node, prefix: str) -> None:
    result.set(node, "model.backbone", f"resnet{to_python(node)}")


def _frozen(result: ConversionResult, node: Node, prefix: str) -> None:
    stages = 0 if to_python(node) is None else number(node)
    if to_python(node) is None or stages < 0:
        result.mark_default(node, "nothing is frozen")
        return
    stem = ["backbone.conv1"] + (["backbone.bn1"] if result.choices["model"] in ("tsn_r50", "tsm_r50") else [])
    result.set(node, "model.freeze", stem + [f"backbone.layer{i}" for i in range(1, stages + 1)])


def _bn_frozen(result: ConversionResult, node: Node, prefix: str) -> None:
    if to_python(node):
        result.set(node, "model.freeze", ["backbone.*.bn"], "weight and bias of every norm layer")
    else:
        result.mark_default(node, "norm layers are trained")


def _non_local_mode(result: ConversionResult, node: Node, prefix: str) -> None:
    if not isinstance(node, MappingNode):
        raise ConfigError("names no mode of the non-local blocks; set model.non_local")
    scale: Rule = Require(False, implied=True)
    if node.text("mode") == "dot_product":
        scale = Ignore("dot_product has no scale")
    apply_rules(
        result, node, {
            "mode": Map("non_local", implied="embedded_gaussian"), "sub_sample": Require(True),
            "use_scale": scale,
            "norm_cfg": Ignore(_LAYERS),
        }, prefix,
    )  # fmt: skip


def _in_channels(result: ConversionResult, node: Node, prefix: str) -> None:
    if to_python(node) != result.channels:
        raise ConfigError(f"a pixel of the data has {result.channels} values, and model.stacked is for TSN alone")
    result.mark_default(node, "model.channels")


def _stacked(result: ConversionResult, node: Node, prefix: str) -> None:
    """mmaction2 lays the flow of several frames one behind another: 2 * clip_len channels."""
    frames, over = divmod(number(node), result.channels)
    if over or not frames:
        raise ConfigError(f"is no multiple of the {result.channels} values that a pixel of the data has")
    if frames == 1:
        result.mark_default(node, "model.channels")
    else:
        result.set(node, f"{prefix}stacked", frames, "frames that are one image; in_channels is theirs together")


_COMMON: dict[str, Rule] = {
    "pretrained": weights,
    "norm_eval": Map("norm_eval"),
    "partial_bn": Map("partial_bn"),
    "frozen_stages": _frozen,
    "in_channels": _in_channels,
    "norm_cfg": Ignore(_LAYERS),
    "conv_cfg": Ignore(_LAYERS),
    "act_cfg": Ignore(_LAYERS),
    "init_cfg": init_cfg,
    "with_cp": Ignore(
        "activations are kept: the same numbers, more memory; lower data.batch_size, raise grad.accumulate"
    ),
    "num_stages": Require(4),
    "style": Require("pytorch"),
    "dilations": Require((1, 1, 1, 1)),
    "spatial_strides": Require((1, 2, 2, 2)),
    "base_channels": Require(64),
    "out_indices": Require((3,)),
    "pretrained2d": Ignore("seen from the weights: those of an image model are inflated"),
    "advprop": Unsupported("not built"),
}
_RESNET2D: dict[str, Rule] = {**_COMMON, "depth": _image_net, "torchvision_pretrain": Ignore("seen from the weights")}
_STACKING = {"in_channels": _stacked}
_RESNET3D: dict[str, Rule] = {
    **_COMMON,
    "depth": Map("depth"),
    "zero_init_residual": Map("zero_init_residual", implied=True),
    "inflate_style": Require("3x1x1"),
    "non_local": Ignore("non_local_cfg says the mode, model.non_local here"),
    "non_local_cfg": _non_local_mode,
    "with_pool1": Require(True),
}
_I3D: dict[str, Rule] = {
    **_RESNET3D,
    "conv1_kernel": Require((5, 7, 7), implied=(3, 7, 7)),
    "conv1_stride_t": Require(2, implied=1),
    "pool1_stride_t": Require(2, implied=1),
    "temporal_strides": Require((1, 1, 1, 1)),
    "inflate": Require(((1, 1, 1), (1, 0, 1, 0), (1, 0, 1, 0, 1, 0), (0, 1, 0)), implied=(1, 1, 1, 1)),
    "non_local": Require(((0, 0, 0), (0, 1, 0, 1), (0, 1, 0, 1, 0, 1), (0, 0, 0))),
    "with_pool2": Require(True),
}
_SLOW: dict[str, Rule] = {
    **_RESNET3D,
    "lateral": Require(False),
    "conv1_kernel": Require((1, 7, 7)),
    "conv1_stride_t": Require(1),
    "pool1_stride_t": Require(1),
    "temporal_strides": Require((1, 1, 1, 1)),
    "inflate": Require((0, 0, 1, 1)),
    "with_pool2": Require(False),
}


def _path(lateral: bool, **fixed: Any) -> dict[str, Rule]:
    """Arguments of one path of SlowFast."""
    rules: dict[str, Rule] = {**_SLOW, "type": Require("resnet3d"), "lateral": Require(lateral)}
    del rules["zero_init_residual"], rules["pretrained"]  # of both paths or of neither: asked of the whole model
    rules |= {"pretrained": Require(None, "set model.weights.path"), "zero_init_residual": Require(True)}
    return rules | {name: Require(value) for name, value in fixed.items()}


def _slow_path(result: ConversionResult, node: Node, prefix: str) -> None:
    _followed(result, node, _path(True) | {
        "fusion_kernel": Map("fusion_kernel"), "channel_ratio": _as_the_net("channel_ratio"),
        "speed_ratio": _as_the_net("speed_ratio"),
    }, prefix)  # fmt: skip


def _fast_path(result: ConversionResult, node: Node, prefix: str) -> None:
    _followed(result, node, _path(False, base_channels=8, conv1_kernel=(5, 7, 7), inflate=(1, 1, 1, 1)) | {
        "depth": Require(result.config_value("model", "backbone", "slow_pathway", "depth") or 50),
    }, prefix)  # fmt: skip


def _followed(result: ConversionResult, node: Node, rules: Mapping[str, Rule], prefix: str) -> None:
    if not isinstance(node, MappingNode):
        raise ConfigError("is not a dict; left out")
    apply_rules(result, node, rules, prefix)


def _as_the_net(name: str) -> Rule:
    """An argument of a path that must say what the model says."""

    def rule(result: ConversionResult, node: Node, prefix: str) -> None:
        Require(result.config_value("model", "backbone", name) or 8)(result, node, prefix)

    return rule


_SLOWFAST: dict[str, Rule] = {
    "pretrained": weights,
    "resample_rate": Map("slow_stride", implied=8),
    "speed_ratio": Map("alpha", implied=8),
    "channel_ratio": Map("beta_inverse", implied=8),
    "slow_pathway": _slow_path,
    "fast_pathway": _fast_path,
}


def _csn_kind(value: Any) -> str:
    return {"ir": "reduced", "ip": "preserved"}[value]


def _attention(result: ConversionResult, node: Node, prefix: str) -> None:
    Require("divided_space_time", "only attention along time, then space, is built (divided_space_time)")(
        result, node, prefix
    )


def _torchvision_arch(names: Mapping[str, str]) -> Rule:
    def rule(result: ConversionResult, node: Node, prefix: str) -> None:
        arch = str(to_python(node))
        if arch not in names:
            raise ConfigError(f"supported: {', '.join(names)} (of torchvision); choose one with model=")
        result.choose("model", names[arch], node)

    return rule


_TORCHVISION: dict[str, Rule] = {"pretrained": weights, "pretrained2d": Ignore("seen from the weights")}
NOT_OURS = Unsupported("torchvision's model has its own; compare before you rely on equal numbers", off=())


@dataclass(frozen=True, slots=True)
class Family:
    """A backbone of mmaction2. ``option``: of ``model=``; ``head``: what its usual head takes without being told."""

    option: str
    rules: Mapping[str, Rule]
    head: Mapping[str, Any] = field(default_factory=dict)
    frames: bool = False  # an image model on every frame: the frames of one clip are mmaction2's clips of one frame
    values: Mapping[str, Any] = field(default_factory=dict)
    says: str = ""


#: Class of mmaction2's backbone -> the model here.
BACKBONES: dict[str, Family] = {
    "ResNet": Family("tsn_r50", {**_RESNET2D, **_STACKING}, {"dropout": 0.4, "init_std": 0.01}, frames=True),
    "ResNetTSM": Family(
        "tsm_r50",
        {**_RESNET2D, "num_segments": Ignore("the frames of the clip, pipeline.*.sample"), "is_shift": Require(True),
         "non_local": Require((0, 0, 0, 0)), "shift_div": Map("shift_div", implied=8), "shift_place": Require("blockres"),
         "temporal_pool": Require(False), "non_local_cfg": Unsupported("not in image models"),
         "pretrained2d": Ignore("seen from the weights")},
        {"dropout": 0.8, "init_std": 0.001}, frames=True,
    ),
    "MobileNetV2": Family(
        "tsn_r50", {**_COMMON, "widen_factor": Require(1.0), "out_indices": Require((7,))},
        {"dropout": 0.4, "init_std": 0.01}, frames=True, values={"backbone": "mobilenet_v2"},
    ),
    "MobileNetV2TSM": Family(
        "tsm_r50",
        {**_COMMON, "widen_factor": Require(1.0), "num_segments": Ignore("the frames of the clip, pipeline.*.sample"),
         "is_shift": Require(True), "shift_div": Map("shift_div", implied=8)},
        {"dropout": 0.8, "init_std": 0.001}, frames=True, values={"backbone": "mobilenet_v2"},
    ),
    "ResNet3dSlowOnly": Family("slowonly_r50", _SLOW, {"dropout": 0.5, "init_std": 0.01}),
    "ResNet3dSlowFast": Family("slowfast_r50", _SLOWFAST, {"dropout": 0.8, "init_std": 0.01}),
    "ResNet3d": Family("i3d_r50", _I3D, {"dropout": 0.5, "init_std": 0.01}),
    "C3D": Family(
        "c3d",
        {"pretrained": weights, "style": Require("pytorch"), "conv_cfg": Ignore(_LAYERS), "norm_cfg": Ignore(_LAYERS),
         "act_cfg": Ignore(_LAYERS), "dropout_ratio": Require(0.5), "init_std": Require(0.005), "out_dim": Require(8192)},
        {"dropout": 0.5, "init_std": 0.01},
    ),
    "ResNet2Plus1d": Family(
        "r2plus1d_r34",
        {**_RESNET3D, "conv1_kernel": Require((3, 7, 7)), "conv1_stride_t": Require(1), "pool1_stride_t": Require(1),
         "inflate": Require((1, 1, 1, 1)), "spatial_strides": Require((1, 2, 2, 2)), "temporal_strides": Require((1, 2, 2, 2)),
         "with_pool2": Require(False)},
        {"dropout": 0.5, "init_std": 0.01},
    ),
    "ResNet3dCSN": Family(
        "ircsn_r50",
        {**_RESNET3D, "bottleneck_mode": Map("interaction", _csn_kind, implied="reduced"), "with_pool2": Require(False),
         "temporal_strides": Require((1, 2, 2, 2)), "bn_frozen": _bn_frozen, "conv1_kernel": Require((3, 7, 7)),
         "conv1_stride_t": Require(1), "pool1_stride_t": Require(1), "inflate": Require((1, 1, 1, 1))},
        {"dropout": 0.5, "init_std": 0.01},
    ),
    "X3D": Family(
        "x3d_m",
        {**_COMMON, "gamma_w": Map("width_factor", implied=1.0), "gamma_b": Map("bottleneck_factor", implied=1.0),
         "gamma_d": Map("depth_factor", implied=1.0), "se_style": Require("half"), "se_ratio": Require(1 / 16),
         "use_swish": Require(True), "zero_init_residual": Map("zero_init_residual", implied=True)},
        {"dropout": 0.5, "init_std": 0.01},
    ),
    "TimeSformer": Family(
        "timesformer_divst",
        {"pretrained": weights, "num_frames": Map("num_frames"), "img_size": Map("img_size"),
         "patch_size": Map("patch_size"), "embed_dims": Map("width", implied=768), "num_heads": Map("heads", implied=12),
         "num_transformer_layers": Map("depth", implied=12), "in_channels": Require(3), "dropout_ratio": Require(0.0),
         "attention_type": _attention, "transformer_layers": Require(None), "norm_cfg": Ignore(_LAYERS)},
        {"dropout": 0.0, "init_std": 0.02},
    ),
    "MViT": Family(
        "mvit_v2_s",
        {**_TORCHVISION, "arch": _torchvision_arch({"small": "mvit_v2_s"}), "drop_path_rate": NOT_OURS,
         "dim_mul_in_attention": Require(False)},
        says="torchvision's model of that name: same paper, its own dropout",
    ),
    "SwinTransformer3D": Family(
        "swin3d_t",
        {**_TORCHVISION, "arch": _torchvision_arch({"tiny": "swin3d_t", "small": "swin3d_s", "base": "swin3d_b"}),
         "drop_path_rate": NOT_OURS, "patch_size": Require((2, 4, 4)), "window_size": Require((8, 7, 7)),
         "mlp_ratio": Require(4.0), "qkv_bias": Require(True), "qk_scale": Require(None), "drop_rate": Require(0.0),
         "attn_drop_rate": Require(0.0), "patch_norm": Require(True)},
        says="torchvision's model of that name: same paper, its own dropout",
    ),
}  # fmt: skip
#: Classes that belong to another task.
OTHER_TASKS = {
    "RecognizerGCN": "skeletons", "SkeletonGCN": "skeletons", "PoseDataset": "skeletons",
    "BMN": "temporal localization", "BSN": "temporal localization", "TEM": "temporal localization",
    "PEM": "temporal localization", "SSN": "temporal localization", "ActivityNetDataset": "temporal localization",
    "FastRCNN": "detection", "FasterRCNN": "detection", "AVADataset": "detection", "AVAKineticsDataset": "detection",
    "AudioRecognizer": "audio", "RecognizerAudio": "audio", "AudioDataset": "audio", "AudioFeatureDataset": "audio",
    "CLIPSimilarity": "retrieval", "VindLURetrieval": "retrieval", "VindLUVQA": "question answering",
    "MMRecognizer3D": "several modalities", "RecognizerOmni": "images and videos",
}  # fmt: skip
