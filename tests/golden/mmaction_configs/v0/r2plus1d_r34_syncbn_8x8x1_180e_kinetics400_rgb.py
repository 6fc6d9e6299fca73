# SyncBN, and weights of the loss are those of every batch
_base_ = ["r2plus1d_r34_8x8x1_180e_kinetics400_rgb.py"]
model = dict(backbone=dict(norm_cfg=dict(type="SyncBN", requires_grad=True, eps=1e-3)))
find_unused_parameters = True
