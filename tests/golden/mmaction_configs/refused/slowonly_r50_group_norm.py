# a norm layer that the models of vexp do not have
_base_ = ["../v0/slowonly_r50_4x16x1_256e_kinetics400_rgb.py"]
model = dict(backbone=dict(norm_cfg=dict(type="GN", num_groups=32)))
