# an image model of timm for each frame, synchronized over the GPUs, weights of the loss
_base_ = ["tsn_imagenet-pretrained-r50_8xb32-1x1x8-100e_kinetics400-rgb.py"]
model = dict(
    backbone=dict(_delete_=True, type="timm.swin_base_patch4_window7_224", pretrained=True),
    cls_head=dict(in_channels=1024, loss_cls=dict(type="CrossEntropyLoss", loss_weight=2.0)),
)
model_wrapper_cfg = dict(type="MMDistributedDataParallel", find_unused_parameters=True)
