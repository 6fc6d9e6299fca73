"""The ``backbone`` of a model: which class of mmaction2 is which ``model=`` here, and what its arguments become."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vexp.migration.draft import Draft, Drop, No, Rule, Same, To, follow
from vexp.migration.nodes import Node, Table, plain
from vexp.migration.weights import init_cfg, weights

_LAYERS = "the net here is built with its own; nothing to say"


def _image_net(draft: Draft, node: Node, prefix: str) -> None:
    draft.carry(node, "model.backbone", f"resnet{plain(node)}")


def _frozen(draft: Draft, node: Node, prefix: str) -> None:
    stages = plain(node)
    if stages is None or stages < 0:
        draft.same(node, "nothing is frozen")
        return
    stem = ["backbone.conv1"] + (["backbone.bn1"] if draft.choices["model"] in ("tsn_r50", "tsm_r50") else [])
    draft.carry(node, "model.freeze", stem + [f"backbone.layer{i}" for i in range(1, stages + 1)])


def _bn_frozen(draft: Draft, node: Node, prefix: str) -> None:
    if plain(node):
        draft.carry(node, "model.freeze", ["backbone.*.bn"], "weight and bias of every norm layer")
    else:
        draft.same(node, "norm layers are trained")


def _non_local_mode(draft: Draft, node: Node, prefix: str) -> None:
    if not isinstance(node, Table):
        raise ValueError("names no mode of the non-local blocks; set model.non_local")
    scale: Rule = Same(False, implied=True)
    if node.word("mode") == "dot_product":
        scale = Drop("dot_product has no scale")
    follow(
        draft, node, {
            "mode": To("non_local", implied="embedded_gaussian"), "sub_sample": Same(True),
            "use_scale": scale,
            "norm_cfg": Drop(_LAYERS),
        }, prefix,
    )  # fmt: skip


def _in_channels(draft: Draft, node: Node, prefix: str) -> None:
    if plain(node) != draft.channels:
        raise ValueError(f"a pixel of the data has {draft.channels} values, and model.stacked is for TSN alone")
    draft.same(node, "model.channels")


def _stacked(draft: Draft, node: Node, prefix: str) -> None:
    """mmaction2 lays the flow of several frames one behind another: 2 * clip_len channels."""
    frames, over = divmod(plain(node), draft.channels)
    if over or not frames:
        raise ValueError(f"is no multiple of the {draft.channels} values that a pixel of the data has")
    if frames == 1:
        draft.same(node, "model.channels")
    else:
        draft.carry(node, f"{prefix}stacked", frames, "frames that are one image; in_channels is theirs together")


_COMMON: dict[str, Rule] = {
    "pretrained": weights,
    "norm_eval": To("norm_eval"),
    "partial_bn": To("partial_bn"),
    "frozen_stages": _frozen,
    "in_channels": _in_channels,
    "norm_cfg": Drop(_LAYERS),
    "conv_cfg": Drop(_LAYERS),
    "act_cfg": Drop(_LAYERS),
    "init_cfg": init_cfg,
    "with_cp": Drop(
        "activations are kept: the same numbers, more memory; lower data.batch_size, raise grad.accumulate"
    ),
    "num_stages": Same(4),
    "style": Same("pytorch"),
    "dilations": Same((1, 1, 1, 1)),
    "spatial_strides": Same((1, 2, 2, 2)),
    "base_channels": Same(64),
    "out_indices": Same((3,)),
    "pretrained2d": Drop("seen from the weights: those of an image net are inflated"),
    "advprop": No("not built"),
}
_RESNET2D: dict[str, Rule] = {**_COMMON, "depth": _image_net, "torchvision_pretrain": Drop("seen from the weights")}
_STACKING = {"in_channels": _stacked}
_RESNET3D: dict[str, Rule] = {
    **_COMMON,
    "depth": To("depth"),
    "zero_init_residual": To("zero_init_residual", implied=True),
    "inflate_style": Same("3x1x1"),
    "non_local": Drop("non_local_cfg says the mode, model.non_local here"),
    "non_local_cfg": _non_local_mode,
    "with_pool1": Same(True),
}
_I3D: dict[str, Rule] = {
    **_RESNET3D,
    "conv1_kernel": Same((5, 7, 7), implied=(3, 7, 7)),
    "conv1_stride_t": Same(2, implied=1),
    "pool1_stride_t": Same(2, implied=1),
    "temporal_strides": Same((1, 1, 1, 1)),
    "inflate": Same(((1, 1, 1), (1, 0, 1, 0), (1, 0, 1, 0, 1, 0), (0, 1, 0)), implied=(1, 1, 1, 1)),
    "non_local": Same(((0, 0, 0), (0, 1, 0, 1), (0, 1, 0, 1, 0, 1), (0, 0, 0))),
    "with_pool2": Same(True),
}
_SLOW: dict[str, Rule] = {
    **_RESNET3D,
    "lateral": Same(False),
    "conv1_kernel": Same((1, 7, 7)),
    "conv1_stride_t": Same(1),
    "pool1_stride_t": Same(1),
    "temporal_strides": Same((1, 1, 1, 1)),
    "inflate": Same((0, 0, 1, 1)),
    "with_pool2": Same(False),
}


def _path(lateral: bool, **fixed: Any) -> dict[str, Rule]:
    """Arguments of one path of SlowFast."""
    rules: dict[str, Rule] = {**_SLOW, "type": Same("resnet3d"), "lateral": Same(lateral)}
    del rules["zero_init_residual"], rules["pretrained"]  # of both paths or of neither: asked of the whole net
    rules |= {"pretrained": Same(None, "set model.weights.path"), "zero_init_residual": Same(True)}
    return rules | {name: Same(value) for name, value in fixed.items()}


def _slow_path(draft: Draft, node: Node, prefix: str) -> None:
    _followed(draft, node, _path(True) | {
        "fusion_kernel": To("fusion_kernel"), "channel_ratio": _as_the_net("channel_ratio"),
        "speed_ratio": _as_the_net("speed_ratio"),
    }, prefix)  # fmt: skip


def _fast_path(draft: Draft, node: Node, prefix: str) -> None:
    _followed(draft, node, _path(False, base_channels=8, conv1_kernel=(5, 7, 7), inflate=(1, 1, 1, 1)) | {
        "depth": Same(draft.config_word("model", "backbone", "slow_pathway", "depth") or 50),
    }, prefix)  # fmt: skip


def _followed(draft: Draft, node: Node, rules: Mapping[str, Rule], prefix: str) -> None:
    if not isinstance(node, Table):
        raise ValueError("is no dict; left out")
    follow(draft, node, rules, prefix)


def _as_the_net(name: str) -> Rule:
    """An argument of a path that must say what the net says."""

    def rule(draft: Draft, node: Node, prefix: str) -> None:
        Same(draft.config_word("model", "backbone", name) or 8)(draft, node, prefix)

    return rule


_SLOWFAST: dict[str, Rule] = {
    "pretrained": weights,
    "resample_rate": To("slow_stride", implied=8),
    "speed_ratio": To("alpha", implied=8),
    "channel_ratio": To("beta_inverse", implied=8),
    "slow_pathway": _slow_path,
    "fast_pathway": _fast_path,
}


def _csn_kind(value: Any) -> str:
    return {"ir": "reduced", "ip": "preserved"}[value]


def _attention(draft: Draft, node: Node, prefix: str) -> None:
    Same("divided_space_time", "only attention along time, then space, is built (divided_space_time)")(
        draft, node, prefix
    )


def _torchvision_arch(names: Mapping[str, str]) -> Rule:
    def rule(draft: Draft, node: Node, prefix: str) -> None:
        arch = plain(node)
        if arch not in names:
            raise ValueError(f"there are {', '.join(names)} here (torchvision's); choose one with model=")
        draft.choose("model", names[arch], node)

    return rule


_TORCHVISION: dict[str, Rule] = {"pretrained": weights, "pretrained2d": Drop("seen from the weights")}
NOT_OURS = No("torchvision's net has its own; compare before you rely on equal numbers", off=())


@dataclass(frozen=True, slots=True)
class Family:
    """A backbone of mmaction2. ``option``: of ``model=``; ``head``: what its usual head takes without being told."""

    option: str
    rules: Mapping[str, Rule]
    head: Mapping[str, Any] = field(default_factory=dict)
    frames: bool = False  # an image net on every frame: the frames of one clip are mmaction2's clips of one frame
    values: Mapping[str, Any] = field(default_factory=dict)
    says: str = ""


#: Class of mmaction2's backbone -> the net here.
BACKBONES: dict[str, Family] = {
    "ResNet": Family("tsn_r50", {**_RESNET2D, **_STACKING}, {"dropout": 0.4, "init_std": 0.01}, frames=True),
    "ResNetTSM": Family(
        "tsm_r50",
        {**_RESNET2D, "num_segments": Drop("the frames of the clip, pipeline.*.sample"), "is_shift": Same(True),
         "non_local": Same((0, 0, 0, 0)), "shift_div": To("shift_div", implied=8), "shift_place": Same("blockres"),
         "temporal_pool": Same(False), "non_local_cfg": No("not in image nets"),
         "pretrained2d": Drop("seen from the weights")},
        {"dropout": 0.8, "init_std": 0.001}, frames=True,
    ),
    "MobileNetV2": Family(
        "tsn_r50", {**_COMMON, "widen_factor": Same(1.0), "out_indices": Same((7,))},
        {"dropout": 0.4, "init_std": 0.01}, frames=True, values={"backbone": "mobilenet_v2"},
    ),
    "MobileNetV2TSM": Family(
        "tsm_r50",
        {**_COMMON, "widen_factor": Same(1.0), "num_segments": Drop("the frames of the clip, pipeline.*.sample"),
         "is_shift": Same(True), "shift_div": To("shift_div", implied=8)},
        {"dropout": 0.8, "init_std": 0.001}, frames=True, values={"backbone": "mobilenet_v2"},
    ),
    "ResNet3dSlowOnly": Family("slowonly_r50", _SLOW, {"dropout": 0.5, "init_std": 0.01}),
    "ResNet3dSlowFast": Family("slowfast_r50", _SLOWFAST, {"dropout": 0.8, "init_std": 0.01}),
    "ResNet3d": Family("i3d_r50", _I3D, {"dropout": 0.5, "init_std": 0.01}),
    "C3D": Family(
        "c3d",
        {"pretrained": weights, "style": Same("pytorch"), "conv_cfg": Drop(_LAYERS), "norm_cfg": Drop(_LAYERS),
         "act_cfg": Drop(_LAYERS), "dropout_ratio": Same(0.5), "init_std": Same(0.005), "out_dim": Same(8192)},
        {"dropout": 0.5, "init_std": 0.01},
    ),
    "ResNet2Plus1d": Family(
        "r2plus1d_r34",
        {**_RESNET3D, "conv1_kernel": Same((3, 7, 7)), "conv1_stride_t": Same(1), "pool1_stride_t": Same(1),
         "inflate": Same((1, 1, 1, 1)), "spatial_strides": Same((1, 2, 2, 2)), "temporal_strides": Same((1, 2, 2, 2)),
         "with_pool2": Same(False)},
        {"dropout": 0.5, "init_std": 0.01},
    ),
    "ResNet3dCSN": Family(
        "ircsn_r50",
        {**_RESNET3D, "bottleneck_mode": To("interaction", _csn_kind, implied="reduced"), "with_pool2": Same(False),
         "temporal_strides": Same((1, 2, 2, 2)), "bn_frozen": _bn_frozen, "conv1_kernel": Same((3, 7, 7)),
         "conv1_stride_t": Same(1), "pool1_stride_t": Same(1), "inflate": Same((1, 1, 1, 1))},
        {"dropout": 0.5, "init_std": 0.01},
    ),
    "X3D": Family(
        "x3d_m",
        {**_COMMON, "gamma_w": To("width_factor", implied=1.0), "gamma_b": To("bottleneck_factor", implied=1.0),
         "gamma_d": To("depth_factor", implied=1.0), "se_style": Same("half"), "se_ratio": Same(1 / 16),
         "use_swish": Same(True), "zero_init_residual": To("zero_init_residual", implied=True)},
        {"dropout": 0.5, "init_std": 0.01},
    ),
    "TimeSformer": Family(
        "timesformer_divst",
        {"pretrained": weights, "num_frames": To("num_frames"), "img_size": To("img_size"),
         "patch_size": To("patch_size"), "embed_dims": To("width", implied=768), "num_heads": To("heads", implied=12),
         "num_transformer_layers": To("depth", implied=12), "in_channels": Same(3), "dropout_ratio": Same(0.0),
         "attention_type": _attention, "transformer_layers": Same(None), "norm_cfg": Drop(_LAYERS)},
        {"dropout": 0.0, "init_std": 0.02},
    ),
    "MViT": Family(
        "mvit_v2_s",
        {**_TORCHVISION, "arch": _torchvision_arch({"small": "mvit_v2_s"}), "drop_path_rate": NOT_OURS,
         "dim_mul_in_attention": Same(False)},
        says="torchvision's net of that name: same paper, its own dropout",
    ),
    "SwinTransformer3D": Family(
        "swin3d_t",
        {**_TORCHVISION, "arch": _torchvision_arch({"tiny": "swin3d_t", "small": "swin3d_s", "base": "swin3d_b"}),
         "drop_path_rate": NOT_OURS, "patch_size": Same((2, 4, 4)), "window_size": Same((8, 7, 7)),
         "mlp_ratio": Same(4.0), "qkv_bias": Same(True), "qk_scale": Same(None), "drop_rate": Same(0.0),
         "attn_drop_rate": Same(0.0), "patch_norm": Same(True)},
        says="torchvision's net of that name: same paper, its own dropout",
    ),
}  # fmt: skip
#: Classes that belong to another task.
OTHER_TASKS = {
    "RecognizerGCN": "skeletons", "SkeletonGCN": "skeletons", "PoseDataset": "skeletons",
    "BMN": "temporal localisation", "BSN": "temporal localisation", "TEM": "temporal localisation",
    "PEM": "temporal localisation", "SSN": "temporal localisation", "ActivityNetDataset": "temporal localisation",
    "FastRCNN": "detection", "FasterRCNN": "detection", "AVADataset": "detection", "AVAKineticsDataset": "detection",
    "AudioRecognizer": "audio", "RecognizerAudio": "audio", "AudioDataset": "audio", "AudioFeatureDataset": "audio",
    "CLIPSimilarity": "retrieval", "VindLURetrieval": "retrieval", "VindLUVQA": "question answering",
    "MMRecognizer3D": "several modalities", "RecognizerOmni": "images and videos",
}  # fmt: skip
