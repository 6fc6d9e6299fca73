# TANet with TSM's head
_base_ = ["_base_/segments.py", "_base_/sgd_100e.py", "_base_/default_runtime.py"]
model = dict(
    type="Recognizer2D",
    backbone=dict(type="TANet", pretrained="torchvision://resnet50", depth=50, num_segments=8, tam_cfg=None),
    cls_head=dict(
        type="TSMHead",
        num_classes=174,
        in_channels=2048,
        spatial_type="avg",
        consensus=dict(type="AvgConsensus", dim=1),
        dropout_ratio=0.6,
        init_std=0.001,
        average_clips="prob",
    ),
    data_preprocessor=_base_.preprocess_cfg,
    train_cfg=None,
    test_cfg=None,
)
optim_wrapper = dict(_delete_=True, **_base_.tsm_optimizer)
