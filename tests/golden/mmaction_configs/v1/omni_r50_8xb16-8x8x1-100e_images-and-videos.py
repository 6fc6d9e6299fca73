# videos and images in every step, each with a loader, a batch size and a classifier of its own
_base_ = ["_base_/clips.py", "_base_/sgd_100e.py", "_base_/default_runtime.py"]
model = dict(
    type="RecognizerOmni",
    backbone=dict(type="OmniResNet"),
    cls_head=dict(type="OmniHead", image_classes=1000, video_classes=400, in_channels=2048, average_clips="prob"),
    data_preprocessor=dict(
        type="ActionDataPreprocessor",
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        format_shape="MIX2d3d",
    ),
)
videos, steps, gpus = 16, 1878, 8
train_dataloader = dict(batch_size=videos)
image_loader = dict(
    batch_size=1281167 // (steps * gpus),
    num_workers=4,
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(
        type="mmcls.ImageNet",
        data_root="data/imagenet/",
        ann_file="meta/train.txt",
        data_prefix="train",
        pipeline=[
            dict(type="LoadRGBFromFile"),
            dict(type="mmcls.RandomResizedCrop", scale=224),
            dict(type="mmcls.RandomFlip", prob=0.5, direction="horizontal"),
            dict(type="mmcls.PackClsInputs"),
        ],
    ),
)
train_cfg = dict(type="MultiLoaderEpochBasedTrainLoop", other_loaders=[image_loader])
