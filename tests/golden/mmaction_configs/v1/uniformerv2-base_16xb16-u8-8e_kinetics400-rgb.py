# a transformer of images with CLIP's weights, eight frames over the whole video, many views in the test
_base_ = ["_base_/clips.py", "_base_/default_runtime.py"]
model = dict(
    type="Recognizer3D",
    backbone=dict(
        type="UniFormerV2",
        input_resolution=224,
        patch_size=16,
        width=768,
        layers=12,
        heads=12,
        t_size=8,
        dw_reduction=1.5,
        backbone_drop_path_rate=0.0,
        temporal_downsample=False,
        no_lmhra=True,
        double_lmhra=True,
        return_list=[8, 9, 10, 11],
        n_layers=4,
        n_dim=768,
        n_head=12,
        mlp_factor=4.0,
        drop_path_rate=0.0,
        mlp_dropout=[0.5, 0.5, 0.5, 0.5],
        clip_pretrained=True,
        pretrained="ViT-B/16",
    ),
    cls_head=dict(type="UniFormerHead", dropout_ratio=0.5, num_classes=400, in_channels=768, average_clips="prob"),
    data_preprocessor=dict(
        type="ActionDataPreprocessor", mean=[114.75] * 3, std=[57.375] * 3, format_shape="NCTHW"
    ),
)
frames = dict(type="UniformSample", clip_len=8, num_clips=1)
pixels = [dict(type="Resize", scale=(-1, 224)), dict(type="CenterCrop", crop_size=224), dict(type="PackActionInputs")]
train_dataloader = dict(batch_size=16, dataset=dict(pipeline=[dict(type="DecordInit"), frames, *pixels]))
val_dataloader = dict(dataset=dict(pipeline=[dict(type="DecordInit"), dict(test_mode=True, **frames), *pixels]))
test_dataloader = dict(dataset=dict(pipeline=[dict(type="DecordInit"), dict(test_mode=True, **frames), *pixels]))
train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=8, val_interval=1)
val_cfg, test_cfg = dict(type="ValLoop"), dict(type="TestLoop")
optim_wrapper = dict(
    type="AmpOptimWrapper",
    optimizer=dict(type="AdamW", lr=2e-5, betas=(0.9, 0.999), weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
    clip_grad=dict(max_norm=20, norm_type=2),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.5, by_epoch=True, begin=0, end=1, convert_to_iter_based=True),
    dict(type="CosineAnnealingLR", T_max=7, eta_min_ratio=0.5, by_epoch=True, begin=1, end=8,
         convert_to_iter_based=True),
]  # fmt: skip
