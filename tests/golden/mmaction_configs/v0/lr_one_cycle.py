_base_ = ["_base_/slowonly.py", "_base_/videos.py", "_base_/sgd_100e.py", "_base_/runtime.py"]
lr_config = dict(_delete_=True, policy="OneCycle", max_lr=0.05, pct_start=0.2, div_factor=10.0, three_phase=True)
optimizer_config = None
