# several labels a video
_base_ = ["_base_/tsn_r50.py", "_base_/sgd_100e.py", "_base_/runtime.py"]
model = dict(
    backbone=dict(pretrained="torchvision://resnet101", depth=101),
    cls_head=dict(
        num_classes=313,
        dropout_ratio=0.5,
        multi_class=True,
        label_smooth_eps=0,
        loss_cls=dict(type="BCELossWithLogits", loss_weight=160.0),
    ),
)
norm = dict(type="Normalize", mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_bgr=False)
train_pipeline = [
    dict(type="DecordInit"),
    dict(type="SampleFrames", clip_len=1, frame_interval=1, num_clips=5),
    dict(type="DecordDecode"),
    dict(type="MultiScaleCrop", input_size=224, scales=(1, 0.875, 0.75, 0.66), random_crop=True, max_wh_scale_gap=1),
    dict(type="Resize", scale=(224, 224), keep_ratio=False),
    dict(type="Flip", flip_ratio=0.5),
    norm,
    dict(type="FormatShape", input_format="NCHW"),
]
val_pipeline = [
    dict(type="DecordInit"),
    dict(type="SampleFrames", clip_len=1, frame_interval=1, num_clips=5, test_mode=True),
    dict(type="DecordDecode"),
    dict(type="Resize", scale=(-1, 256)),
    dict(type="CenterCrop", crop_size=224),
    norm,
    dict(type="FormatShape", input_format="NCHW"),
]
both = dict(type="VideoDataset", multi_class=True, num_classes=313, data_prefix="data/mmit/videos")
data = dict(
    videos_per_gpu=5,
    workers_per_gpu=2,
    train=dict(both, ann_file="data/mmit/train.txt", pipeline=train_pipeline),
    val=dict(both, ann_file="data/mmit/val.txt", pipeline=val_pipeline),
    test=dict(both, ann_file="data/mmit/val.txt", pipeline=val_pipeline),
)
evaluation = dict(interval=5, metrics=["mmit_mean_average_precision"], save_best="mmit_mean_average_precision")
total_epochs = 50
