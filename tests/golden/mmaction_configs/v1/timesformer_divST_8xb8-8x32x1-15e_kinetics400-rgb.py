_base_ = ["_base_/clips.py", "_base_/default_runtime.py"]
model = dict(
    type="Recognizer3D",
    backbone=dict(
        type="TimeSformer",
        pretrained="weights/vit.pth",
        num_frames=8,
        img_size=224,
        patch_size=16,
        embed_dims=768,
        in_channels=3,
        dropout_ratio=0.0,
        transformer_layers=None,
        attention_type="divided_space_time",
        norm_cfg=dict(type="LN", eps=1e-6),
    ),
    cls_head=dict(type="TimeSformerHead", num_classes=400, in_channels=768, average_clips="prob"),
    data_preprocessor=dict(
        type="ActionDataPreprocessor", mean=[127.5, 127.5, 127.5], std=[127.5, 127.5, 127.5], format_shape="NCTHW"
    ),
)
max_epochs = 15
train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=max_epochs, val_begin=4, val_interval=3)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
optim_wrapper = dict(
    optimizer=dict(type="SGD", lr=0.005, momentum=0.9, weight_decay=1e-4, nesterov=True),
    paramwise_cfg=dict(custom_keys={".backbone.cls_token": dict(decay_mult=0.0)}),
    clip_grad=dict(max_norm=40, norm_type=2),
)
param_scheduler = [dict(type="MultiStepLR", begin=0, end=max_epochs, by_epoch=True, milestones=[5, 10], gamma=0.1)]
default_hooks = dict(checkpoint=dict(interval=5))
