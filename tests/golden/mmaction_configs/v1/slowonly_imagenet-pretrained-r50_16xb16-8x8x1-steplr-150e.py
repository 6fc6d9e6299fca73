# accumulation, bfloat16, one cosine longer than the run, sampling by time
_base_ = ["_base_/clips.py", "_base_/sgd_100e.py", "_base_/default_runtime.py"]
model = dict(
    type="Recognizer3D",
    backbone=dict(
        type="ResNet3dSlowOnly",
        depth=50,
        pretrained="torchvision://resnet50",
        lateral=False,
        conv1_kernel=(1, 7, 7),
        conv1_stride_t=1,
        pool1_stride_t=1,
        inflate=(0, 0, 1, 1),
        norm_eval=False,
    ),
    cls_head=dict(
        type="I3DHead",
        in_channels=2048,
        num_classes=400,
        spatial_type="avg",
        dropout_ratio=0.5,
        average_clips="score",
        topk=(1, 5),
    ),
    data_preprocessor=dict(
        type="ActionDataPreprocessor", mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], format_shape="NCTHW"
    ),
)
train_pipeline = _base_.train_pipeline
train_pipeline[1] = dict(type="SampleFrames", clip_len=8, frame_interval=8, num_clips=1, target_fps=30)
val_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(type="DecordInit"),
            dict(type="SampleFrames", clip_len=8, frame_interval=8, num_clips=3, test_mode=True),
            dict(type="DecordDecode"),
            dict(type="Resize", scale=(-1, 256)),
            dict(type="CenterCrop", crop_size=224),
        ]
    )
)
test_dataloader = val_dataloader
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
optim_wrapper = dict(type="AmpOptimWrapper", dtype="bfloat16", loss_scale="dynamic", accumulative_counts=2)
param_scheduler = [dict(type="CosineAnnealingLR", T_max=150, eta_min=1e-5, by_epoch=True)]
custom_hooks = [dict(type="EMAHook", momentum=0.0005)]
