# an image model of mmpretrain, with its published weights
_base_ = ["_base_/segments.py", "_base_/sgd_100e.py", "_base_/default_runtime.py"]
checkpoint = "https://download.openmmlab.com/mmclassification/v0/mobileone/mobileone-s4_8xb32_in1k_20221110-28d888cb.pth"
model = dict(
    type="Recognizer2D",
    backbone=dict(
        type="MobileOneTSM",
        arch="s4",
        shift_div=8,
        num_segments=8,
        is_shift=True,
        init_cfg=dict(type="Pretrained", checkpoint=checkpoint, prefix="backbone"),
    ),
    cls_head=dict(
        type="TSMHead",
        num_classes=174,
        in_channels=2048,
        spatial_type="avg",
        consensus=dict(type="AvgConsensus", dim=1),
        dropout_ratio=0.5,
        init_std=0.001,
        is_shift=True,
        average_clips="prob",
    ),
    data_preprocessor=_base_.preprocess_cfg,
    train_cfg=None,
    test_cfg=None,
)
optim_wrapper = dict(_delete_=True, **_base_.tsm_optimizer)
