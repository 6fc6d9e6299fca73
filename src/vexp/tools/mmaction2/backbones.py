"""The ``backbone`` of a model: which class of mmaction2 is which ``model=`` in vexp, and the rules of its arguments."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from vexp.core.errors import ConfigError
from vexp.model.image_models import TIMM_PREFIX, registered_names
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


def _batch_norm(eps: Rule | None = None) -> Section:
    """Return the rule of ``norm_cfg`` of a model with batch norm; ``eps`` is that of its argument."""
    return Section({
        "type": _Type(("BN", "BN1d", "BN2d", "BN3d"), otherwise=_norm_type), "requires_grad": Require(True),
        "eps": eps or Require(1e-5), "momentum": Require(0.1),
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


def _non_local_blocks(*blocks: Sequence[int]) -> Rule:
    """Return the rule of ``non_local`` of a model with the non-local ``blocks`` of each stage."""

    def rule(result: ConversionResult, node: Node, prefix: str) -> None:
        if not _has_non_local(result):
            result.mark_default(node, "none")
        elif result.config.get("model", "backbone", "non_local_cfg") is None:
            raise ConfigError("no non_local_cfg: mmaction2's blocks have no norm, those of vexp have a batch norm")
        else:
            Require(blocks)(result, node, prefix)

    return rule


@sets("non_local")
def _non_local(result: ConversionResult, node: Node, prefix: str) -> None:
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


def is_image_model(option: str) -> bool:
    """Whether an option of group model applies an image model to each frame."""
    return option.startswith(("tsn", "tsm", "tin", "tanet", "trn", "tpn_tsm"))


_COMMON: dict[str, Rule] = {
    "pretrained": weights,
    "norm_eval": Map("norm_eval"), "partial_bn": Map("partial_bn"), "frozen_stages": _frozen_stages,
    "in_channels": _in_channels,
    "norm_cfg": _BN, "conv_cfg": _CONV, "act_cfg": _RELU,
    "init_cfg": init_cfg,
    "with_cp": Ignore("activations are kept: the same numbers, more memory; lower data.batch_size, raise "
                      "grad.accumulate"),
    **required(num_stages=4, style="pytorch", dilations=(1, 1, 1, 1), spatial_strides=(1, 2, 2, 2), base_channels=64,
               out_indices=(3,)),
    "pretrained2d": Ignore("seen from the weights: those of an image model are inflated"),
    "advprop": Unsupported("not supported"),
}  # fmt: skip
_RESNET2D: dict[str, Rule] = {
    **_COMMON, "depth": Map("backbone", lambda depth: f"resnet{depth}"), "torchvision_pretrain": _FROM_WEIGHTS,
}  # fmt: skip
_TSM: dict[str, Rule] = {
    "num_segments": Ignore("the frames of the clip, pipeline.*.sample"), "is_shift": Require(True),
    "shift_div": Map("shift_div", implied=8), "pretrained2d": _FROM_WEIGHTS,
}  # fmt: skip


#: Where SlowOnly and TSM have non-local blocks.
_FROM_THE_FIRST = ((0, 0, 0), (1, 0, 1, 0), (1, 0, 1, 0, 1, 0), (0, 0, 0))


def _non_local_blocks_of_tsm(result: ConversionResult, node: Node, prefix: str) -> None:
    """Check ``non_local`` of ResNetTSM, which has no effect without ``non_local_cfg``."""
    settings = result.config.get("model", "backbone", "non_local_cfg")
    if isinstance(settings, MappingNode) and settings.items:
        _non_local_blocks(*_FROM_THE_FIRST)(result, node, prefix)
    else:
        result.mark_unneeded(node, "no effect without non_local_cfg")


@sets(*_non_local.keys)
def _non_local_of_tsm(result: ConversionResult, node: Node, prefix: str) -> None:
    if isinstance(node, MappingNode) and not node.items:
        result.mark_default(node, "no non-local blocks")
    else:
        _non_local(result, node, prefix)


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
    **_COMMON, "depth": _resnext, **all_of("groups width_per_group", Ignore("part of the name of the image model")),
    "norm_cfg": _BN,
}  # fmt: skip


def _mobileone(arch: str) -> str:
    if arch not in ("s0", "s1", "s2", "s3", "s4"):
        raise ConfigError("supported: s0, s1, s2, s3, s4; choose model.backbone yourself")
    return f"{TIMM_PREFIX}mobileone_{arch}"


_MOBILEONE: dict[str, Rule] = {
    **_COMMON, "arch": Map("backbone", _mobileone, implied=_mobileone("s0")), "out_indices": Require((3,)),
    "deploy": Require(False, "the model of vexp has the branches of training, whose weights the file must have"),
    "se_cfg": Section(required(ratio=16)),
}  # fmt: skip
_RESNET3D: dict[str, Rule] = {
    **_COMMON,
    "depth": Map("depth"), "zero_init_residual": Map("zero_init_residual", implied=True),
    "non_local": _non_local_blocks(), "non_local_cfg": _non_local,
    **required(inflate_style="3x1x1", with_pool1=True, lateral_norm=False),
}  # fmt: skip


def _inflated_blocks(value: Any) -> str:
    """Return the value of ``model.inflate`` of I3D."""
    blocks = as_lists(value)
    if blocks == [1, 1, 1, 1]:
        return "all"
    if blocks != [[1, 1, 1], [1, 0, 1, 0], [1, 0, 1, 0, 1, 0], [0, 1, 0]]:
        raise ConfigError("the model of vexp has every_second or all, see model.inflate")
    return "every_second"


_I3D: dict[str, Rule] = {
    **_RESNET3D,
    "conv1_kernel": Require((5, 7, 7), implied=(3, 7, 7)),
    "conv1_stride_t": Map("conv1_stride_t", implied=1), "pool1_stride_t": Map("pool1_stride_t", implied=1),
    "inflate": Map("inflate", _inflated_blocks, implied="all"),
    "non_local": _non_local_blocks((0, 0, 0), (0, 1, 0, 1), (0, 1, 0, 1, 0, 1), (0, 0, 0)),
    **required(temporal_strides=(1, 1, 1, 1), with_pool2=True),
}  # fmt: skip
_UNSTRIDED: dict[str, Rule] = {
    **required(conv1_stride_t=1, pool1_stride_t=1),
    "with_pool2": Require(False, "the model of vexp has no second pool"),
}  # fmt: skip
_SLOW: dict[str, Rule] = {
    **_RESNET3D, **_UNSTRIDED,
    **required(lateral=False, conv1_kernel=(1, 7, 7), temporal_strides=(1, 1, 1, 1), inflate=(0, 0, 1, 1)),
}  # fmt: skip
_INFLATED: dict[str, Rule] = {"norm_cfg": _batch_norm(Map("norm_eps", implied=1e-5))} | required(
    conv1_kernel=(3, 7, 7), inflate=(1, 1, 1, 1), temporal_strides=(1, 2, 2, 2)
)


def _like(otherwise: int, *path: str) -> Rule:
    """Return the rule of an argument of a pathway that must equal another argument of the backbone."""
    return lambda result, node, prefix: Require(result.config.scalar("model", "backbone", *path) or otherwise)(
        result, node, prefix
    )


@sets("fast_depth")
def _fast_depth(result: ConversionResult, node: Node, prefix: str) -> None:
    if node.to_python() == (result.config.scalar("model", "backbone", "slow_pathway", "depth") or 50):
        result.mark_default(node, "that of the slow pathway")
    else:
        Map("fast_depth")(result, node, prefix)


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
        "lateral": Require(True), **same("fusion_kernel lateral_norm"), "channel_ratio": _like(8, "channel_ratio"),
        "speed_ratio": _like(8, "speed_ratio"),
    }),
    "fast_pathway": _pathway({
        **required(base_channels=8, conv1_kernel=(5, 7, 7), inflate=(1, 1, 1, 1)),
        "depth": _fast_depth,
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
    "drop_path_rate": Map("global_drop_path", implied=0.0), **same("temporal_downsample"),
    "t_size": Ignore("the model takes any number of frames"),
    **all_of("dw_reduction double_lmhra kernel_size", Ignore("of parts that are switched off")),
    **required(no_lmhra=True, mlp_factor=4.0),
}  # fmt: skip


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


def _head(dropout: float, init_std: float = 0.01) -> dict[str, Any]:
    return {"dropout": dropout, "init_std": init_std}


_MOBILE: dict[str, Rule] = {**_COMMON, "act_cfg": _layer("ReLU6")}
_MOBILENET: dict[str, Any] = {"frames": True, "values": {"backbone": "mobilenet_v2"}}
#: Class of mmaction2's backbone -> the model of vexp.
BACKBONES: dict[str, Family] = {
    "ResNet": Family("tsn_r50", {**_RESNET2D, "in_channels": _stacked}, _head(0.4), frames=True),
    "ResNetTSM": Family("tsm_r50", _TSM_RESNET, _head(0.8, 0.001), frames=True),
    "ResNetTIN": Family("tin_r50", _TIN, _head(0.8, 0.001), frames=True),
    "TANet": Family("tanet_r50", _TANET, _head(0.8, 0.001), frames=True),
    "MobileNetV2": Family(
        "tsn_r50", {**_MOBILE, **required(widen_factor=1.0, out_indices=(7,))}, _head(0.4), **_MOBILENET
    ),
    "MobileNetV2TSM": Family(
        "tsm_r50", {**_MOBILE, **_TSM, "widen_factor": Require(1.0)}, _head(0.8, 0.001), **_MOBILENET
    ),
    **dict.fromkeys(("mmpretrain.ResNeXt", "mmcls.ResNeXt"), Family("tsn_r50", _RESNEXT, _head(0.4), frames=True)),
    **dict.fromkeys(("mmpretrain.MobileOne", "mmcls.MobileOne"),
                    Family("tsn_r50", _MOBILEONE, _head(0.4), frames=True)),
    "MobileOneTSM": Family("tsm_r50", {**_MOBILEONE, **_TSM}, _head(0.8, 0.001), frames=True),
    "C2D": Family("c2d_r50", {**_COMMON, "depth": Map("depth"), "torchvision_pretrain": _FROM_WEIGHTS}, _head(0.5)),
    "ResNet3dSlowOnly": Family(
        "slowonly_r50",
        {**_SLOW, **same("with_pool1"),
         "non_local": _non_local_blocks((0, 0, 0), (1, 0, 1, 0), (1, 0, 1, 0, 1, 0), (0, 0, 0))},
        _head(0.5),
    ),
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
        _head(0.5), values={"norm_eps": 1e-5},
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
         "attention_type": Map("attention_type", implied="divided_space_time"),
         **required(in_channels=3, dropout_ratio=0.0, transformer_layers=None), "norm_cfg": _layer_norm(1e-6)},
        _head(0.0, 0.02),
    ),
    "MViT": Family("mvitv2_s", _MVIT, _head(0.5, 0.02)),
    "SwinTransformer3D": Family("swin_t", _SWIN, _head(0.5)),
    "UniFormer": Family("uniformer_s", _UNIFORMER, _head(0.5)),
    "UniFormerV2": Family("uniformerv2_b16", _UNIFORMER_V2, _head(0.0, 0.02)),
    "VisionTransformer": Family("videomae_b", _VIDEOMAE, _head(0.0, 0.02)),
}  # fmt: skip
#: Models with a head or a neck of their own, by the class of the backbone.
WITH_TRN_HEAD = {
    "ResNet": Family("trn_r50", _RESNET2D, _head(0.8, 0.001), frames=True),
}  # fmt: skip
WITH_TPN_NECK = {
    name: replace(BACKBONES[name], option=option, head=_head(0.4), rules={
        **BACKBONES[name].rules, "out_indices": Require((2, 3), implied=(3,)),
        **all_of("non_local non_local_cfg", Unsupported("the TPN of vexp has no non-local blocks")),
        **required(temporal_pool=False, with_pool1=True),
    })
    for name, option in (("ResNetTSM", "tpn_tsm_r50"), ("ResNet3dSlowOnly", "tpn_slowonly_r50"))
}  # fmt: skip
#: Classes that belong to another task.
OTHER_TASKS = {
    "RecognizerGCN": "skeletons", "SkeletonGCN": "skeletons", "PoseDataset": "skeletons",
    "BMN": "temporal localization", "BSN": "temporal localization", "TEM": "temporal localization",
    "PEM": "temporal localization", "SSN": "temporal localization", "ActivityNetDataset": "temporal localization",
    "FastRCNN": "detection", "FasterRCNN": "detection", "AVADataset": "detection", "AVAKineticsDataset": "detection",
    "AudioRecognizer": "audio", "RecognizerAudio": "audio", "AudioDataset": "audio", "AudioFeatureDataset": "audio",
    **dict.fromkeys(("CLIPSimilarity", "VindLURetrieval", "VindLURetrievalMC", "VideoTextDataset"), "retrieval"),
    **dict.fromkeys(("DRN", "TCANet", "SSNDataset", "CharadesSTADataset"), "temporal localization"),
    "VindLUVQA": "question answering",
    "MMRecognizer3D": "several modalities", "RecognizerOmni": "images and videos",
}  # fmt: skip
