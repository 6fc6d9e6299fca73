# the new style of 1.x: imports, classes, updates
from mmengine.config import read_base

with read_base():
    from .._base_.clips import *
    from .._base_.default_runtime import *
    from .._base_.sgd_100e import *

from mmaction.engine.runner import RepeatTrainLoop  # noqa
from mmaction.models import ActionDataPreprocessor, I3DHead, Recognizer3D, ResNet3dSlowOnly
from mmengine.optim import LinearLR, MultiStepLR
from torch.optim import SGD

model = dict(
    type=Recognizer3D,
    backbone=dict(
        type=ResNet3dSlowOnly,
        depth=50,
        pretrained=None,
        lateral=False,
        conv1_kernel=(1, 7, 7),
        conv1_stride_t=1,
        pool1_stride_t=1,
        inflate=(0, 0, 1, 1),
        norm_eval=False,
    ),
    cls_head=dict(
        type=I3DHead, in_channels=2048, num_classes=400, spatial_type="avg", dropout_ratio=0.5, average_clips="prob"
    ),
    data_preprocessor=dict(
        type=ActionDataPreprocessor, mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], format_shape="NCTHW"
    ),
)
optim_wrapper.update(dict(optimizer=dict(type=SGD, lr=0.02, momentum=0.9, weight_decay=1e-4)))
train_dataloader["batch_size"] = 16
model.cls_head.num_classes = 101
train_pipeline.insert(4, dict(type="CenterCrop", crop_size=(300, 256)))
param_scheduler = [
    dict(type=LinearLR, start_factor=0.1, by_epoch=False, begin=0, end=1001),
    dict(type=MultiStepLR, begin=10, end=100, by_epoch=True, milestones=[30, 70], gamma=0.1),
]
del val_cfg
