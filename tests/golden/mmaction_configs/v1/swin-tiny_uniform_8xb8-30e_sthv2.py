# one clip over the whole video, by iteration, another constructor
_base_ = ["_base_/clips.py", "_base_/default_runtime.py"]
model = dict(
    type="Recognizer3D",
    backbone=dict(
        type="SwinTransformer3D",
        arch="tiny",
        pretrained="weights/swin.pth",
        pretrained2d=True,
        patch_size=(2, 4, 4),
        window_size=(8, 7, 7),
        mlp_ratio=4.0,
        qkv_bias=True,
        qk_scale=None,
        drop_rate=0.0,
        attn_drop_rate=0.0,
        drop_path_rate=0.1,
        patch_norm=True,
    ),
    cls_head=dict(
        type="I3DHead", in_channels=768, num_classes=174, spatial_type="avg", dropout_ratio=0.5, average_clips="prob"
    ),
    data_preprocessor=dict(
        type="ActionDataPreprocessor", mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], format_shape="NCTHW"
    ),
)
sthv2 = "data/sthv2"
train_dataloader = dict(
    dataset=dict(
        ann_file=f"{sthv2}/train.txt",
        data_prefix=dict(video=f"{sthv2}/videos"),
        pipeline=[
            dict(type="DecordInit"),
            dict(type="UniformSample", clip_len=16),
            dict(type="DecordDecode"),
            dict(type="Resize", scale=(-1, 224)),
            dict(type="RandomResizedCrop"),
            dict(type="Resize", scale=(224, 224), keep_ratio=False),
            dict(type="FormatShape", input_format="NCTHW"),
        ],
    )
)
train_cfg = dict(type="IterBasedTrainLoop", max_iters=30000, val_interval=1000)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
optim_wrapper = dict(
    type="AmpOptimWrapper",
    loss_scale=512.0,
    optimizer=dict(type="AdamW", lr=1e-3, betas=(0.9, 0.999), weight_decay=0.02),
    constructor="SwinOptimWrapperConstructor",
    paramwise_cfg=dict(norm=dict(decay_mult=0.0)),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, by_epoch=False, begin=0, end=2501),
    dict(type="CosineAnnealingLR", T_max=30000, eta_min=0, by_epoch=False, begin=0, end=30000),
]
default_hooks = dict(
    checkpoint=dict(by_epoch=False, interval=1000, save_best="acc/mean1"), logger=dict(log_metric_by_epoch=False)
)
log_processor = dict(by_epoch=False)
