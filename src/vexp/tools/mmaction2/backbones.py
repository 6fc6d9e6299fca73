"""The ``backbone`` of a model: which class of mmaction2 is which ``model=`` in vexp, and the rules of its arguments."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vexp.core.errors import ConfigError
from vexp.tools.mmaction2.result import ConversionResult
from vexp.tools.mmaction2.rules import Ignore, Map, Require, Rule, Unsupported, as_lists, number, sets
from vexp.tools.mmaction2.tables import Section, all_of, apply_rules, required, same
from vexp.tools.mmaction2.tree import MappingNode, Node

# --- initial weights ----------------------------------------------------------------------------------------------


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


# --- arguments of backbones ------------------------------------------------------------------------------------------


@sets("/dist.sync_bn")
def _norm_type(result: ConversionResult, node: Node, prefix: str) -> None:
    name = str(node.to_python())
    if name not in ("SyncBN", "MMSyncBN"):
        raise ConfigError(f"the model of vexp has batch norm, not {name}")
    result.set(node, "dist.sync_bn", True, "has an effect with several GPUs (dist.nproc)")


def _batch_norm(eps: float = 1e-5) -> Section:
    """Return the rule of ``norm_cfg`` of a model with batch norm."""
    return Section({
        "type": _Type(("BN", "BN1d", "BN2d", "BN3d"), otherwise=_norm_type), "requires_grad": Require(True),
        "eps": Require(eps, implied=1e-5), "momentum": Require(0.1),
    })  # fmt: skip


def _layer_norm(eps: float) -> Section:
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


def _layer(*names: str) -> Section:
    """Return the rule of ``conv_cfg`` or ``act_cfg``."""
    return Section({"type": _Type(names), "inplace": Ignore("the numbers are the same")})


_BN, _CONV, _RELU = _batch_norm(), _layer("Conv3d", "Conv2d", "Conv"), _layer("ReLU")
_FROM_WEIGHTS = Ignore("seen from the weights")


#: Backbones whose stages have other names in vexp than those of a ResNet.
_OTHER_STAGES = ("ResNet3dSlowFast", "MobileNetV2", "MobileNetV2TSM")


@sets("freeze")
def _frozen_stages(result: ConversionResult, node: Node, prefix: str) -> None:
    stages = -1 if node.to_python() is None else number(node)
    if stages < 0:
        result.mark_default(node, "nothing is frozen")
        return
    if result.config.text("model", "backbone", "type") in _OTHER_STAGES:
        result.need("model.freeze", node, f"{stages} stages are frozen, which have other names here: name the modules")
        return
    stem = ["backbone.conv1"] + (["backbone.bn1"] if result.choices["model"] in ("tsn_r50", "tsm_r50") else [])
    result.set(node, "model.freeze", stem + [f"backbone.layer{i}" for i in range(1, stages + 1)])


@sets("non_local")
def _non_local(result: ConversionResult, node: Node, prefix: str) -> None:
    if not isinstance(node, MappingNode):
        raise ConfigError("names no mode of the non-local blocks; set model.non_local")
    scale = Ignore("dot_product has no scale") if node.text("mode") == "dot_product" else Require(False, implied=True)
    apply_rules(result, node, {
        "mode": Map("non_local", implied="embedded_gaussian"), "sub_sample": Require(True), "use_scale": scale,
        "norm_cfg": _BN,
    }, prefix)  # fmt: skip


def _in_channels(result: ConversionResult, node: Node, prefix: str) -> None:
    if node.to_python() != result.channels:
        raise ConfigError(f"a pixel of the data has {result.channels} values, and model.stacked is for TSN alone")
    result.mark_default(node, "model.channels")


@sets("stacked")
def _stacked(result: ConversionResult, node: Node, prefix: str) -> None:
    """Convert ``in_channels`` of TSN: mmaction2 stacks the optical flow of several frames, 2 * clip_len channels."""
    frames, rest = divmod(number(node), result.channels)
    if rest or not frames:
        raise ConfigError(f"is no multiple of the {result.channels} values that a pixel of the data has")
    if frames == 1:
        result.mark_default(node, "model.channels")
    else:
        result.set(node, f"{prefix}stacked", frames, "frames that are one image; in_channels is theirs together")


def _spatial_strides(result: ConversionResult, node: Node, prefix: str) -> None:
    last = 1 if result.config.text("model", "type") == "FastRCNN" else 2  # detectors keep the size in the last stage
    Require((1, 2, 2, last))(result, node, prefix)


_COMMON: dict[str, Rule] = {
    "pretrained": weights,
    "norm_eval": Map("norm_eval"), "partial_bn": Map("partial_bn"), "frozen_stages": _frozen_stages,
    "in_channels": _in_channels,
    "norm_cfg": _BN, "conv_cfg": _CONV, "act_cfg": _RELU,
    "init_cfg": init_cfg,
    "with_cp": Ignore("activations are kept: the same numbers, more memory; lower data.batch_size, raise "
                      "grad.accumulate"),
    **required(num_stages=4, style="pytorch", dilations=(1, 1, 1, 1), base_channels=64, out_indices=(3,)),
    "spatial_strides": _spatial_strides,
    "pretrained2d": Ignore("seen from the weights: those of an image model are inflated"),
    "advprop": Unsupported("not supported"),
}  # fmt: skip
_RESNET2D: dict[str, Rule] = {
    **_COMMON, "depth": Map("backbone", lambda depth: f"resnet{depth}"), "torchvision_pretrain": _FROM_WEIGHTS,
}  # fmt: skip
_TSM: dict[str, Rule] = {
    "num_segments": Ignore("the frames of the clip, pipeline.*.sample"), "is_shift": Require(True),
    "shift_div": Map("shift_div", implied=8),
}  # fmt: skip
_RESNET3D: dict[str, Rule] = {
    **_COMMON,
    "depth": Map("depth"), "zero_init_residual": Map("zero_init_residual", implied=True),
    "non_local": Ignore("non_local_cfg says the mode, model.non_local here"), "non_local_cfg": _non_local,
    **required(inflate_style="3x1x1", with_pool1=True, lateral_norm=False),
}  # fmt: skip
_I3D: dict[str, Rule] = {
    **_RESNET3D,
    "conv1_kernel": Require((5, 7, 7), implied=(3, 7, 7)),
    **all_of("conv1_stride_t pool1_stride_t", Require(2, implied=1)),
    "inflate": Require(((1, 1, 1), (1, 0, 1, 0), (1, 0, 1, 0, 1, 0), (0, 1, 0)), implied=(1, 1, 1, 1)),
    **required(temporal_strides=(1, 1, 1, 1), with_pool2=True,
               non_local=((0, 0, 0), (0, 1, 0, 1), (0, 1, 0, 1, 0, 1), (0, 0, 0))),
}  # fmt: skip
_UNSTRIDED: dict[str, Rule] = {
    **required(conv1_stride_t=1, pool1_stride_t=1),
    "with_pool2": Require(False, "the model of vexp has no second pool"),
}  # fmt: skip
_SLOW: dict[str, Rule] = {
    **_RESNET3D, **_UNSTRIDED,
    **required(lateral=False, conv1_kernel=(1, 7, 7), temporal_strides=(1, 1, 1, 1), inflate=(0, 0, 1, 1)),
}  # fmt: skip
_INFLATED: dict[str, Rule] = {"norm_cfg": _batch_norm(1e-3)} | required(
    conv1_kernel=(3, 7, 7), inflate=(1, 1, 1, 1), temporal_strides=(1, 2, 2, 2)
)


def _like(otherwise: int, *path: str) -> Rule:
    """Return the rule of an argument of a pathway that must equal another argument of the backbone."""
    return lambda result, node, prefix: Require(result.config.scalar("model", "backbone", *path) or otherwise)(
        result, node, prefix
    )


def _pathway(rules: Mapping[str, Rule]) -> Section:
    """Return the rule of one pathway of SlowFast; weights and initialization are those of the whole model."""
    shared = {**_SLOW, **required(type="resnet3d", zero_init_residual=True)}
    shared["pretrained"] = Require(None, "set model.weights.path")
    return Section({**shared, **rules}, otherwise=Unsupported("is not a dict; left out", off=()))


_SLOWFAST: dict[str, Rule] = {
    "pretrained": weights,
    "resample_rate": Map("slow_stride", implied=8),
    "speed_ratio": Map("alpha", implied=8),
    "channel_ratio": Map("beta_inverse", implied=8),
    "slow_pathway": _pathway({
        "lateral": Require(True), "fusion_kernel": Map("fusion_kernel"), "channel_ratio": _like(8, "channel_ratio"),
        "speed_ratio": _like(8, "speed_ratio"),
    }),
    "fast_pathway": _pathway({
        **required(base_channels=8, conv1_kernel=(5, 7, 7), inflate=(1, 1, 1, 1)),
        "depth": _like(50, "slow_pathway", "depth"),
    }),
}  # fmt: skip


def _architecture(names: Mapping[str, str]) -> Rule:
    """Return the rule of ``arch``, by the models of the same architecture."""

    def rule(result: ConversionResult, node: Node, prefix: str) -> None:
        arch = str(node.to_python())
        if arch not in names:
            raise ConfigError(f"supported: {', '.join(names)}; set the sizes of the model yourself")
        result.choose("model", names[arch], node)

    return rule


NOT_OURS = Unsupported("the model of vexp has no such argument", off=(None, 0, 0.0))
_TRANSFORMER: dict[str, Rule] = {
    "pretrained": weights, "pretrained2d": _FROM_WEIGHTS, "init_cfg": init_cfg, "in_channels": _in_channels,
    "norm_cfg": _layer_norm(1e-6), "with_cp": _COMMON["with_cp"],
    **required(qkv_bias=True, qk_scale=None, drop_rate=0.0, attn_drop_rate=0.0),
}  # fmt: skip
_MVIT: dict[str, Rule] = {
    **_TRANSFORMER,
    "arch": _architecture({"small": "mvitv2_s", "base": "mvitv2_b", "large": "mvitv2_l"}),
    "spatial_size": Map("img_size"), "temporal_size": Map("num_frames"),
    "drop_path_rate": Map("drop_path", implied=0.0), "dim_mul_in_attention": Map("expand_in_attention"),
    "pretrained_type": _FROM_WEIGHTS,
    **required(out_scales=-1, use_abs_pos_embed=False, pool_kernel=(3, 3, 3), dim_mul=2, head_mul=2,
               adaptive_kv_stride=(1, 8, 8), rel_pos_embed=True, residual_pooling=True, with_cls_token=True,
               output_cls_token=True, rel_pos_zero_init=False, mlp_ratio=4.0),
}  # fmt: skip
_VIDEOMAE: dict[str, Rule] = {
    **_TRANSFORMER, **same("img_size patch_size num_frames tubelet_size depth mlp_ratio"),
    "embed_dims": Map("width", implied=768), "num_heads": Map("heads", implied=12),
    "drop_path_rate": Map("drop_path", implied=0.0),
    **required(init_values=0.0, use_learnable_pos_emb=False, use_mean_pooling=True),
}  # fmt: skip
_SWIN: dict[str, Rule] = {
    **_TRANSFORMER, "norm_cfg": _layer_norm(1e-5),
    "arch": _architecture({"tiny": "swin_t", "small": "swin_s", "base": "swin_b", "large": "swin_l"}),
    "drop_path_rate": Map("drop_path", implied=0.1), "window_size": Map("window", list, implied=[8, 7, 7]),
    **required(patch_size=(2, 4, 4), mlp_ratio=4.0, patch_norm=True),
}  # fmt: skip


@sets("weights.path")
def _named_image_weights(result: ConversionResult, node: Node, prefix: str) -> None:
    """Convert ``pretrained`` of UniFormer and UniFormerV2, a name in a list of mmaction2, or a file."""
    value = node.to_python()
    if isinstance(value, str) and not re.search(r"\.\w+$", value):
        why = f"{value} is a name in a list of mmaction2: give the file or its address; null: random weights"
        result.need("model.weights.path", node, why)
        return
    weights(result, node, prefix)


@sets("mlp_dropout")
def _mlp_dropout(result: ConversionResult, node: Node, prefix: str) -> None:
    values = as_lists(node.to_python())
    if not isinstance(values, list) or len(set(values)) != 1:
        raise ConfigError("the global blocks have one dropout; set model.mlp_dropout")
    result.set(node, f"{prefix}mlp_dropout", values[0])


def _last_blocks(result: ConversionResult, node: Node, prefix: str) -> None:
    """Check ``return_list``: the global blocks of vexp read the last blocks."""
    depth = result.config.scalar("model", "backbone", "layers") or 12
    values = as_lists(node.to_python())
    if not isinstance(values, list) or values != list(range(depth - len(values), depth)):
        raise ConfigError(
            f"the global blocks read the last of the {depth} blocks; keep it, or use a custom model (plugins=)"
        )
    result.mark_unneeded(node, "model.global_blocks")


_UNIFORMER: dict[str, Rule] = {
    "pretrained": _named_image_weights, "pretrained2d": _FROM_WEIGHTS, "init_cfg": init_cfg,
    "depth": Map("depths", list, implied=[5, 8, 20, 7]), "embed_dim": Map("widths", list, implied=[64, 128, 320, 512]),
    "head_dim": Map("head_width", implied=64), "drop_path_rate": Map("drop_path", implied=0.0),
    "img_size": Ignore("the model takes any size"),
    **required(in_chans=3, mlp_ratio=4.0, qkv_bias=True, qk_scale=None, drop_rate=0.0, attn_drop_rate=0.0),
}  # fmt: skip
_UNIFORMER_V2: dict[str, Rule] = {
    "pretrained": _named_image_weights, "clip_pretrained": _FROM_WEIGHTS, "init_cfg": init_cfg,
    "input_resolution": Map("img_size"), **same("patch_size width heads"), "layers": Map("depth", implied=12),
    "n_layers": Map("global_blocks", implied=4), "n_dim": _like(768, "width"), "n_head": _like(12, "heads"),
    "return_list": _last_blocks, "backbone_drop_path_rate": Map("drop_path", implied=0.0), "mlp_dropout": _mlp_dropout,
    "drop_path_rate": Unsupported("a global block has the rate of the block that it reads", off=(0, 0.0)),
    "t_size": Ignore("the model takes any number of frames"),
    **all_of("dw_reduction double_lmhra kernel_size", Ignore("of parts that are switched off")),
    **required(temporal_downsample=False, no_lmhra=True, mlp_factor=4.0),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Family:
    """The option of group model for a backbone, its ``values`` that are not defaults, and the rules of the arguments.

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


def _head(dropout: float, init_std: float = 0.01) -> dict[str, Any]:
    return {"dropout": dropout, "init_std": init_std}


_MOBILE: dict[str, Rule] = {**_COMMON, "act_cfg": _layer("ReLU6")}
_MOBILENET: dict[str, Any] = {"frames": True, "values": {"backbone": "mobilenet_v2"}}
#: Class of mmaction2's backbone -> the model of vexp.
BACKBONES: dict[str, Family] = {
    "ResNet": Family("tsn_r50", {**_RESNET2D, "in_channels": _stacked}, _head(0.4), frames=True),
    "ResNetTSM": Family(
        "tsm_r50",
        {**_RESNET2D, **_TSM, **required(non_local=(0, 0, 0, 0), shift_place="blockres", temporal_pool=False),
         "non_local_cfg": Unsupported("not in image models"), "pretrained2d": _FROM_WEIGHTS},
        _head(0.8, 0.001), frames=True,
    ),
    "MobileNetV2": Family(
        "tsn_r50", {**_MOBILE, **required(widen_factor=1.0, out_indices=(7,))}, _head(0.4), **_MOBILENET
    ),
    "MobileNetV2TSM": Family(
        "tsm_r50", {**_MOBILE, **_TSM, "widen_factor": Require(1.0)}, _head(0.8, 0.001), **_MOBILENET
    ),
    "ResNet3dSlowOnly": Family("slowonly_r50", _SLOW, _head(0.5)),
    "ResNet3dSlowFast": Family("slowfast_r50", _SLOWFAST, _head(0.8)),
    "ResNet3d": Family("i3d_r50", _I3D, _head(0.5)),
    "C3D": Family(
        "c3d",
        {"pretrained": weights, "conv_cfg": _CONV, "act_cfg": _RELU,
         "norm_cfg": Unsupported("the model of vexp has no norm layers", off=(None,)),
         **required(style="pytorch", dropout_ratio=0.5, init_std=0.005, out_dim=8192)},
        _head(0.5),
    ),
    "ResNet2Plus1d": Family(
        "r2plus1d_r34",
        {**_RESNET3D, **_UNSTRIDED, **_INFLATED, "with_pool2": Ignore("R(2+1)D does not use it"),
         "conv_cfg": _layer("Conv2plus1d")},
        _head(0.5),
    ),
    "ResNet3dCSN": Family(
        "ircsn_r50",
        {**_RESNET3D, **_UNSTRIDED, **_INFLATED,
         "with_pool2": Require(False, "the model of vexp has no second pool", implied=True),
         "bottleneck_mode": Map("interaction", {"ir": "reduced", "ip": "preserved"}.__getitem__, implied="reduced"),
         "bn_frozen": Map("freeze", lambda _: ["backbone.*.bn"], "weight and bias of every norm layer",
                          off="norm layers are trained")},
        _head(0.5),
    ),
    "X3D": Family(
        "x3d_m",
        {**_COMMON, "gamma_w": Map("width_factor", implied=1.0), "gamma_b": Map("bottleneck_factor", implied=1.0),
         "gamma_d": Map("depth_factor", implied=1.0), "zero_init_residual": Map("zero_init_residual", implied=True),
         **required(se_style="half", se_ratio=1 / 16, use_swish=True)},
        _head(0.5),
    ),
    "TimeSformer": Family(
        "timesformer_divst",
        {"pretrained": weights, **same("num_frames img_size patch_size"), "embed_dims": Map("width", implied=768),
         "num_heads": Map("heads", implied=12), "num_transformer_layers": Map("depth", implied=12),
         "attention_type": Require("divided_space_time",
                                   "vexp has divided_space_time only"),
         **required(in_channels=3, dropout_ratio=0.0, transformer_layers=None), "norm_cfg": _layer_norm(1e-6)},
        _head(0.0, 0.02),
    ),
    "MViT": Family("mvitv2_s", _MVIT, _head(0.5, 0.02)),
    "SwinTransformer3D": Family("swin_t", _SWIN, _head(0.5)),
    "UniFormer": Family("uniformer_s", _UNIFORMER, _head(0.5)),
    "UniFormerV2": Family("uniformerv2_b16", _UNIFORMER_V2, _head(0.0, 0.02)),
    "VisionTransformer": Family("videomae_b", _VIDEOMAE, _head(0.0, 0.02)),
}  # fmt: skip
#: Classes that belong to another task.
OTHER_TASKS = {
    "RecognizerGCN": "skeletons", "SkeletonGCN": "skeletons", "PoseDataset": "skeletons",
    "BMN": "temporal localization", "BSN": "temporal localization", "TEM": "temporal localization",
    "PEM": "temporal localization", "SSN": "temporal localization", "ActivityNetDataset": "temporal localization",
    "FasterRCNN": "detection", "AVAKineticsDataset": "AVA-Kinetics", "MultiSportsDataset": "MultiSports",
    "AudioRecognizer": "audio", "RecognizerAudio": "audio", "AudioDataset": "audio", "AudioFeatureDataset": "audio",
    "CLIPSimilarity": "retrieval", "VindLURetrieval": "retrieval", "VindLUVQA": "question answering",
    "MMRecognizer3D": "several modalities", "RecognizerOmni": "images and videos",
}  # fmt: skip
