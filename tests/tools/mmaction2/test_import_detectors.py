"""Import of the plain SlowOnly and SlowFast configs for AVA, of 0.x and 1.x; other detectors are refused by name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.imported import read

from vexp.cli.import_mmaction import imported
from vexp.core.errors import UserError
from vexp.model.roi import SlowFastRoi, SlowOnlyRoi

SLOW_ONLY = """dict(type='ResNet3dSlowOnly', depth=50, pretrained=None, pretrained2d=False, lateral=False, num_stages=4,
        conv1_kernel=(1, 7, 7), conv1_stride_t=1, pool1_stride_t=1, spatial_strides=(1, 2, 2, 1))"""
SLOW_FAST = """dict(type='ResNet3dSlowFast', pretrained=None, resample_rate=4, speed_ratio=4, channel_ratio=8,
        slow_pathway=dict(type='resnet3d', depth=50, pretrained=None, lateral=True, fusion_kernel=7,
            conv1_kernel=(1, 7, 7), dilations=(1, 1, 1, 1), conv1_stride_t=1, pool1_stride_t=1, inflate=(0, 0, 1, 1),
            spatial_strides=(1, 2, 2, 1)),
        fast_pathway=dict(type='resnet3d', depth=50, pretrained=None, lateral=False, base_channels=8,
            conv1_kernel=(5, 7, 7), conv1_stride_t=1, pool1_stride_t=1, spatial_strides=(1, 2, 2, 1)))"""
ROI = """roi_head=dict(type='AVARoIHead',
        bbox_roi_extractor=dict(type='SingleRoIExtractor3D', roi_layer_type='RoIAlign', output_size=8,
                                with_temporal_pool=True{extractor}),
        bbox_head=dict(type='BBoxHeadAVA', in_channels=2048, num_classes=81, multilabel=True, dropout_ratio=0.5{head})),
    train_cfg=dict(rcnn=dict(
        assigner=dict(type='MaxIoUAssignerAVA', pos_iou_thr=0.9, neg_iou_thr=0.9, min_pos_iou=0.9),
        sampler=dict(type='RandomSampler', num=32, pos_fraction=1, neg_pos_ub=-1, add_gt_as_proposals=True),
        pos_weight=1.0, debug=False)),
    test_cfg=dict(rcnn=dict(action_thr=0.002))"""
V0 = """
model = dict(type='FastRCNN', backbone={backbone}, {roi})
train_pipeline = [
    dict(type='SampleAVAFrames', clip_len=4, frame_interval=16), dict(type='RawFrameDecode'),
    dict(type='RandomRescale', scale_range=(256, 320)), dict(type='RandomCrop', size=256),
    dict(type='Flip', flip_ratio=0.5),
    dict(type='Normalize', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_bgr=False),
    dict(type='FormatShape', input_format='NCTHW', collapse=True), dict(type='Rename', mapping=dict(imgs='img')),
    dict(type='ToTensor', keys=['img', 'proposals', 'gt_bboxes', 'gt_labels']),
    dict(type='ToDataContainer', fields=[dict(key=['proposals', 'gt_bboxes', 'gt_labels'], stack=False)]),
    dict(type='Collect', keys=['img', 'proposals', 'gt_bboxes', 'gt_labels'], meta_keys=['scores', 'entity_ids'])]
val_pipeline = [
    dict(type='SampleAVAFrames', clip_len=4, frame_interval=16, test_mode=True), dict(type='RawFrameDecode'),
    dict(type='Resize', scale=(-1, 256)),
    dict(type='Normalize', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_bgr=False)]
common = dict(type='AVADataset', label_file='ava.pbtxt', person_det_score_thr=0.9, data_prefix='rawframes')
data = dict(
    videos_per_gpu=16, workers_per_gpu=2, val_dataloader=dict(videos_per_gpu=1),
    train=dict(ann_file='train.csv', exclude_file='train_excluded.csv', proposal_file='train.pkl',
               pipeline=train_pipeline, **common),
    val=dict(ann_file='val.csv', exclude_file='val_excluded.csv', proposal_file='val.pkl', pipeline=val_pipeline,
             **common))
data['test'] = data['val']
optimizer = dict(type='SGD', lr=0.2, momentum=0.9, weight_decay=0.00001)
optimizer_config = dict(grad_clip=dict(max_norm=40, norm_type=2))
lr_config = dict(policy='step', step=[10, 15], warmup='linear', warmup_by_epoch=True, warmup_iters=5, warmup_ratio=0.1)
total_epochs = 20
checkpoint_config = dict(interval=1)
evaluation = dict(interval=1, save_best='mAP@0.5IOU')
log_config = dict(interval=20, hooks=[dict(type='TextLoggerHook')])
"""
V1 = """
model = dict(
    type='FastRCNN', _scope_='mmdet', init_cfg=dict(type='Pretrained', checkpoint='https://example.org/k400.pth'),
    backbone={backbone}, {roi},
    data_preprocessor=dict(type='mmaction.ActionDataPreprocessor', mean=[123.675, 116.28, 103.53],
                           std=[58.395, 57.12, 57.375], format_shape='NCTHW'))
train_pipeline = [
    dict(type='SampleAVAFrames', clip_len=32, frame_interval=2), dict(type='RawFrameDecode'),
    dict(type='RandomRescale', scale_range=(256, 320)), dict(type='RandomCrop', size=256),
    dict(type='Flip', flip_ratio=0.5), dict(type='FormatShape', input_format='NCTHW', collapse=True),
    dict(type='PackActionInputs')]
val_pipeline = [
    dict(type='SampleAVAFrames', clip_len=32, frame_interval=2, test_mode=True), dict(type='RawFrameDecode'),
    dict(type='Resize', scale=(-1, 256)), dict(type='PackActionInputs')]
common = dict(type='AVADataset', label_file='ava.pbtxt', data_prefix=dict(img='rawframes'))
train_dataloader = dict(
    batch_size=8, num_workers=8, persistent_workers=True, sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(ann_file='train.csv', exclude_file='train_excluded.csv', proposal_file='train.pkl',
                 pipeline=train_pipeline, **common))
val_dataloader = dict(
    batch_size=1, num_workers=8, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(ann_file='val.csv', exclude_file='val_excluded.csv', proposal_file='val.pkl', test_mode=True,
                 pipeline=val_pipeline, **common))
val_evaluator = dict(type='AVAMetric', ann_file='val.csv', label_file='ava.pbtxt', exclude_file='val_excluded.csv')
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=20, val_begin=1, val_interval=1)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=True, begin=0, end=5),
    dict(type='MultiStepLR', begin=0, end=20, by_epoch=True, milestones=[10, 15], gamma=0.1)]
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.2, momentum=0.9, weight_decay=0.00001),
                     clip_grad=dict(max_norm=40, norm_type=2))
"""


def text(version, backbone=SLOW_ONLY, *, extractor="", head="", roi=ROI):
    filled = roi.format(extractor=extractor, head=head)
    if version is V1:
        filled = filled.replace("test_cfg=dict(rcnn=dict(action_thr=0.002))", "test_cfg=dict(rcnn=None)")
        filled = filled.replace("type='BBoxHeadAVA'", "type='BBoxHeadAVA', background_class=True")
        backbone = backbone.replace("type='ResNet", "type='mmaction.ResNet")
    return version.replace("{backbone}", backbone).replace("{roi}", filled)


@pytest.mark.parametrize("version", [V0, V1], ids=["0.x", "1.x"])
def test_slowonly_config_becomes_an_experiment(version, tmp_path: Path) -> None:
    result = imported(read(tmp_path / "config.py", text(version)))
    assert result.choices["data"] == "ava"
    assert result.choices["model"] == "slowonly_r50_ava"
    assert (result.choices["loss"], result.choices["eval"]) == ("bce", "boxes")
    values = {key: given.value for key, given in result.values.items()}
    assert values["data.train.proposal_file"] == "train.pkl"
    assert values["data.val.exclude_file"] == "val_excluded.csv"
    assert (values["data.label_map"], values["data.raw_frames"]) == ("ava.pbtxt", True)
    assert values["pipeline.train.sample.clip_len"] == (32 if version is V1 else 4)
    lost = [o for o in result.outcomes.values() if o.status == "unsupported"]
    assert lost == []


def test_slowfast_config_of_8x8_with_temporal_max_and_focal_loss(tmp_path: Path) -> None:
    source = text(V0, SLOW_FAST, extractor=", temporal_pool_mode='max'", head=", focal_alpha=3.0, focal_gamma=1.0")
    result = imported(read(tmp_path / "config.py", source))
    values = {key: given.value for key, given in result.values.items()}
    assert result.choices["model"] == "slowfast_r50_ava"
    assert result.choices["loss"] == "focal"
    assert (values["loss.alpha"], values["loss.gamma"]) == (3.0, 1.0)
    model = {key.removeprefix("model."): value for key, value in values.items() if key.startswith("model.")}
    option = SlowFastRoi(**{key: model[key] for key in model if "." not in key})
    assert (option.alpha, option.slow_stride, option.fusion_kernel, option.temporal_pool) == (4, 4, 7, "max")
    assert SlowOnlyRoi().roi_size == 8


REFUSED = [
    (text(V0, roi=ROI.replace("roi_head=dict(type='AVARoIHead',",
                              "roi_head=dict(type='AVARoIHead', shared_head=dict(type='ACRNHead'),")), "ACRN"),
    (text(V0, roi=ROI.replace("roi_head=dict(type='AVARoIHead',",
                              "roi_head=dict(type='AVARoIHead', shared_head=dict(type='FBOHead'),")),
     "long-term feature banks"),
    (text(V0, extractor=", with_global=True"), "context of the whole frame"),
    (text(V0, "dict(type='VisionTransformer', img_size=224)"), "VisionTransformer"),
    (text(V0).replace("AVADataset", "AVAKineticsDataset"), "AVA-Kinetics"),
    (text(V0).replace("type='FastRCNN'", "type='FasterRCNN'"), "FasterRCNN"),
    (text(V0, SLOW_ONLY.replace("(1, 2, 2, 1)", "(1, 2, 2, 2)")), "spatial_strides"),
]  # fmt: skip


@pytest.mark.parametrize(("source", "what"), REFUSED, ids=[what for _, what in REFUSED])
def test_other_detector_is_refused_by_name(source: str, what: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        imported(read(tmp_path / "config.py", source))
    assert re.search(what, str(caught.value))
