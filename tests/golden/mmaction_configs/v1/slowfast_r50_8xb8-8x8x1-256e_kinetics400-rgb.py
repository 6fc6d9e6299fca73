_base_ = ["_base_/slowfast_r50.py", "_base_/clips.py", "_base_/default_runtime.py"]
model = dict(backbone=dict(resample_rate=4, speed_ratio=4, slow_pathway=dict(fusion_kernel=7)))
train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=256, val_begin=1, val_interval=5)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
optim_wrapper = dict(
    optimizer=dict(type="SGD", lr=0.1, momentum=0.9, weight_decay=1e-4), clip_grad=dict(max_norm=40, norm_type=2)
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, by_epoch=True, begin=0, end=34, convert_to_iter_based=True),
    dict(type="CosineAnnealingLR", T_max=256, eta_min=0, by_epoch=True, begin=0, end=256),
]
default_hooks = dict(checkpoint=dict(interval=4, max_keep_ckpts=3))
auto_scale_lr = dict(enable=False, base_batch_size=64)
