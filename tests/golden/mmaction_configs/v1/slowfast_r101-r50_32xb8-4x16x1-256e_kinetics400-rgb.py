# pathways of two depths
_base_ = ["slowfast_r50_8xb8-8x8x1-256e_kinetics400-rgb.py"]
model = dict(
    backbone=dict(resample_rate=8, speed_ratio=8, slow_pathway=dict(depth=101, fusion_kernel=5)),
)
optim_wrapper = dict(optimizer=dict(lr=0.1 * 4))
