_base_ = ["_base_/clips.py", "_base_/sgd_100e.py", "_base_/default_runtime.py"]
model = dict(
    type="Recognizer3D",
    backbone=dict(type="X3D", gamma_w=1, gamma_b=2.25, gamma_d=2.2),
    cls_head=dict(
        type="X3DHead",
        in_channels=432,
        num_classes=400,
        spatial_type="avg",
        dropout_ratio=0.5,
        fc1_bias=False,
        average_clips="prob",
    ),
    data_preprocessor=dict(type="ActionDataPreprocessor", mean=[114.75] * 3, std=[57.38] * 3, format_shape="NCTHW"),
)
param_scheduler = dict(type="PolyLR", power=0.9, eta_min=1e-5, by_epoch=True, begin=0, end=100)
