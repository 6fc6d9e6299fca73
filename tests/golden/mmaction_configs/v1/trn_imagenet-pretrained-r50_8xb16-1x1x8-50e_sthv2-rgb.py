# relations of frames, a rule of groups without a faster classifier
_base_ = ["_base_/segments.py", "_base_/sgd_100e.py", "_base_/default_runtime.py"]
model = dict(
    type="Recognizer2D",
    backbone=dict(type="ResNet", pretrained="torchvision://resnet50", depth=50, norm_eval=False, partial_bn=True),
    cls_head=dict(
        type="TRNHead",
        num_classes=174,
        in_channels=2048,
        num_segments=8,
        spatial_type="avg",
        relation_type="TRNMultiScale",
        hidden_dim=256,
        dropout_ratio=0.8,
        init_std=0.001,
        average_clips="prob",
    ),
    data_preprocessor=_base_.preprocess_cfg,
)
optim_wrapper = dict(
    constructor="TSMOptimWrapperConstructor",
    paramwise_cfg=dict(fc_lr5=False),
    optimizer=dict(type="SGD", lr=0.002, momentum=0.9, weight_decay=5e-4),
    clip_grad=dict(max_norm=20, norm_type=2),
)
find_unused_parameters = True
