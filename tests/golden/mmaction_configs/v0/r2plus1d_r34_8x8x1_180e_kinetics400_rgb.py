# cosine restart with mmcv's weights, fp16 with a fixed scale, PyAV
_base_ = ['./_base_/runtime.py']
model = dict(
    type='Recognizer3D',
    backbone=dict(type='ResNet2Plus1d', depth=34, pretrained=None, pretrained2d=False, norm_eval=False,
                  conv_cfg=dict(type='Conv2plus1d'), norm_cfg=dict(type='SyncBN', requires_grad=True, eps=1e-3),
                  act_cfg=dict(type='ReLU'), conv1_kernel=(3, 7, 7), conv1_stride_t=1, pool1_stride_t=1,
                  inflate=(1, 1, 1, 1), spatial_strides=(1, 2, 2, 2), temporal_strides=(1, 2, 2, 2),
                  zero_init_residual=False),
    cls_head=dict(type='I3DHead', num_classes=400, in_channels=512, spatial_type='avg', dropout_ratio=0.5,
                  init_std=0.01),
    train_cfg=None, test_cfg=dict(average_clips='prob'))
clip = dict(type='SampleFrames', clip_len=8, frame_interval=8)
to_net = [
    dict(type='Normalize', mean=[127.5] * 3, std=[127.5] * 3, to_bgr=False),
    dict(type='FormatShape', input_format='NCTHW')
]
train_pipeline = [
    dict(type='PyAVInit'), dict(num_clips=1, **clip), dict(type='PyAVDecode', multi_thread=True),
    dict(type='Resize', scale=(-1, 256)), dict(type='RandomResizedCrop', aspect_ratio_range=(0.8, 1.25)),
    dict(type='Resize', scale=(224, 224), keep_ratio=False, interpolation='nearest'), dict(type='Flip'), *to_net
]
val_pipeline = [
    dict(type='PyAVInit'), dict(num_clips=10, test_mode=True, **clip), dict(type='PyAVDecode'),
    dict(type='Resize', scale=(-1, 256)), dict(type='CenterCrop', crop_size=(224, 224)), *to_net
]
shared = dict(type='VideoDataset', data_prefix='')
data = dict(
    videos_per_gpu=6, workers_per_gpu=4,
    train=dict(shared, ann_file='lists/train.txt', pipeline=train_pipeline),
    val=dict(shared, ann_file='lists/val.txt', pipeline=val_pipeline, test_mode=True),
    test=dict(shared, ann_file='lists/val.txt', pipeline=val_pipeline))
optimizer = dict(type='SGD', lr=0.2)
optimizer_config = dict(grad_clip=dict(max_norm=40, norm_type=2), detect_anomalous_params=True)
lr_config = dict(policy='CosineRestart', periods=[60, 60, 60], restart_weights=[1, 0.5, 0.25], min_lr_ratio=0.01,
                 warmup='constant', warmup_iters=100, warmup_ratio=0.2)
total_epochs = 180
fp16 = dict(loss_scale=512.)
evaluation = dict(interval=5)
