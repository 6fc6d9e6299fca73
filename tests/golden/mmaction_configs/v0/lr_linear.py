_base_ = ["_base_/slowonly.py", "_base_/videos.py", "_base_/sgd_100e.py", "_base_/runtime.py"]
lr_config = dict(
    _delete_=True,
    policy="LinearAnnealing",
    min_lr_ratio=0.01,
    warmup="exp",
    warmup_iters=3,
    warmup_ratio=0.5,
    warmup_by_epoch=True,
)
