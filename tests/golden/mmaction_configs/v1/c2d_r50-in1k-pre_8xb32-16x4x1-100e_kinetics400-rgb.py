# an image model with a pooling in time
_base_ = ["_base_/clips.py", "_base_/sgd_100e.py", "_base_/default_runtime.py"]
model = dict(
    type="Recognizer3D",
    backbone=dict(type="C2D", depth=50, pretrained="torchvision://resnet50", norm_eval=False),
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
        type="ActionDataPreprocessor", mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], format_shape="NCTHW"
    ),
)
