# BGR means on RGB frames: a trap; PIMS, crops of 112
_base_ = ["_base_/sgd_100e.py", "_base_/runtime.py"]
model = dict(
    type="Recognizer3D",
    backbone=dict(
        type="C3D",
        pretrained="weights/c3d_sports1m.pth",
        style="pytorch",
        conv_cfg=dict(type="Conv3d"),
        norm_cfg=None,
        act_cfg=dict(type="ReLU"),
        dropout_ratio=0.5,
        init_std=0.005,
    ),
    cls_head=dict(
        type="I3DHead", num_classes=101, in_channels=4096, spatial_type=None, dropout_ratio=0.5, init_std=0.01
    ),
    train_cfg=None,
    test_cfg=dict(average_clips="score"),
)
split = 1
img_norm_cfg = dict(mean=[104, 117, 128], std=[1, 1, 1], to_bgr=False)
train_pipeline = [
    dict(type="SampleFrames", clip_len=16, frame_interval=1, num_clips=1),
    dict(type="RawFrameDecode"),
    dict(type="Resize", scale=(128, 171)),
    dict(type="RandomCrop", size=112),
    dict(type="Flip", flip_ratio=0.5),
    dict(type="Normalize", **img_norm_cfg),
    dict(type="FormatShape", input_format="NCTHW"),
]
val_pipeline = [
    dict(type="SampleFrames", clip_len=16, frame_interval=1, num_clips=1, test_mode=True),
    dict(type="RawFrameDecode"),
    dict(type="Resize", scale=(128, 171)),
    dict(type="CenterCrop", crop_size=112),
    dict(type="Normalize", **img_norm_cfg),
    dict(type="FormatShape", input_format="NCTHW"),
]
ann = "data/ucf101/ucf101_{}_split_{}_rawframes.txt"
data = dict(
    videos_per_gpu=30,
    workers_per_gpu=2,
    train=dict(
        type="RawframeDataset",
        ann_file=ann.format("train", split),
        data_prefix="data/ucf101/rawframes/",
        pipeline=train_pipeline,
    ),
    val=dict(
        type="RawframeDataset",
        ann_file=ann.format("val", split),
        data_prefix="data/ucf101/rawframes/",
        pipeline=val_pipeline,
    ),
    test=dict(
        type="RawframeDataset",
        ann_file=ann.format("val", split),
        data_prefix="data/ucf101/rawframes/",
        pipeline=val_pipeline,
    ),
)
optimizer = dict(lr=0.001, weight_decay=0.0005)
lr_config = dict(step=[20, 40])
total_epochs = 45
checkpoint_config = dict(interval=5)
evaluation = dict(interval=5, metrics=["top_k_accuracy", "mean_class_accuracy"])
