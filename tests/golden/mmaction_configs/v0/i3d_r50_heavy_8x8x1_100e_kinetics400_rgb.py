# convolutions in time in every block, and all frames up to the first stage
_base_ = ['i3d_nl_dot_product_r50_32x2x1_100e_kinetics400_rgb.py']
model = dict(
    backbone=dict(
        inflate=(1, 1, 1, 1), conv1_stride_t=1, pool1_stride_t=1, with_pool2=True, non_local=(0, 0, 0, 0),
        non_local_cfg=dict(_delete_=True)))
