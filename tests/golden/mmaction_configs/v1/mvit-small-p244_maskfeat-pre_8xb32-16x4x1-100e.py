# rates that decay by layer, a scaled classifier
_base_ = ["mvit-small-p244_32xb16-16x4x1-200e_kinetics400-rgb.py"]
model = dict(
    backbone=dict(drop_path_rate=0.1, dim_mul_in_attention=False, pretrained="maskfeat.pth", pretrained_type="maskfeat"),
    cls_head=dict(dropout_ratio=0.0, init_scale=0.001),
)
optim_wrapper = dict(
    constructor="LearningRateDecayOptimizerConstructor",
    paramwise_cfg=dict(_delete_=True, decay_rate=0.75, decay_type="layer_wise", num_layers=16),
)
