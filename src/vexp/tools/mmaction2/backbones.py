"""The ``backbone`` of a model: which class of mmaction2 is which ``model=`` in vexp, and the rules of its arguments.

Those of image models are in ``frame_backbones``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from vexp.core.errors import ConfigError
from vexp.tools.mmaction2.backbone_arguments import (
    COMMON,
    CONV,
    FROM_WEIGHTS,
    RELU,
    Family,
    batch_norm,
    head,
    in_channels,
    layer_norm,
    layer_type,
    like,
    non_local,
    non_local_blocks,
)
from vexp.tools.mmaction2.frame_backbones import FRAME_BACKBONES
from vexp.tools.mmaction2.initial_weights import init_cfg, named_image_weights, weights
from vexp.tools.mmaction2.result import ConversionResult
from vexp.tools.mmaction2.rules import Ignore, Map, Require, Rule, Unsupported, as_lists, sets
from vexp.tools.mmaction2.tables import Section, all_of, required, same
from vexp.tools.mmaction2.tree import Node

_RESNET3D: dict[str, Rule] = {
    **COMMON,
    "depth": Map("depth"), "zero_init_residual": Map("zero_init_residual", implied=True),
    "non_local": non_local_blocks(), "non_local_cfg": non_local,
    **required(inflate_style="3x1x1", with_pool1=True, lateral_norm=False, stage_blocks=None, conv1_stride_s=2,
               pool1_stride_s=2),
    **all_of("speed_ratio channel_ratio fusion_kernel lateral_infl lateral_activate", Ignore("of lateral connections")),
    "lateral_inv": Require(False),
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
    "non_local": non_local_blocks((0, 0, 0), (0, 1, 0, 1), (0, 1, 0, 1, 0, 1), (0, 0, 0)),
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
_POSE: dict[str, Rule] = {
    **COMMON, "in_channels": Map("channels", implied=3), "base_channels": Map("width", implied=64),
    "stage_blocks": Map("blocks", list, implied=[3, 4, 6]), "depth": Require(50),
    "temporal_strides": Map("temporal_strides", list, implied=[1, 1, 1]),
    "zero_init_residual": Map("zero_init_residual", implied=True),
    **all_of("conv1_stride_s pool1_stride_s", Require(1, implied=2)), "num_stages": Require(3, implied=4),
    "inflate": Require((0, 1, 1), implied=(0, 0, 1)), "spatial_strides": Require((2, 2, 2), implied=(1, 2, 2)),
    "dilations": Require((1, 1, 1)),
    "out_indices": Require((2,)), "with_pool2": Require(False),
    **required(conv1_stride_t=1, pool1_stride_t=1, lateral=False, conv1_kernel=(1, 7, 7), inflate_style="3x1x1",
               with_pool1=True),
}  # fmt: skip
_INFLATED: dict[str, Rule] = {"norm_cfg": batch_norm(Map("norm_eps", implied=1e-5))} | required(
    conv1_kernel=(3, 7, 7), inflate=(1, 1, 1, 1), temporal_strides=(1, 2, 2, 2)
)


@sets("depth")
def _slow_depth(result: ConversionResult, node: Node, prefix: str) -> None:
    Map("depth")(result, node, prefix)
    if node.to_python() != 50 and result.config.get("model", "backbone", "fast_pathway", "depth") is None:
        result.set_implied(f"{prefix}fast_depth", 50, "mmaction2's default of fast_pathway.depth")


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
    shared["non_local"] = Unsupported("SlowFast of vexp has no non-local blocks", off=(None, 0, (0,) * 4, [0] * 4))
    shared["non_local_cfg"] = Ignore("of blocks that are off")
    shared["lateral_infl"] = Require(2)
    return Section({**shared, **rules}, otherwise=Unsupported("is not a dict; left out", off=()))


_SLOWFAST: dict[str, Rule] = {
    "pretrained": weights,
    "resample_rate": Map("slow_stride", implied=8),
    "speed_ratio": Map("alpha", implied=8),
    "channel_ratio": Map("beta_inverse", implied=8),
    "slow_pathway": _pathway({
        "depth": _slow_depth, "lateral": Require(True, implied=False), **same("fusion_kernel lateral_norm"),
        "conv1_kernel": Require((1, 7, 7), implied=(3, 7, 7)), "inflate": Require((0, 0, 1, 1), implied=(1, 1, 1, 1)),
        "channel_ratio": like(8, "channel_ratio"), "speed_ratio": like(8, "speed_ratio"),
    }),
    "fast_pathway": _pathway({
        "base_channels": Require(8, implied=64), "conv1_kernel": Require((5, 7, 7), implied=(3, 7, 7)),
        "inflate": Require((1, 1, 1, 1)), "depth": _fast_depth,
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


_TRANSFORMER: dict[str, Rule] = {
    "pretrained": weights, "pretrained2d": FROM_WEIGHTS, "init_cfg": init_cfg, "in_channels": in_channels,
    "norm_cfg": layer_norm(1e-6), "with_cp": COMMON["with_cp"],
    **required(qkv_bias=True, qk_scale=None, drop_rate=0.0, attn_drop_rate=0.0),
}  # fmt: skip
_MVIT: dict[str, Rule] = {
    **_TRANSFORMER,
    "interpolate_mode": Ignore("of position embeddings, which the model does not have"),
    "patch_cfg": Section(required(kernel_size=(3, 7, 7), stride=(2, 4, 4), padding=(1, 3, 3))),
    "arch": _architecture({"small": "mvitv2_s", "base": "mvitv2_b", "large": "mvitv2_l"}),
    "spatial_size": Map("img_size", implied=224), "temporal_size": Map("num_frames", implied=16),
    "drop_path_rate": Map("drop_path", implied=0.0), "dim_mul_in_attention": Map("expand_in_attention"),
    "pretrained_type": FROM_WEIGHTS,
    **required(out_scales=-1, use_abs_pos_embed=False, pool_kernel=(3, 3, 3), dim_mul=2, head_mul=2,
               adaptive_kv_stride=(1, 8, 8), rel_pos_embed=True, residual_pooling=True, with_cls_token=True,
               output_cls_token=True, rel_pos_zero_init=False, mlp_ratio=4.0),
}  # fmt: skip
_VIDEOMAE: dict[str, Rule] = {
    **_TRANSFORMER, **same("img_size patch_size num_frames tubelet_size depth mlp_ratio"),
    "embed_dims": Map("width", implied=768), "num_heads": Map("heads", implied=12),
    "drop_path_rate": Map("drop_path", implied=0.0),
    **required(init_values=0.0, use_learnable_pos_emb=False, use_mean_pooling=True, return_feat_map=False),
}  # fmt: skip
_SWIN: dict[str, Rule] = {
    **_TRANSFORMER, "norm_cfg": layer_norm(1e-5),
    "arch": _architecture({"tiny": "swin_t", "small": "swin_s", "base": "swin_b", "large": "swin_l"}),
    "drop_path_rate": Map("drop_path", implied=0.1), "window_size": Map("window", list, implied=[8, 7, 7]),
    "act_cfg": layer_type("GELU"), "frozen_stages": Unsupported("name the modules in model.freeze", off=(None, -1)),
    **required(patch_size=(2, 4, 4), mlp_ratio=4.0, patch_norm=True, out_indices=(3,), out_after_downsample=False),
}  # fmt: skip


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
    "pretrained": named_image_weights, "pretrained2d": FROM_WEIGHTS, "init_cfg": init_cfg,
    "depth": Map("depths", list, implied=[5, 8, 20, 7]), "embed_dim": Map("widths", list, implied=[64, 128, 320, 512]),
    "head_dim": Map("head_width", implied=64), "drop_path_rate": Map("drop_path", implied=0.0),
    "img_size": Ignore("the model takes any size"),
    **required(in_chans=3, mlp_ratio=4.0, qkv_bias=True, qk_scale=None, drop_rate=0.0, attn_drop_rate=0.0),
}  # fmt: skip
_UNIFORMER_V2: dict[str, Rule] = {
    "pretrained": named_image_weights, "clip_pretrained": FROM_WEIGHTS, "init_cfg": init_cfg,
    "input_resolution": Map("img_size"), **same("patch_size width heads"), "layers": Map("depth", implied=12),
    "n_layers": Map("global_blocks", implied=4), "n_dim": like(768, "width"), "n_head": like(12, "heads"),
    "return_list": _last_blocks, "backbone_drop_path_rate": Map("drop_path", implied=0.0), "mlp_dropout": _mlp_dropout,
    "drop_path_rate": Map("global_drop_path", implied=0.0), **same("temporal_downsample"),
    "t_size": Ignore("the model takes any number of frames"),
    **all_of("dw_reduction double_lmhra kernel_size", Ignore("of parts that are switched off")),
    **required(no_lmhra=True, mlp_factor=4.0),
}  # fmt: skip


#: Class of mmaction2's backbone -> the model of vexp.
BACKBONES: dict[str, Family] = {
    **FRAME_BACKBONES,
    "C2D": Family(
        "c2d_r50",
        {**COMMON, "depth": Map("depth"), "torchvision_pretrain": FROM_WEIGHTS, **required(strides=(1, 2, 2, 2))},
        head(0.5),
    ),
    "ResNet3dSlowOnly": Family(
        "slowonly_r50",
        {**_SLOW, **same("with_pool1"),
         "non_local": non_local_blocks((0, 0, 0), (1, 0, 1, 0), (1, 0, 1, 0, 1, 0), (0, 0, 0))},
        head(0.5),
    ),
    "OmniResNet": Family("omni_r50", {**required(layers=(3, 4, 6, 3)), "pretrain_2d": weights, "init_cfg": init_cfg}),
    "ResNet3dSlowFast": Family("slowfast_r50", _SLOWFAST, head(0.8)),
    "ResNet3d": Family("i3d_r50", _I3D, head(0.5)),
    "C3D": Family(
        "c3d",
        {"pretrained": weights, "conv_cfg": CONV, "act_cfg": RELU,
         "norm_cfg": Unsupported("the model of vexp has no norm layers", off=(None,)),
         **required(style="pytorch", dropout_ratio=0.5, init_std=0.005, out_dim=8192)},
        head(0.5),
    ),
    "ResNet2Plus1d": Family(
        "r2plus1d_r34",
        {**_RESNET3D, **_UNSTRIDED, **_INFLATED, "with_pool2": Ignore("R(2+1)D does not use it"),
         "depth": Map("depth", implied=50),
         "conv_cfg": Require({"type": "Conv2plus1d"}, implied={"type": "Conv3d"}),
         "temporal_strides": Require((1, 2, 2, 2), implied=(1, 1, 1, 1))},
        head(0.5), values={"norm_eps": 1e-5},
    ),
    "ResNet3dCSN": Family(
        "ircsn_r50",
        {**_RESNET3D, **_UNSTRIDED, **_INFLATED,
         "with_pool2": Require(False, "the model of vexp has no second pool", implied=True),
         **required(inflate_style="3x3x3"),
         "bottleneck_mode": Map("interaction", {"ir": "reduced", "ip": "preserved"}.__getitem__, implied="reduced"),
         "bn_frozen": Map("freeze", lambda _: ["backbone.*.bn"], "weight and bias of every norm layer",
                          off="norm layers are trained")},
        head(0.5),
    ),
    "X3D": Family(
        "x3d_m",
        {**COMMON, "gamma_w": Map("width_factor", implied=1.0), "gamma_b": Map("bottleneck_factor", implied=1.0),
         "gamma_d": Map("depth_factor", implied=1.0), "zero_init_residual": Map("zero_init_residual", implied=True),
         **required(se_style="half", se_ratio=1 / 16, use_swish=True, spatial_strides=(2, 2, 2, 2))},
        head(0.5),
    ),
    "TimeSformer": Family(
        "timesformer_divst",
        {"pretrained": weights, **same("num_frames img_size patch_size"), "embed_dims": Map("width", implied=768),
         "num_heads": Map("heads", implied=12), "num_transformer_layers": Map("depth", implied=12),
         "attention_type": Map("attention_type", implied="divided_space_time"),
         **required(in_channels=3, dropout_ratio=0.0, transformer_layers=None), "norm_cfg": layer_norm(1e-6)},
        head(0.0, 0.02),
    ),
    "MViT": Family("mvitv2_b", _MVIT, head(0.5, 0.02)),
    "SwinTransformer3D": Family("swin_t", _SWIN, head(0.5)),
    "UniFormer": Family("uniformer_s", _UNIFORMER, head(0.5)),
    "UniFormerV2": Family("uniformerv2_b16", _UNIFORMER_V2, head(0.0, 0.02)),
    "VisionTransformer": Family("videomae_b", _VIDEOMAE, head(0.0, 0.02)),
}  # fmt: skip
#: Those of heat maps (PoseDataset).
POSE_BACKBONES: dict[str, Family] = {"ResNet3dSlowOnly": Family("posec3d", _POSE, head(0.5))}
#: Models with the neck TPN, by the class of the backbone.
WITH_TPN_NECK = {
    name: replace(BACKBONES[name], option=option, head=head(0.4), rules={
        **BACKBONES[name].rules, "out_indices": Require((2, 3), implied=(3,)),
        **all_of("non_local non_local_cfg", Unsupported("the TPN of vexp has no non-local blocks")),
        **required(temporal_pool=False, with_pool1=True),
    })
    for name, option in (("ResNetTSM", "tpn_tsm_r50"), ("ResNet3dSlowOnly", "tpn_slowonly_r50"))
}  # fmt: skip
