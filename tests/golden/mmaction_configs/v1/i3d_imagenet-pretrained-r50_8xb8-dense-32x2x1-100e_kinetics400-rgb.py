_base_ = ["_base_/clips.py", "_base_/sgd_100e.py", "_base_/default_runtime.py"]
model = dict(
    type="Recognizer3D",
    backbone=dict(
        type="ResNet3d",
        pretrained2d=True,
        pretrained="torchvision://resnet50",
        depth=50,
        conv1_kernel=(5, 7, 7),
        conv1_stride_t=2,
        pool1_stride_t=2,
        conv_cfg=dict(type="Conv3d"),
        norm_eval=False,
        inflate=((1, 1, 1), (1, 0, 1, 0), (1, 0, 1, 0, 1, 0), (0, 1, 0)),
        zero_init_residual=False,
    ),
    cls_head=dict(
        type="I3DHead",
        num_classes=400,
        in_channels=2048,
        spatial_type="avg",
        dropout_ratio=0.5,
        init_std=0.01,
        average_clips="prob",
    ),
    data_preprocessor=dict(
        type="ActionDataPreprocessor",
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        format_shape="NCTHW",
        to_rgb=True,
    ),
)
pipeline = [
    dict(type="DecordInit"),
    dict(type="DenseSampleFrames", clip_len=32, frame_interval=2, num_clips=1, sample_range=96),
    dict(type="DecordDecode"),
    dict(type="RandomRescale", scale_range=(256, 320)),
    dict(type="RandomCrop", size=224),
    dict(type="ColorJitter", brightness=0.2, contrast=0.2, saturation=0.2, hue=0),
    dict(type="Flip"),
    dict(type="FormatShape", input_format="NCTHW"),
    dict(type="PackActionInputs"),
]
train_dataloader = dict(dataset=dict(pipeline=pipeline))
vis_backends = [
    dict(type="LocalVisBackend"),
    dict(type="TensorboardVisBackend"),
    dict(type="WandbVisBackend", init_kwargs=dict(project="i3d", group="dense")),
]
visualizer = dict(type="ActionVisualizer", vis_backends=vis_backends)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=2001),
    dict(type="StepLR", step_size=30, gamma=0.2),
]
