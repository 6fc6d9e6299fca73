# TIN, the rule of TSM's groups, a warm-up in front of a cosine
_base_ = ["_base_/segments.py", "_base_/sgd_100e.py", "_base_/default_runtime.py"]
model = dict(
    type="Recognizer2D",
    backbone=dict(type="ResNetTIN", pretrained="torchvision://resnet50", depth=50, norm_eval=False, shift_div=4),
    cls_head=dict(
        type="TSMHead",
        num_classes=174,
        in_channels=2048,
        spatial_type="avg",
        consensus=dict(type="AvgConsensus", dim=1),
        dropout_ratio=0.8,
        init_std=0.001,
        is_shift=False,
        average_clips="prob",
    ),
    data_preprocessor=_base_.preprocess_cfg,
    train_cfg=None,
    test_cfg=None,
)
optim_wrapper = dict(_delete_=True, **_base_.tsm_optimizer)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, by_epoch=True, begin=0, end=1, convert_to_iter_based=True),
    dict(type="CosineAnnealingLR", T_max=39, eta_min=0, by_epoch=True, convert_to_iter_based=True, begin=1, end=40),
]
train_cfg = dict(max_epochs=40, val_interval=2)
