# inherits, replaces both pipelines and deletes the base's optimizer; dense windows for an image net
_base_ = ['tsm_r50_1x1x8_50e_sthv1_rgb.py']
img_norm_cfg = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_bgr=False)
train_pipeline = [
    dict(type='DenseSampleFrames', clip_len=1, frame_interval=1, num_clips=8),
    dict(type='RawFrameDecode'),
    dict(type='RandomResizedCrop', area_range=(0.2, 1.0)),
    dict(type='Resize', scale=(224, 224), keep_ratio=False),
    dict(type='Flip', flip_ratio=0.5),
    dict(type='Normalize', **img_norm_cfg),
    dict(type='FormatShape', input_format='NCHW'),
]
val_pipeline = [
    dict(type='DenseSampleFrames', clip_len=1, frame_interval=1, num_clips=8, test_mode=True, num_sample_positions=5),
    dict(type='RawFrameDecode'),
    dict(type='Resize', scale=(-1, 256)),
    dict(type='CenterCrop', crop_size=224),
    dict(type='Normalize', **img_norm_cfg),
    dict(type='FormatShape', input_format='NCHW'),
]
data = dict(
    train=dict(ann_file='data/kinetics400/train.txt', data_prefix='data/kinetics400/rawframes_train',
               filename_tmpl='img_{:05}.jpg', pipeline=train_pipeline),
    val=dict(ann_file='data/kinetics400/val.txt', data_prefix='data/kinetics400/rawframes_val',
             filename_tmpl='img_{:05}.jpg', pipeline=val_pipeline),
    test=dict(ann_file='data/kinetics400/val.txt', data_prefix='data/kinetics400/rawframes_val',
              filename_tmpl='img_{:05}.jpg', pipeline=val_pipeline))
optimizer = dict(
    _delete_=True, type='SGD', lr=0.02, momentum=0.9, weight_decay=1e-4, nesterov=True,
    paramwise_cfg=dict(norm_decay_mult=0., bias_lr_mult=2., bias_decay_mult=0.))
evaluation = dict(start=40)
