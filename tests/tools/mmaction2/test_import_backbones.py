"""Backbones of mmaction2's configs: UniFormer, UniFormerV2, and the image models of torchvision and timm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.imported import SMALL_1, convert_source, read

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
    ],
)  # fmt: skip
def test_convert_uniformer_gives_published_sizes(
    backbone: str, option: str, values: dict[str, Any], tmp_path: Path
) -> None:
    result = converted(backbone, tmp_path)
    assert (result.choices["model"], of_model(result)) == (option, values)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ("return_list=[20, 21, 22, 23]", "return_list=[0, 7, 15, 23]"),
        ("no_lmhra=True", "no_lmhra=False"),
        ("temporal_downsample=False", "temporal_downsample=True"),
        ("drop_path_rate=0.,\n", "drop_path_rate=0.4,\n"),
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


@pytest.mark.parametrize(("name", "count"), [("densenet121", 1), ("swin_t", 1), ("resnet18", 0), ("mobilenet_v2", 0)])
def test_convert_image_model_with_layers_after_its_features_is_pitfall(name: str, count: int, tmp_path: Path) -> None:
    result = converted(f"type='torchvision.{name}'", tmp_path, "dict(type='TSNHead', num_classes=5, in_channels=512)")
    assert sum("between its features and its classifier" in text for _, text in result.pitfalls) == count
