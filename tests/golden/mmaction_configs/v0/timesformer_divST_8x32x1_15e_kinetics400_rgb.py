# keys of parameters with a leading dot, as published: they fit nothing
_base_ = ["_base_/videos.py", "_base_/runtime.py"]
model = dict(
    type="Recognizer3D",
    backbone=dict(
        type="TimeSformer",
        pretrained="weights/vit_base_patch16_224.pth",
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
    cls_head=dict(type="TimeSformerHead", num_classes=400, in_channels=768),
    train_cfg=None,
    test_cfg=dict(average_clips="prob"),
)
optimizer = dict(
    type="SGD",
    lr=0.005,
    momentum=0.9,
    weight_decay=1e-4,
    nesterov=True,
    paramwise_cfg=dict(
        custom_keys={
            ".backbone.cls_token": dict(decay_mult=0.0),
            ".backbone.pos_embed": dict(decay_mult=0.0),
            "backbone.time_embed": dict(decay_mult=0.0),
        }
    ),
)
optimizer_config = dict(grad_clip=dict(max_norm=40, norm_type=2))
lr_config = dict(policy="step", step=[5, 10])
total_epochs = 15
evaluation = dict(interval=1, metrics=["top_k_accuracy", "mean_class_accuracy"])
