_base_ = ["_base_/slowonly.py", "_base_/videos.py", "_base_/sgd_100e.py", "_base_/runtime.py"]
lr_config = dict(_delete_=True, policy="FlatCosineAnnealing", start_percent=0.6, min_lr=1e-6, by_epoch=False)
