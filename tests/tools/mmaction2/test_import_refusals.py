"""A model that vexp cannot build as written is refused; ``model=OPTION`` accepts the nearest and says so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.imported import SMALL_0, read
from support.tables import default_lane_has

from vexp.cli.import_mmaction import imported
from vexp.core.errors import UserError
from vexp.tools.mmaction2.report import Report, experiment_yaml

SLOW_ONLY = "type='ResNet3dSlowOnly', depth=50"
TSM = "type='ResNetTSM', depth=50"
LEVELS = "in_channels=(1024, 2048), out_channels=1024"
NON_LOCAL = "non_local=((0, 0, 0), (0, 1, 0, 1), (0, 1, 0, 1, 0, 1), (0, 0, 0))"


def changed(backbone: str = SLOW_ONLY, more: str = "") -> str:
    return SMALL_0.replace(SLOW_ONLY, backbone) + more


REFUSED = [
    (changed(f"{SLOW_ONLY}, inflate_style='3x3x3'"), "inflate_style = 3x3x3", "slowonly_r50"),
    (changed(f"{SLOW_ONLY}, norm_cfg=dict(type='GN', num_groups=32)"), "batch norm, not GN", "slowonly_r50"),
    (changed(f"{SLOW_ONLY}, act_cfg=dict(type='GELU')"), "has ReLU, not GELU", "slowonly_r50"),
    (changed(f"{SLOW_ONLY}, conv_cfg=dict(type='Conv2plus1d')"), "has Conv3d, not Conv2plus1d", "slowonly_r50"),
    (changed(f"{SLOW_ONLY}, non_local=(0, 1, 1, 0), non_local_cfg=dict(sub_sample=True, norm_cfg=dict(type='BN3d'))"),
     r"non_local = \[0,1,1,0\]", "slowonly_r50"),
    (changed(f"{SLOW_ONLY}, non_local=(0, 1, 1, 0)"), "no non_local_cfg", "slowonly_r50"),
    (changed(f"type='ResNet3d', depth=50, {NON_LOCAL}, non_local_cfg=dict(sub_sample=True)"), "no norm_cfg", "i3d_r50"),
    (changed(f"type='ResNet3d', depth=50, {NON_LOCAL}, non_local_cfg=dict(norm_cfg=dict(type='BN3d'))"),
     "sub_sample=false", "i3d_r50"),
    (changed("type='ResNet3d', depth=50, conv1_kernel=(5, 7, 7), inflate=(0, 1, 1, 1)"), "inflate", "i3d_r50"),
    (changed(f"{SLOW_ONLY}, of_my_own=True"), "of_my_own = true", "slowonly_r50"),
    (changed(f"{TSM}, {NON_LOCAL}, non_local_cfg=dict(sub_sample=True, norm_cfg=dict(type='BN3d'))"),
     r"non_local.*\[1,0,1,0\]", "tsm_r50"),
    (changed(f"{TSM}", "model['cls_head'] = dict(type='TSMHead', temporal_pool=True)\n"), "temporal_pool = true",
     "tsm_r50"),
    (changed("type='ResNetTIN', depth=50, non_local_cfg=dict(mode='gaussian')"), "no non-local blocks", "tin_r50"),
    (changed("type='TANet', depth=50, num_segments=8, tam_cfg=dict(alpha=4)"), "alpha = 4", "tanet_r50"),
    (changed("type='mmcls.ResNeXt', depth=77"), "neither torchvision nor timm has resnext77_32x4d", "tsn_r50"),
    (changed("type='timm.vit_base_patch16_224'"), "mmaction2 takes other features of vit_base_patch16_224", "tsn_r50"),
    (changed(f"{TSM}, out_indices=(2, 3)", f"model['neck'] = dict(type='TPN', {LEVELS})\n"),
     "spatial_modulation_cfg is missing", "tpn_tsm_r50"),
    (changed(more="model['neck'] = dict(type='SlowNeck')\n"), "vexp has the neck TPN", "slowonly_r50"),
    (changed("type='TimeSformer', attention_type='time_only'"), "time_only", "timesformer_divst"),
    (changed("type='ResNet3dSlowFast', slow_pathway=dict(lateral=True, lateral_infl=1)"), "lateral_infl",
     "slowfast_r50"),
    (changed("type='ResNet3dSlowFast', slow_pathway=dict(lateral=True, non_local=(0, 1, 1, 0))"), "no non-local blocks",
     "slowfast_r50"),
    (changed("type='ResNet3dSlowFast', fast_pathway=dict(depth=34)"), "depth = 34", "slowfast_r50"),
    (changed("type='ResNet3dSlowFast', fast_pathway=dict(base_channels=8)"), r"conv1_kernel=\[3,7,7\]", "slowfast_r50"),
    (changed("type='ResNet2Plus1d', depth=34, temporal_strides=(1, 2, 2, 2)"), "conv_cfg=.*Conv3d", "r2plus1d_r34"),
    (changed("type='ResNet3dCSN', depth=50, norm_cfg=dict(type='BN3d', eps=1e-3)"), "with_pool2=true", "ircsn_r50"),
    (changed("type='SwinTransformer3D', arch='huge'"), "arch = huge", "swin_t"),
    (changed(more="model['neck'] = dict(type='TPN', in_channels=[1, 2], out_channels=3)\n"), "out_channels = 3",
     "tpn_slowonly_r50"),
    (changed(more="model['cls_head'] = dict(type='TRNHead')\n"), "vexp has no TRNHead", "slowonly_r50"),
    (changed(more="model['cls_head']['loss_cls'] = dict(type='FocalLoss')\n"), "FocalLoss", "slowonly_r50"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "what", "nearest"), default_lane_has(3, REFUSED), ids=[what for _, what, _ in REFUSED]
)
def test_other_model_is_refused(text: str, what: str, nearest: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        imported(read(tmp_path / "config.py", text))
    first, *reasons, last = str(caught.value).splitlines()
    assert first.endswith("config.py: refused: vexp cannot build the model as it is written here:")
    assert any(re.search(what, reason) for reason in reasons)
    assert last.endswith(f"config.py model={nearest}")


def test_chosen_model_is_written_into_the_experiment(tmp_path: Path) -> None:
    source = read(tmp_path / "config.py", changed("type='TimeSformer', dropout_ratio=0.1, depth=3"))
    result = imported(source, "timesformer_divst")
    text = experiment_yaml(result, source)
    assert "# Not the model of the source: config.py:4: model.backbone.dropout_ratio = 0.1" in text
    assert Report.of(result, source).headline.startswith("the same but for ")


def test_chosen_image_model_keeps_depth_and_weights(tmp_path: Path) -> None:
    backbone = "type='TANet', pretrained='torchvision://resnet101', depth=101, num_segments=8"
    result = imported(read(tmp_path / "config.py", changed(backbone)), "tsm_r50")
    values = (result.values["model.backbone"].value, result.values["model.weights.path"].value)
    assert values == ("resnet101", "torchvision://resnet101")


def test_proposals_of_bsn_are_another_task(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the proposals of BSN are for temporal localization; only video"):
        imported(read(tmp_path / "config.py", "pgm_proposals_cfg = dict(pgm_proposals_thread=8)\n"))


def test_chosen_model_of_another_kind_keeps_the_frames(tmp_path: Path) -> None:
    """Eight clips of one frame for an image model are one clip of eight frames for a 3D model."""
    source = read(
        tmp_path / "config.py", changed(TSM).replace("clip_len=4, frame_interval=2", "clip_len=1, num_clips=8")
    )
    result = imported(source, "slowonly_r50")
    assert result.steps["train"]["sample"] == "segment_frames"
    assert result.values["pipeline.train.sample.segments"].value == 8


@pytest.mark.parametrize("norm", ["BN3d", "BN", "SyncBN"])
def test_batch_norm_is_the_same_model(norm: str, tmp_path: Path) -> None:
    text = changed(f"{SLOW_ONLY}, norm_cfg=dict(type='{norm}', requires_grad=True), act_cfg=dict(type='ReLU')")
    source = read(tmp_path / "config.py", text)
    result = imported(source)
    assert Report.of(result, source).headline == "the same experiment"
    assert ("dist.sync_bn" in result.values) == (norm == "SyncBN")


def test_weight_of_the_loss_is_moved_into_sgd(tmp_path: Path) -> None:
    """SGD with momentum takes the same steps with lr * w, weight_decay / w and max_norm / w."""
    more = "model['cls_head']['loss_cls'] = dict(type='CrossEntropyLoss', loss_weight=10.)\n"
    more += "optimizer['weight_decay'] = 0.5\noptimizer_config = dict(grad_clip=dict(max_norm=40))\n"
    source = read(tmp_path / "config.py", changed(more=more))
    result = imported(source)
    values = [result.values[key].value for key in ("optimizer.lr", "optimizer.weight_decay", "grad.clip.max_norm")]
    assert values == [1.0, 0.05, 4.0]
    with pytest.raises(UserError, match=r"loss_weight = 10\.0"):
        imported(read(tmp_path / "config.py", changed(more=more + "optimizer = dict(type='AdamW', lr=0.1)\n")))
