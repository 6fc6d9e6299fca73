"""Import of PoseC3D configs: data, pipelines and models of both versions, and what is refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.imported import convert_source, read

from vexp.cli.import_mmaction import imported
from vexp.core.errors import UserError
from vexp.tools.mmaction2.report import Report, model_differences
from vexp.tools.mmaction2.result import ConversionResult

BACKBONE = """
model = dict(
    type='Recognizer3D',
    backbone=dict(
        type='ResNet3dSlowOnly', depth=50, pretrained=None, in_channels=17, base_channels=32, num_stages=3,
        out_indices=(2, ), stage_blocks=(4, 6, 3), conv1_stride_s=1, pool1_stride_s=1, inflate=(0, 1, 1),
        spatial_strides=(2, 2, 2), temporal_strides=(1, 1, 2), dilations=(1, 1, 1)),
    cls_head=dict(type='I3DHead', in_channels=512, num_classes=60, dropout_ratio=0.5))
left, right = [1, 3, 5, 7, 9, 11, 13, 15], [2, 4, 6, 8, 10, 12, 14, 16]
train_pipeline = [
    dict(type='UniformSampleFrames', clip_len=48),
    dict(type='PoseDecode'),
    dict(type='PoseCompact', hw_ratio=1., allow_imgpad=True),
    dict(type='Resize', scale=(-1, 64)),
    dict(type='RandomResizedCrop', area_range=(0.56, 1.0)),
    dict(type='Resize', scale=(56, 56), keep_ratio=False),
    dict(type='Flip', flip_ratio=0.5, left_kp=left, right_kp=right),
    dict(type='GeneratePoseTarget', sigma=0.6, use_score=True, with_kp=True, with_limb=False),
    dict(type='FormatShape', input_format='NCTHW')]
test_pipeline = [
    dict(type='UniformSampleFrames', clip_len=48, num_clips=10, test_mode=True),
    dict(type='PoseDecode'),
    dict(type='PoseCompact', hw_ratio=1.),
    dict(type='Resize', scale=(64, 64), keep_ratio=False),
    dict(type='GeneratePoseTarget', double=True, left_kp=left, right_kp=right)]
""".replace("left, right = [1, 3, 5, 7, 9, 11, 13, 15], [2", "left = [1, 3, 5, 7, 9, 11, 13, 15]\nright = [2")
OF_0 = f"""{BACKBONE}
data = dict(
    videos_per_gpu=16,
    train=dict(type='RepeatDataset', times=10, dataset=dict(
        type='PoseDataset', ann_file='hmdb51.pkl', split='train1', data_prefix='', pipeline=train_pipeline,
        class_prob={{i: 1 + int(i >= 60) for i in range(120)}})),
    val=dict(type='PoseDataset', ann_file='hmdb51.pkl', split='test1', data_prefix='', pipeline=test_pipeline),
    test=dict(type='PoseDataset', ann_file='hmdb51.pkl', split='test1', data_prefix='', pipeline=test_pipeline))
optimizer = dict(type='SGD', lr=0.2, momentum=0.9, weight_decay=0.0003)
lr_config = dict(policy='CosineAnnealing', by_epoch=False, min_lr=0)
total_epochs = 24
"""
OF_1 = f"""{BACKBONE}
train_pipeline = [dict(type='DecompressPose', squeeze=False, max_person=4)] + train_pipeline
dataset = dict(type='PoseDataset', ann_file='k400.pkl', split='train', box_thr=0.6, valid_ratio=0.5,
               data_prefix=dict(skeleton='kpfiles'), pipeline=train_pipeline)
train_dataloader = dict(batch_size=16, dataset=dataset),
val_dataloader = dict(dataset=dict(type='PoseDataset', ann_file='k400.pkl', split='val', box_thr=0.6,
                                   data_prefix=dict(skeleton='kpfiles'), pipeline=test_pipeline))
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.2))
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=24)
"""


def values(result: ConversionResult) -> dict[str, Any]:
    return {key: given.value for key, given in result.values.items()}


@pytest.mark.parametrize("argument", ["inflate=(0, 1, 1)", "spatial_strides=(2, 2, 2)"])
def test_default_of_posec3d_backbone_is_another_model(argument: str, tmp_path: Path) -> None:
    result = convert_source(read(tmp_path / "c.py", OF_0.replace(f"{argument}, ", "").replace(f"{argument},", "")))
    (what,) = model_differences(result)
    assert f"ResNet3dSlowOnly's {argument.partition('=')[0]}=[" in what


def test_import_posec3d_of_0x_is_the_same_experiment(tmp_path: Path) -> None:
    source = read(tmp_path / "c.py", OF_0)
    result = imported(source, None, [])
    assert Report.of(result, source).headline.startswith("the same experiment")
    assert (result.choices["data"], result.choices["model"]) == ("skeleton", "posec3d")
    assert list(result.steps["train"].values()) == [
        "uniform_sample_frames", "pose_compact", "resize", "random_resized_crop", "resize", "flip",
        "generate_pose_target",
    ]  # fmt: skip
    given = values(result)
    assert given["data.train.split"] == "train1"
    assert given["pipeline.val.target.double"] is True
    assert given["pipeline.val.target.mirror_maps"] is False
    assert (given["epochs"], given["data.train.repeat"]) == (24, 10)
    assert not {key for key in given if key.startswith(("model.", "img_norm."))}  # all are defaults
    assert any("class_prob has no effect" in what for _, what in result.pitfalls)


def test_import_posec3d_of_1x_reads_kinetics(tmp_path: Path) -> None:
    result = convert_source(read(tmp_path / "c.py", OF_1))
    given = values(result)
    expected = {
        "data.train.ann_file": "k400.pkl", "data.train.data_prefix": "kpfiles", "data.box_thr": 0.6,
        "data.valid_ratio": 0.5, "data.squeeze": False, "data.max_person": 4, "pipeline.val.target.double": True,
    }  # fmt: skip
    assert given.items() >= expected.items()
    assert "pipeline.val.target.mirror_maps" not in given
    assert any("a comma at the end makes this a tuple" in what for _, what in result.pitfalls)


def test_import_posec3d_other_stages_and_limbs(tmp_path: Path) -> None:
    text = OF_0.replace("stage_blocks=(4, 6, 3)", "stage_blocks=(3, 4, 6)").replace(
        "strides=(1, 1, 2)", "strides=(1, 1, 1)"
    )
    limbs = "with_kp=False, with_limb=True, skeletons=[[0, 5], [0, 6]]"
    given = values(convert_source(read(tmp_path / "c.py", text.replace("with_kp=True, with_limb=False", limbs))))
    assert given["model.blocks"] == [3, 4, 6]
    assert given["model.temporal_strides"] == [1, 1, 1]
    assert given["pipeline.train.target.skeletons"] == [[0, 5], [0, 6]]


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("'Recognizer3D'", "'RecognizerGCN'", "RecognizerGCN is for graph networks on skeletons"),
        ("type='PoseDecode'", "type='MMDecode'", "MMDecode makes clips of the videos and the skeletons together"),
        ("num_stages=3", "num_stages=4", "num_stages"),
        ("'ResNet3dSlowOnly'", "'ResNet3dSlowFast'", "vexp has no ResNet3dSlowFast"),
    ],
)
def test_import_what_vexp_has_not_is_refused_by_name(tmp_path: Path, before: str, after: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        imported(read(tmp_path / "c.py", OF_0.replace(before, after)), None, [])


def test_import_flip_of_joints_on_videos_is_unsupported(tmp_path: Path) -> None:
    videos = OF_0.replace("PoseDataset", "VideoDataset").replace("in_channels=17", "in_channels=3")
    source = read(tmp_path / "c.py", videos)
    result = convert_source(source)
    remarks = [remark for outcome in result.outcomes.values() for remark in outcome.remarks]
    assert "is for skeletons, and the data are videos" in remarks
