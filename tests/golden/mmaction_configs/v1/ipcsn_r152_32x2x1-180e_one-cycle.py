_base_ = ["_base_/clips.py", "_base_/sgd_100e.py", "_base_/default_runtime.py"]
model = dict(
    type="Recognizer3D",
    backbone=dict(
        type="ResNet3dCSN",
        pretrained2d=False,
        pretrained=None,
        depth=152,
        with_pool2=False,
        bottleneck_mode="ip",
        norm_eval=False,
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
        mean=[110.2008, 100.63983, 95.99475],
        std=[58.14765, 56.46975, 55.332195],
        format_shape="NCTHW",
    ),
)
param_scheduler = [
    dict(type="OneCycleLR", eta_max=0.08, total_steps=100, by_epoch=True, pct_start=0.25, convert_to_iter_based=True)
]
optim_wrapper = dict(clip_grad=dict(_delete_=True, type="value", clip_value=0.5))
