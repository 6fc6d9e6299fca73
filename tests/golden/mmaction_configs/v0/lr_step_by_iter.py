_base_ = ["_base_/slowonly.py", "_base_/videos.py", "_base_/sgd_100e.py", "_base_/runtime.py"]
lr_config = dict(
    _delete_=True,
    policy="step",
    step=500,
    gamma=0.5,
    min_lr=1e-5,
    by_epoch=False,
    warmup="exp",
    warmup_iters=2,
    warmup_by_epoch=True,
)
