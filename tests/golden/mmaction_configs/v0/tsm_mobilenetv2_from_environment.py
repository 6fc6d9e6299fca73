# what only running the file would tell, and what nothing reads
import os
import os.path as osp

_base_ = ["tsm_r50_1x1x8_50e_sthv1_rgb.py"]
root = os.environ.get("DATA", "data")
model = dict(
    backbone=dict(
        _delete_=True,
        type="MobileNetV2TSM",
        shift_div=8,
        num_segments=8,
        is_shift=True,
        pretrained="mmcls://mobilenet_v2",
    ),
    cls_head=dict(in_channels=1280),
)
data = dict(
    train=dict(ann_file=f"{root}/train.txt", data_prefix=osp.join("data", "frames")),
    val=dict(ann_file=osp.join("data", "val.txt")),
)
for name in ("a", "b"):
    print(name)
my_own_switch = True
optimizer_config = dict(type="Fp16OptimizerHook", loss_scale=256.0, distributed=True)
