# transformer: AdamW, cosine after the warm-up, clips mixed, RandAugment, erasing, repeats
_base_ = ["_base_/clips.py", "_base_/default_runtime.py"]
base_lr = 1.6e-3
model = dict(
    type="Recognizer3D",
    backbone=dict(type="MViT", arch="small", drop_path_rate=0.2),
    cls_head=dict(type="MViTHead", in_channels=768, num_classes=400, label_smooth_eps=0.1, average_clips="prob"),
    data_preprocessor=dict(
        type="ActionDataPreprocessor",
        mean=[114.75, 114.75, 114.75],
        std=[57.375, 57.375, 57.375],
        blending=dict(
            type="RandomBatchAugment",
            augments=[
                dict(type="MixupBlending", alpha=0.8, num_classes=400),
                dict(type="CutmixBlending", alpha=1, num_classes=400),
            ],
        ),
        format_shape="NCTHW",
    ),
)
train_pipeline = [
    dict(type="DecordInit"),
    dict(type="SampleFrames", clip_len=16, frame_interval=4, num_clips=1),
    dict(type="DecordDecode"),
    dict(type="Resize", scale=(-1, 256)),
    dict(type="PytorchVideoWrapper", op="RandAugment", magnitude=7, num_layers=4),
    dict(type="RandomResizedCrop"),
    dict(type="Resize", scale=(224, 224), keep_ratio=False),
    dict(type="Flip", flip_ratio=0.5),
    dict(type="TorchVisionWrapper", op="RandomGrayscale", p=0.1),
    dict(type="RandomErasing", erase_prob=0.25, mode="rand"),
    dict(type="FormatShape", input_format="NCTHW"),
    dict(type="PackActionInputs"),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline), collate_fn=dict(type="repeat_pseudo_collate"))
train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=200, val_begin=1, val_interval=3)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
optim_wrapper = dict(
    type="AmpOptimWrapper",
    optimizer=dict(type="AdamW", lr=base_lr, betas=(0.9, 0.999), weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
    clip_grad=dict(max_norm=1, norm_type=2),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=True, begin=0, end=30, convert_to_iter_based=True),
    dict(
        type="CosineAnnealingLR",
        T_max=170,
        eta_min=base_lr / 100,
        by_epoch=True,
        begin=30,
        end=200,
        convert_to_iter_based=True,
    ),
]
auto_scale_lr = dict(enable=True, base_batch_size=512 // 2)
