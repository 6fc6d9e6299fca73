# non-local blocks whose products are scaled
_base_ = ["_base_/clips.py", "_base_/sgd_100e.py", "_base_/default_runtime.py"]
model = dict(
    type="Recognizer3D",
    backbone=dict(
        type="ResNet3dSlowOnly",
        depth=50,
        pretrained="https://download.pytorch.org/models/resnet50-11ad3fa6.pth",
        lateral=False,
        conv1_kernel=(1, 7, 7),
        conv1_stride_t=1,
        pool1_stride_t=1,
        inflate=(0, 0, 1, 1),
        non_local=((0, 0, 0), (1, 0, 1, 0), (1, 0, 1, 0, 1, 0), (0, 0, 0)),
        non_local_cfg=dict(
            sub_sample=True,
            use_scale=True,
            norm_cfg=dict(type="BN3d", requires_grad=True),
            mode="embedded_gaussian",
        ),
        norm_eval=False,
    ),
    cls_head=dict(type="I3DHead", in_channels=2048, num_classes=400, spatial_type="avg", dropout_ratio=0.5),
    data_preprocessor=dict(
        type="ActionDataPreprocessor", mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], format_shape="NCTHW"
    ),
)
