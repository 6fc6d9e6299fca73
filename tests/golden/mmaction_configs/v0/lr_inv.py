_base_ = ["_base_/slowonly.py", "_base_/videos.py", "_base_/sgd_100e.py", "_base_/runtime.py"]
lr_config = dict(_delete_=True, policy="inv", gamma=0.05, power=0.75, warmup="linear", warmup_iters=1000)
