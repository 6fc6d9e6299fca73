_base_ = ["_base_/slowonly.py", "_base_/videos.py", "_base_/sgd_100e.py", "_base_/runtime.py"]
# mmcv would stop in epoch 60
lr_config = dict(_delete_=True, policy="CosineRestart", periods=[20, 40], restart_weights=[1, 0.5], min_lr=1e-5)
