_base_ = ["_base_/clips.py", "_base_/sgd_100e.py", "_base_/default_runtime.py"]
model = dict(
    type="Recognizer3D",
    backbone=dict(
        type="C3D",
        pretrained=None,
        style="pytorch",
        conv_cfg=dict(type="Conv3d"),
        norm_cfg=None,
        act_cfg=dict(type="ReLU"),
        dropout_ratio=0.5,
        init_std=0.005,
    ),
    cls_head=dict(
        type="I3DHead",
        num_classes=101,
        in_channels=4096,
        spatial_type=None,
        dropout_ratio=0.5,
        init_std=0.01,
        average_clips="prob",
    ),
    data_preprocessor=dict(type="ActionDataPreprocessor", mean=[104, 117, 128], std=[1, 1, 1], format_shape="NCTHW"),
)
param_scheduler = [
    dict(type="ConstantLR", factor=0.25, by_epoch=False, begin=0, end=501),
    dict(type="ExponentialLR", gamma=0.95, by_epoch=True),
]
train_dataloader = dict(batch_size=30)
