# Something-Something with a flip and no label map: a trap. TSM's optimizer, twice_sample, ThreeCrop, turbojpeg.
_base_ = ['_base_/runtime.py']
model = dict(
    type='Recognizer2D',
    backbone=dict(
        type='ResNetTSM', pretrained='torchvision://resnet50', depth=50, norm_eval=False, shift_div=8, num_segments=8),
    cls_head=dict(
        type='TSMHead', num_classes=174, in_channels=2048, num_segments=8, spatial_type='avg',
        consensus=dict(type='AvgConsensus', dim=1), dropout_ratio=0.5, init_std=0.001, is_shift=True),
    train_cfg=None,
    test_cfg=dict(average_clips='prob'))
dataset_type = 'RawframeDataset'
data_root = 'data/sthv1/rawframes'
split_dir = 'data/sthv1'
img_norm_cfg = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_bgr=False)
decode = dict(type='RawFrameDecode', decoding_backend='turbojpeg')
tail = [
    dict(type='Normalize', **img_norm_cfg),
    dict(type='FormatShape', input_format='NCHW'),
    dict(type='Collect', keys=['imgs', 'label'], meta_keys=[]),
    dict(type='ToTensor', keys=['imgs', 'label'])
]
train_pipeline = [
    dict(type='SampleFrames', clip_len=1, frame_interval=1, num_clips=8),
    decode,
    dict(type='Resize', scale=(-1, 256)),
    dict(type='MultiScaleCrop', input_size=224, scales=(1, 0.875, 0.75, 0.66), random_crop=False,
         max_wh_scale_gap=1, num_fixed_crops=13),
    dict(type='Resize', scale=(224, 224), keep_ratio=False),
    dict(type='Flip', flip_ratio=0.5)
] + tail
val_pipeline = [
    dict(type='SampleFrames', clip_len=1, frame_interval=1, num_clips=8, test_mode=True),
    decode,
    dict(type='Resize', scale=(-1, 256)),
    dict(type='CenterCrop', crop_size=224), *tail
]
test_pipeline = [
    dict(type='SampleFrames', clip_len=1, frame_interval=1, num_clips=8, twice_sample=True, test_mode=True),
    decode,
    dict(type='Resize', scale=(-1, 256)),
    dict(type='ThreeCrop', crop_size=256), *tail
]
data = dict(
    videos_per_gpu=8,
    workers_per_gpu=2,
    test_dataloader=dict(videos_per_gpu=1),
    train=dict(type=dataset_type, ann_file=f'{split_dir}/sthv1_train_list_rawframes.txt', data_prefix=data_root,
               filename_tmpl='{:05}.jpg', pipeline=train_pipeline),
    val=dict(type=dataset_type, ann_file=f'{split_dir}/sthv1_val_list_rawframes.txt', data_prefix=data_root,
             filename_tmpl='{:05}.jpg', pipeline=val_pipeline),
    test=dict(type=dataset_type, ann_file=f'{split_dir}/sthv1_val_list_rawframes.txt', data_prefix=data_root,
              filename_tmpl='{:05}.jpg', pipeline=test_pipeline))
evaluation = dict(interval=2, metrics=['top_k_accuracy', 'mean_class_accuracy'], save_best='top1_acc', rule='greater')
optimizer = dict(
    type='SGD', constructor='TSMOptimizerConstructor', paramwise_cfg=dict(fc_lr5=True), lr=0.0075 * (8 / 8),
    momentum=0.9, weight_decay=0.0005)
optimizer_config = dict(grad_clip=dict(max_norm=20, norm_type=2))
lr_config = dict(policy='step', step=[20, 40, 60])
total_epochs = 50
cudnn_benchmark = True
seed = 3
work_dir = './work_dirs/tsm_sthv1'
