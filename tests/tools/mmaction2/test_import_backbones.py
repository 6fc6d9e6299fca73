"""Backbones of mmaction2's configs: 3D models, UniFormer, UniFormerV2, image models of torchvision and timm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.imported import SMALL_1, below, convert_source, read

from vexp.cli.import_mmaction import imported
from vexp.core.errors import UserError
from vexp.tools.mmaction2.report import model_differences
from vexp.tools.mmaction2.result import ConversionResult

_HEADS = {
    "UniFormer": "dict(type='I3DHead', dropout_ratio=0., num_classes=5, in_channels=512)",
    "UniFormerV2": "dict(type='UniFormerHead', dropout_ratio=0.5, num_classes=5, in_channels=768)",
}
#: mmaction2 1.2's uniformerv2-large-p14-res224_clip-kinetics710-pre_u8_kinetics400-rgb.py
LARGE = """type='UniFormerV2', input_resolution=224, patch_size=14, width=1024, layers=24, heads=16, t_size=8,
    dw_reduction=1.5, backbone_drop_path_rate=0., temporal_downsample=False, no_lmhra=True, double_lmhra=True,
    return_list=[20, 21, 22, 23], n_layers=4, n_dim=1024, n_head=16, mlp_factor=4., drop_path_rate=0.,
    mlp_dropout=[0.5, 0.5, 0.5, 0.5], clip_pretrained=False"""


def converted(backbone: str, folder: Path, head: str | None = None) -> ConversionResult:
    head = head or next(text for name, text in _HEADS.items() if f"'{name}'" in backbone)
    text = SMALL_1 + f"model['backbone'] = dict({backbone})\nmodel['cls_head'] = {head}\n"
    return convert_source(read(folder / "config.py", text))


def of_model(result: ConversionResult) -> dict[str, Any]:
    return {key: given.value for key, given in result.values.items() if key.startswith("model.")}


@pytest.mark.parametrize(
    ("backbone", "option", "values"),
    [
        (
            "type='UniFormer', depth=[3, 4, 8, 3], embed_dim=[64, 128, 320, 512], head_dim=64, drop_path_rate=0.1",
            "uniformer_s", {"model.init_std": 0.01},
        ),
        (
            "type='UniFormer', depth=[5, 8, 20, 7], embed_dim=[64, 128, 320, 512], head_dim=64, drop_path_rate=0.3",
            "uniformer_s",
            {"model.depths": [5, 8, 20, 7], "model.drop_path": 0.3, "model.init_std": 0.01},
        ),
        (
            "type='UniFormer'", "uniformer_s",
            {"model.depths": [5, 8, 20, 7], "model.drop_path": 0.0, "model.init_std": 0.01},
        ),
        (
            LARGE, "uniformerv2_b16",
            {"model.patch_size": 14, "model.width": 1024, "model.depth": 24, "model.heads": 16},
        ),
        (
            "type='UniFormerV2', temporal_downsample=True, backbone_drop_path_rate=0.1, drop_path_rate=0.2",
            "uniformerv2_b16",
            {"model.temporal_downsample": True, "model.drop_path": 0.1, "model.global_drop_path": 0.2},
        ),
    ],
)  # fmt: skip
def test_convert_uniformer_gives_published_sizes(
    backbone: str, option: str, values: dict[str, Any], tmp_path: Path
) -> None:
    result = converted(backbone, tmp_path)
    assert (result.choices["model"], of_model(result)) == (option, values)


_NON_LOCAL = "non_local_cfg=dict(sub_sample=True, use_scale={}, norm_cfg=dict(type='BN3d'), mode='{}')"
_R2PLUS1D = "type='ResNet2Plus1d', depth=34, zero_init_residual=False, conv_cfg=dict(type='Conv2plus1d'), "
_R2PLUS1D += "temporal_strides=(1, 2, 2, 2)"
_EVERY_SECOND = "inflate=((1, 1, 1), (1, 0, 1, 0), (1, 0, 1, 0, 1, 0), (0, 1, 0))"


def slow_fast(slow: str, fast: str = "") -> str:
    slow = f"lateral=True, conv1_kernel=(1, 7, 7), inflate=(0, 0, 1, 1), {slow}"
    fast = f"base_channels=8, conv1_kernel=(5, 7, 7), {fast}"
    return f"type='ResNet3dSlowFast', slow_pathway=dict({slow}), fast_pathway=dict({fast})"


@pytest.mark.parametrize(
    ("backbone", "option", "values"),
    [
        ("type='C2D', depth=50, pretrained=None, norm_eval=False", "c2d_r50", {}),
        ("type='C2D', depth=101", "c2d_r50", {"depth": 101}),
        ("type='ResNet3dSlowOnly', depth=50, with_pool1=False", "slowonly_r50", {"with_pool1": False}),
        ("type='ResNet3dSlowOnly', depth=50, non_local=(0, 0, 0, 0), non_local_cfg=dict()", "slowonly_r50", {}),
        (
            "type='ResNet3dSlowOnly', depth=50, non_local=((0, 0, 0), (1, 0, 1, 0), (1, 0, 1, 0, 1, 0), (0, 0, 0)), "
            + _NON_LOCAL.format(True, "embedded_gaussian"),
            "slowonly_r50", {"non_local": "embedded_gaussian", "non_local_scale": True},
        ),
        (
            f"type='ResNet3d', depth=50, conv1_kernel=(5, 7, 7), conv1_stride_t=2, pool1_stride_t=2, {_EVERY_SECOND}, "
            "zero_init_residual=False, non_local=((0, 0, 0), (0, 1, 0, 1), (0, 1, 0, 1, 0, 1), (0, 0, 0)), "
            + _NON_LOCAL.format(True, "gaussian"),
            "i3d_r50", {"non_local": "gaussian"},
        ),
        (
            "type='ResNet3d', depth=50, conv1_kernel=(5, 7, 7), conv1_stride_t=1, pool1_stride_t=1, "
            "inflate=(1, 1, 1, 1), with_pool2=True, zero_init_residual=False",
            "i3d_r50", {"inflate": "all", "conv1_stride_t": 1, "pool1_stride_t": 1},
        ),
        (
            "type='ResNet3d', depth=50, conv1_kernel=(5, 7, 7)",
            "i3d_r50",
            {"inflate": "all", "conv1_stride_t": 1, "pool1_stride_t": 1, "zero_init_residual": True},
        ),
        (slow_fast("lateral_norm=True"), "slowfast_r50", {"lateral_norm": True}),
        (slow_fast("depth=101", "depth=50"), "slowfast_r50", {"depth": 101, "fast_depth": 50}),
        (slow_fast("depth=101"), "slowfast_r50", {"depth": 101, "fast_depth": 50}),
        (slow_fast("depth=152", "depth=152"), "slowfast_r50", {"depth": 152}),
        (slow_fast("non_local=(0, 0, 0, 0), non_local_cfg=dict(sub_sample=False)"), "slowfast_r50", {}),
        ("type='ResNet3dSlowFast'", "slowfast_r50", {}),
        (f"{_R2PLUS1D}, norm_cfg=dict(type='BN3d', eps=1e-3)", "r2plus1d_r34", {}),
        (_R2PLUS1D, "r2plus1d_r34", {"norm_eps": 1e-5}),
        ("type='ResNet3dCSN', depth=50, with_pool2=False, zero_init_residual=False", "ircsn_r50", {}),
        ("type='ResNet3dCSN', depth=50, with_pool2=False, zero_init_residual=False, norm_cfg=dict(type='BN3d')",
         "ircsn_r50", {"norm_eps": 1e-5}),
    ],
)  # fmt: skip
def test_convert_3d_model_gives_published_variant(
    backbone: str, option: str, values: dict[str, Any], tmp_path: Path
) -> None:
    result = converted(backbone, tmp_path, "dict(type='I3DHead', num_classes=5, in_channels=2048, dropout_ratio=0.5)")
    assert (result.choices["model"], of_model(result)) == (option, {f"model.{key}": v for key, v in values.items()})
    assert not model_differences(result)


WRITTEN_DEFAULTS = [
    "type='ResNet3dSlowOnly', depth=50, stage_blocks=None, conv1_stride_s=2, pool1_stride_s=2, lateral_inv=False, "
    "speed_ratio=8, fusion_kernel=5",
    "type='ResNet3dSlowFast', slow_pathway=dict(lateral=True, conv1_kernel=(1, 7, 7), inflate=(0, 0, 1, 1), "
    "lateral_infl=2, conv1_stride_s=2)",
    "type='X3D', gamma_w=1, spatial_strides=(2, 2, 2, 2)",
    "type='C2D', depth=50, strides=(1, 2, 2, 2)",
    "type='ResNetTSM', depth=50, strides=(1, 2, 2, 2)",
    "type='MobileNetV2TSM', out_indices=(7, )",
    "type='SwinTransformer3D', arch='tiny', act_cfg=dict(type='GELU'), frozen_stages=-1, out_indices=(3, ), "
    "out_after_downsample=False",
    "type='MViT', arch='small', interpolate_mode='trilinear', "
    "patch_cfg=dict(kernel_size=(3, 7, 7), stride=(2, 4, 4), padding=(1, 3, 3))",
    "type='VisionTransformer', return_feat_map=False",
]


@pytest.mark.parametrize("backbone", WRITTEN_DEFAULTS, ids=[text[6:20] for text in WRITTEN_DEFAULTS])
def test_default_of_mmaction2_may_be_written_out(backbone: str, tmp_path: Path) -> None:
    """Of the signatures of mmaction2 1.2.0."""
    result = converted(backbone, tmp_path, "dict(type='I3DHead', num_classes=5, in_channels=2048, dropout_ratio=0.5)")
    assert not model_differences(result)


def test_default_that_vexp_does_not_build_is_refused(tmp_path: Path) -> None:
    text = SMALL_1.replace("'ResNet3dSlowOnly', depth=50", _R2PLUS1D.replace("depth=34, ", "").removeprefix("type="))
    with pytest.raises(UserError, match=r"depth=50: must be one of 18, 34 .mmaction2's default of ResNet2Plus1d's"):
        imported(read(tmp_path / "config.py", text))


def test_convert_head_with_the_classifier_of_the_backbones_file(tmp_path: Path) -> None:
    """As in the fine-tuning of UniFormerV2 from Kinetics-710: the rows of the classes of another set."""
    file = "init_cfg=dict(type='Pretrained', checkpoint='{}', prefix='{}')"
    backbone = f"type='UniFormerV2', clip_pretrained=False, {file.format('k710.pth', 'backbone.')}"
    head = "dict(type='UniFormerHead', dropout_ratio=0.5, num_classes=5, in_channels=768, channel_map='map.json', {})"
    result = converted(backbone, tmp_path, head.format(file.format("k710.pth", "cls_head.")))
    assert of_model(result) == {"model.weights.path": "k710.pth", "model.weights.class_map": "map.json"}
    assert all(outcome.status != "unsupported" for outcome in result.outcomes.values())
    other = converted(backbone, tmp_path, head.format(file.format("k400.pth", "cls_head.")))
    assert of_model(other)["model.weights.prefix"] == "backbone"
    assert sum(outcome.status == "unsupported" for outcome in other.outcomes.values()) == 3  # the leaves of init_cfg


_MVIT_HEAD = "dict(type='MViTHead', num_classes=5, in_channels=768, dropout_ratio=0., init_scale=0.001{})"


@pytest.mark.parametrize(("more", "std"), [("", 2e-5), (", init_std=0.01", 1e-5)])
def test_convert_init_scale_multiplies_the_standard_deviation(more: str, std: float, tmp_path: Path) -> None:
    result = converted("type='MViT', arch='small', drop_path_rate=0.2", tmp_path, _MVIT_HEAD.format(more))
    assert of_model(result) == {"model.dropout": 0.0, "model.init_std": pytest.approx(std)}


@pytest.mark.parametrize(("arch", "layers", "differs"), [("small", 16, 0), ("base", 16, 1)])
def test_convert_layer_decay_of_mvit_needs_the_layers_of_the_model(
    arch: str, layers: int, differs: int, tmp_path: Path
) -> None:
    text = SMALL_1 + f"model['backbone'] = dict(type='MViT', arch='{arch}', drop_path_rate=0.2)\n"
    text += "model['cls_head'] = dict(type='MViTHead', num_classes=5, in_channels=768)\n"
    text += "optim_wrapper = dict(optimizer=dict(type='AdamW', lr=0.1), "
    text += "constructor='LearningRateDecayOptimizerConstructor', "
    text += f"paramwise_cfg=dict(decay_rate=0.75, decay_type='layer_wise', num_layers={layers}))\n"
    result = convert_source(read(tmp_path / "config.py", text))
    paramwise = below(result, "optimizer.paramwise.")
    assert paramwise == {"layer_decay": 0.75, "norm_decay_mult": 0.0, "bias_decay_mult": 0.0}
    assert sum(outcome.status == "unsupported" for outcome in result.outcomes.values()) == differs


@pytest.mark.parametrize("kind", ["divided_space_time", "joint_space_time", "space_only"])
def test_convert_timesformer_gives_its_attention(kind: str, tmp_path: Path) -> None:
    result = converted(
        f"type='TimeSformer', num_frames=8, img_size=224, patch_size=16, attention_type='{kind}'", tmp_path,
        "dict(type='TimeSformerHead', num_classes=5, in_channels=768)",
    )  # fmt: skip
    assert of_model(result) == ({} if kind == "divided_space_time" else {"model.attention_type": kind})


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ("return_list=[20, 21, 22, 23]", "return_list=[0, 7, 15, 23]"),
        ("no_lmhra=True", "no_lmhra=False"),
        ("mlp_dropout=[0.5, 0.5, 0.5, 0.5]", "mlp_dropout=[0.5, 0.4, 0.5, 0.5]"),
        ("n_dim=1024", "n_dim=768"),
    ],
)
def test_convert_uniformerv2_unsupported_value_is_reported(change: str, line: str, tmp_path: Path) -> None:
    usual = converted(LARGE, tmp_path)
    result = converted(LARGE.replace(change, line), tmp_path)
    reported = [sum(outcome.status == "unsupported" for outcome in each.outcomes.values()) for each in (usual, result)]
    assert reported == [0, 1]


@pytest.mark.parametrize(
    ("backbone", "values"),
    [
        (
            "type='timm.swin_base_patch4_window7_224', pretrained=True",
            {
                "model.backbone": "timm/swin_base_patch4_window7_224",
                "model.weights.path": "timm://swin_base_patch4_window7_224",
            },
        ),
        ("type='timm.resnet18', pretrained=False", {"model.backbone": "timm/resnet18"}),
        (
            "type='torchvision.resnext101_32x8d', pretrained=True",
            {"model.backbone": "resnext101_32x8d", "model.weights.path": "torchvision://resnext101_32x8d"},
        ),
    ],
)
def test_convert_image_model_gives_backbone_and_weights(backbone: str, values: dict[str, Any], tmp_path: Path) -> None:
    result = converted(backbone, tmp_path, "dict(type='TSNHead', num_classes=5, in_channels=1024, dropout_ratio=0.4)")
    assert (result.choices["model"], of_model(result)) == ("tsn_r50", values)


@pytest.mark.parametrize("name", ["densenet121", "swin_t", "convnext_tiny", "resnet18", "mobilenet_v2"])
def test_convert_image_model_leaves_out_what_mmaction2_leaves_out(name: str, tmp_path: Path) -> None:
    result = converted(f"type='torchvision.{name}'", tmp_path, "dict(type='TSNHead', num_classes=5, in_channels=512)")
    assert ("model.features_only" in result.values) == (name in ("densenet121", "swin_t", "convnext_tiny"))


TSM_HEAD = "dict(type='TSMHead', num_classes=5, in_channels=2048)"
TRN_HEAD = "dict(type='TRNHead', num_classes=5, in_channels=2048"
PLACES = "non_local=((0, 0, 0), (1, 0, 1, 0), (1, 0, 1, 0, 1, 0), (0, 0, 0))"
#: Backbone and head -> option and values. Values of mmaction2's defaults that are vexp's are left out.
OF_FRAMES: list[tuple[str, str, str, dict[str, Any]]] = [
    ("type='TANet', depth=50, num_segments=16, tam_cfg=dict(beta=4)", TSM_HEAD, "tanet_r50",
     {"num_frames": 16, "dropout": 0.8}),
    ("type='ResNetTIN', depth=101, num_segments=4, is_tin=True, non_local_cfg=dict()", TSM_HEAD, "tin_r50",
     {"backbone": "resnet101", "num_frames": 4, "shift_div": 8, "dropout": 0.8}),
    ("type='ResNet', depth=50", TRN_HEAD + ", relation_type='TRN', hidden_dim=128, num_segments=16)", "trn_r50",
     {"multi_scale": False, "width": 128, "num_frames": 16}),
    ("type='ResNet', depth=50", TRN_HEAD + ")", "trn_r50", {}),
    (f"type='ResNetTSM', depth=50, {PLACES}, non_local_cfg=dict(sub_sample=True, norm_cfg=dict(type='BN3d'))", TSM_HEAD,
     "tsm_r50", {"non_local": "embedded_gaussian", "non_local_scale": True, "dropout": 0.8}),
    (f"type='ResNetTSM', depth=50, {PLACES}", TSM_HEAD, "tsm_r50", {"dropout": 0.8}),  # mmaction2 has no blocks, either
    ("type='MobileOneTSM', arch='s1'", TSM_HEAD, "tsm_r50", {"backbone": "timm/mobileone_s1", "dropout": 0.8}),
    ("type='mmpretrain.MobileOne'", "dict(type='TSNHead')", "tsn_r50", {"backbone": "timm/mobileone_s0"}),
    ("type='mmpretrain.MobileOne', deploy=True", "dict(type='TSNHead')", "tsn_r50",
     {"backbone": "timm/mobileone_s0", "deploy": True}),
    ("type='mmpretrain.ResNeXt', depth=50", "dict(type='TSNHead')", "tsn_r50", {"backbone": "resnext50_32x4d"}),
]  # fmt: skip


@pytest.mark.parametrize(("backbone", "head", "option", "values"), OF_FRAMES, ids=[each[0][:40] for each in OF_FRAMES])
def test_convert_model_on_frames(backbone: str, head: str, option: str, values: dict[str, Any], tmp_path: Path) -> None:
    result = converted(backbone, tmp_path, head)
    assert result.choices["model"] == option
    assert of_model(result) == {f"model.{key}": value for key, value in values.items()}
    assert model_differences(result) == []
    assert result.frames


def test_convert_tpn_without_auxiliary_head(tmp_path: Path) -> None:
    levels = "in_channels=(1024, 1024), mid_channels=(1024, 1024), out_channels=2048"
    neck = f"""model['neck'] = dict(type='TPN', in_channels=(1024, 2048), out_channels=1024,
        spatial_modulation_cfg=dict(in_channels=(1024, 2048), out_channels=2048),
        temporal_modulation_cfg=dict(downsample_scales=(8, 8)), upsample_cfg=dict(scale_factor=(1, 1, 1)),
        downsample_cfg=dict(downsample_scale=(1, 1, 1)), level_fusion_cfg=dict({levels}), aux_head_cfg=None)
model['cls_head'] = dict(type='TPNHead', num_classes=5, in_channels=2048, dropout_ratio=0.5)
model['test_cfg'] = dict(fcn_test=True)
model['backbone']['out_indices'] = (2, 3)
"""
    result = convert_source(read(tmp_path / "config.py", SMALL_1 + neck))
    assert (result.choices["model"], of_model(result)) == ("tpn_slowonly_r50", {"model.auxiliary_weight": 0.0})
    assert model_differences(result) == []
