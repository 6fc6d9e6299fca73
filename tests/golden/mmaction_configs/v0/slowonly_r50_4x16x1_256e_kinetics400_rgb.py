# Adam, exp policy by iteration with an exponential warm-up, weights of a file, frozen stages
_base_ = ['_base_/runtime.py']
model = dict(
    type='Recognizer3D',
    backbone=dict(type='ResNet3dSlowOnly', depth=101, pretrained=None, lateral=False, conv1_kernel=(1, 7, 7),
                  conv1_stride_t=1, pool1_stride_t=1, inflate=(0, 0, 1, 1), norm_eval=True, frozen_stages=2),
    cls_head=dict(type='I3DHead', in_channels=2048, num_classes=400, spatial_type='avg', dropout_ratio=0.5,
                  label_smooth_eps=0.1, loss_cls=dict(type='CrossEntropyLoss', loss_weight=1.0)),
    train_cfg=None, test_cfg=dict(average_clips='score'))
norm = dict(mean=[103.53, 116.28, 123.675], std=[57.375, 57.12, 58.395], to_bgr=True)
pipelines = dict(
    train=[
        dict(type='OpenCVInit', num_threads=1),
        dict(type='SampleFrames', clip_len=4, frame_interval=16, num_clips=1, temporal_jitter=True),
        dict(type='OpenCVDecode'),
        dict(type='RandomRescale', scale_range=(256, 320)),
        dict(type='RandomCrop', size=224),
        dict(type='ColorJitter', color_space_aug=True),
        dict(type='Flip', flip_ratio=0.5),
        dict(type='Normalize', **norm),
        dict(type='FormatShape', input_format='NCTHW')
    ],
    val=[
        dict(type='OpenCVInit', num_threads=1),
        dict(type='SampleFrames', clip_len=4, frame_interval=16, num_clips=1, test_mode=True),
        dict(type='OpenCVDecode'),
        dict(type='Resize', scale=(-1, 256)),
        dict(type='CenterCrop', crop_size=256),
        dict(type='Normalize', **norm),
        dict(type='FormatShape', input_format='NCTHW')
    ])
data = dict(
    videos_per_gpu=8, workers_per_gpu=4,
    train=dict(type='VideoDataset', ann_file='train.txt', data_prefix='videos', sample_by_class=True, power=0.5,
               pipeline=pipelines['train']),
    val=dict(type='VideoDataset', ann_file='val.txt', data_prefix='videos', pipeline=pipelines['val']))
optimizer = dict(type='Adam', lr=1e-4, betas=(0.9, 0.98), weight_decay=0.01, amsgrad=True,
                 paramwise_cfg=dict(custom_keys={'backbone': dict(lr_mult=0.1), 'cls_head.fc_cls': dict(decay_mult=0.)}))
optimizer_config = dict(type='GradientCumulativeOptimizerHook', cumulative_iters=4)
lr_config = dict(policy='exp', gamma=0.9999, by_epoch=False, warmup='exp', warmup_iters=1000, warmup_ratio=0.01)
runner = dict(type='EpochBasedRunner', max_epochs=256)
load_from = 'https://download.openmmlab.com/mmaction/recognition/slowonly/slowonly_r101-5a1e2b3c.pth'
evaluation = dict(interval=1000, by_epoch=False, metrics='top_k_accuracy', topk=(1, 5))
checkpoint_config = dict(interval=2000, by_epoch=False, save_last=False)
log_config = dict(interval=50, ignore_last=False, reset_flag=True)
