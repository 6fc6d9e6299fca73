_base_ = ["_base_/slowonly.py", "_base_/videos.py", "_base_/sgd_100e.py", "_base_/runtime.py"]
lr_config = dict(_delete_=True, policy="TIN", min_lr=0)
optimizer = dict(_delete_=True, type="RMSprop", lr=0.001, alpha=0.95, eps=1e-4, momentum=0.9, centered=True)
