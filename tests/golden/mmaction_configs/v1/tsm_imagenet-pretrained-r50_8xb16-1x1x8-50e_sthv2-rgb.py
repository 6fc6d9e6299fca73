# raw frames, TSM's optimizer, warm-up by epoch before the steps, a rate that scales
_base_ = ["tsn_imagenet-pretrained-r50_8xb32-1x1x8-100e_kinetics400-rgb.py"]
model = dict(
    backbone=dict(type="ResNetTSM", shift_div=8),
    cls_head=dict(
        _delete_=True,
        type="TSMHead",
        num_classes=174,
        in_channels=2048,
        spatial_type="avg",
        consensus=dict(type="AvgConsensus", dim=1),
        dropout_ratio=0.5,
        init_std=0.001,
        is_shift=True,
        average_clips="prob",
        label_smooth_eps=0.1,
    ),
)
sthv2_flip_label_map = {86: 87, 87: 86, 93: 94, 94: 93, 166: 167, 167: 166}
file_client_args = dict(io_backend="disk")
train_pipeline = [
    dict(type="SampleFrames", clip_len=1, frame_interval=1, num_clips=8, keep_tail_frames=True),
    dict(type="RawFrameDecode", **file_client_args),
    dict(type="Resize", scale=(-1, 256)),
    dict(
        type="MultiScaleCrop",
        input_size=224,
        scales=(1, 0.875, 0.75, 0.66),
        random_crop=False,
        max_wh_scale_gap=1,
        num_fixed_crops=13,
    ),
    dict(type="Resize", scale=(224, 224), keep_ratio=False),
    dict(type="Flip", flip_ratio=0.5, flip_label_map=sthv2_flip_label_map),
    dict(type="FormatShape", input_format="NCHW"),
    dict(type="PackActionInputs"),
]
frames = dict(type="RawframeDataset", data_prefix=dict(img="data/sthv2/rawframes"), filename_tmpl="img_{:05}.jpg")
train_dataloader = dict(
    batch_size=16, dataset=dict(_delete_=True, ann_file="data/sthv2/train.txt", pipeline=train_pipeline, **frames)
)
val_dataloader = dict(
    batch_size=16,
    dataset=dict(
        _delete_=True,
        ann_file="data/sthv2/val.txt",
        pipeline=_base_.val_pipeline[1:2]
        + [dict(type="RawFrameDecode"), dict(type="Resize", scale=(-1, 256)), dict(type="CenterCrop", crop_size=224)],
        test_mode=True,
        **frames,
    ),
)
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=50)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, by_epoch=True, begin=0, end=5, convert_to_iter_based=True),
    dict(type="MultiStepLR", begin=0, end=50, by_epoch=True, milestones=[25, 45], gamma=0.1),
]
optim_wrapper = dict(
    constructor="TSMOptimWrapperConstructor",
    paramwise_cfg=dict(fc_lr5=True),
    optimizer=dict(type="SGD", lr=0.02, momentum=0.9, weight_decay=0.0005),
    clip_grad=dict(max_norm=20, norm_type=2),
)
auto_scale_lr = dict(enable=True, base_batch_size=128)
randomness = dict(seed=7, deterministic=True, diff_rank_seed=False)
env_cfg = dict(cudnn_benchmark=True)
