# TSM with non-local blocks
_base_ = ["_base_/segments.py", "_base_/sgd_100e.py", "_base_/default_runtime.py"]
model = dict(
    type="Recognizer2D",
    backbone=dict(
        type="ResNetTSM",
        pretrained="https://download.pytorch.org/models/resnet50-11ad3fa6.pth",
        depth=50,
        norm_eval=False,
        shift_div=8,
        non_local=((0, 0, 0), (1, 0, 1, 0), (1, 0, 1, 0, 1, 0), (0, 0, 0)),
        non_local_cfg=dict(
            sub_sample=True, use_scale=False, norm_cfg=dict(type="BN3d", requires_grad=True), mode="dot_product"
        ),
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
