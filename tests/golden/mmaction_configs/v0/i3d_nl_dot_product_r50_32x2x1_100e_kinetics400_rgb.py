# {{_base_.x}} references, lazy geometry with Fuse, non-local blocks, cosine with a linear warm-up in epochs
_base_ = ['_base_/runtime.py', '_base_/sgd_100e.py']
img_norm_cfg = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_bgr=False)
model = dict(
    type='Recognizer3D',
    backbone=dict(
        type='ResNet3d', pretrained2d=True, pretrained='torchvision://resnet50', depth=50, conv1_kernel=(5, 7, 7),
        conv1_stride_t=2, pool1_stride_t=2, conv_cfg=dict(type='Conv3d'), norm_eval=False,
        inflate=((1, 1, 1), (1, 0, 1, 0), (1, 0, 1, 0, 1, 0), (0, 1, 0)), zero_init_residual=False,
        non_local=((0, 0, 0), (0, 1, 0, 1), (0, 1, 0, 1, 0, 1), (0, 0, 0)),
        non_local_cfg=dict(sub_sample=True, use_scale=False, norm_cfg=dict(type='BN3d', requires_grad=True),
                           mode='dot_product')),
    cls_head=dict(type='I3DHead', num_classes=400, in_channels=2048, spatial_type='avg', dropout_ratio=0.5,
                  init_std=0.01),
    train_cfg=None,
    test_cfg=dict(average_clips='prob', max_testing_views=10))
train_pipeline = [
    dict(type='DecordInit'),
    dict(type='SampleFrames', clip_len=32, frame_interval=2, num_clips=1),
    dict(type='DecordDecode'),
    dict(type='Resize', scale=(-1, 256), lazy=True),
    dict(type='MultiScaleCrop', input_size=224, scales=(1, 0.8), random_crop=False, max_wh_scale_gap=0, lazy=True),
    dict(type='Resize', scale=(224, 224), keep_ratio=False, lazy=True),
    dict(type='Flip', flip_ratio=0.5, lazy=True),
    dict(type='Fuse'),
    dict(type='Normalize', **img_norm_cfg),
    dict(type='FormatShape', input_format='NCTHW'),
    dict(type='Collect', keys=['imgs', 'label'], meta_keys=[]),
    dict(type='ToTensor', keys=['imgs', 'label'])
]
val_pipeline = [
    dict(type='DecordInit'),
    dict(type='SampleFrames', clip_len=32, frame_interval=2, num_clips=1, test_mode=True),
    dict(type='DecordDecode'),
    dict(type='Resize', scale=(-1, 256)),
    dict(type='CenterCrop', crop_size=224),
    dict(type='Normalize', **img_norm_cfg),
    dict(type='FormatShape', input_format='NCTHW'),
]
test_pipeline = [
    dict(type='DecordInit'),
    dict(type='SampleFrames', clip_len=32, frame_interval=2, num_clips=10, test_mode=True,
         out_of_bound_opt='repeat_last'),
    dict(type='DecordDecode'),
    dict(type='Resize', scale=(-1, 256)),
    dict(type='ThreeCrop', crop_size=256),
    dict(type='Normalize', **img_norm_cfg),
    dict(type='FormatShape', input_format='NCTHW'),
]
video_root = 'data/kinetics400/videos'
data = dict(
    videos_per_gpu=8, workers_per_gpu=4,
    train_dataloader=dict(drop_last=True),
    val_dataloader=dict(videos_per_gpu=4),
    train=dict(type='VideoDataset', ann_file='data/kinetics400/train.txt', data_prefix=video_root + '_train',
               pipeline=train_pipeline),
    val=dict(type='VideoDataset', ann_file='data/kinetics400/val.txt', data_prefix='%s_val' % video_root,
             pipeline=val_pipeline),
    test=dict(type='VideoDataset', ann_file='data/kinetics400/val.txt', data_prefix='%s_val' % video_root,
              pipeline=test_pipeline))
lr_config = dict(
    _delete_=True, policy='CosineAnnealing', min_lr=0, warmup='linear', warmup_by_epoch=True, warmup_iters=34,
    warmup_ratio=0.1)
total_epochs = 256
checkpoint_config = dict(interval={{_base_.checkpoint_config.interval}} * 4, max_keep_ckpts=3)
evaluation = dict(interval=5, metric_options=dict(top_k_accuracy=dict(topk=(1, 3))), save_best='auto')
log_config = dict(hooks=[dict(type='TextLoggerHook'), dict(type='TensorboardLoggerHook')])
fp16 = dict()
