_base_ = ["_base_/slowonly.py", "_base_/videos.py", "_base_/sgd_100e.py", "_base_/runtime.py"]
lr_config = dict(_delete_=True, policy="fixed", warmup="constant", warmup_iters=500, warmup_ratio=0.3)
