# a set repeated, frozen norms, warm-up of 16 epochs, weights by address
_base_ = ["_base_/videos.py", "_base_/runtime.py"]
model = dict(
    type="Recognizer3D",
    backbone=dict(
        type="ResNet3dCSN",
        pretrained2d=False,
        pretrained="https://download.openmmlab.com/mmaction/recognition/csn/ircsn_from_scratch_r50_ig65m-ce545ed1.pth",
        depth=50,
        with_pool2=False,
        bottleneck_mode="ir",
        norm_eval=True,
        bn_frozen=True,
        zero_init_residual=False,
    ),
    cls_head=dict(
        type="I3DHead", num_classes=400, in_channels=2048, spatial_type="avg", dropout_ratio=0.5, init_std=0.01
    ),
    train_cfg=None,
    test_cfg=dict(average_clips="prob", max_testing_views=10),
)
train = dict(type="RepeatDataset", times=3, dataset={{_base_.data.train}})
data = dict(videos_per_gpu=3, workers_per_gpu=4, train=dict(_delete_=True, **train))
optimizer = dict(type="SGD", lr=0.000125, momentum=0.9, weight_decay=0.0001)
optimizer_config = dict(grad_clip=dict(max_norm=40, norm_type=2))
lr_config = dict(policy="step", step=[32, 48], warmup="linear", warmup_ratio=0.1, warmup_by_epoch=True, warmup_iters=16)
total_epochs = 58
checkpoint_config = dict(interval=2)
evaluation = dict(interval=2, metrics=["top_k_accuracy", "mean_class_accuracy"])
