_base_ = ["_base_/slowonly.py", "_base_/videos.py", "_base_/sgd_100e.py", "_base_/runtime.py"]
lr_config = dict(
    _delete_=True, policy="cyclic", target_ratio=(10, 1e-3), cyclic_times=2, step_ratio_up=0.3, anneal_strategy="linear"
)
momentum_config = dict(policy="cyclic", target_ratio=(0.85 / 0.95, 1), cyclic_times=2, step_ratio_up=0.3)
