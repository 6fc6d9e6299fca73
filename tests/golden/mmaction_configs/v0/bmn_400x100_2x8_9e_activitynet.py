_base_ = ['_base_/runtime.py']

model = dict(
    type='BMN',
    temporal_dim=100,
    boundary_ratio=0.5,
    num_samples=32,
    num_samples_per_bin=3,
    feat_dim=400,
    soft_nms_alpha=0.4,
    soft_nms_low_threshold=0.5,
    soft_nms_high_threshold=0.9,
    post_process_top_k=100)

kind = 'ActivityNetDataset'
folder = 'data/anet/csv_100/'
keys = ['raw_feature', 'gt_bbox']
test_pipeline = [
    dict(type='LoadLocalizationFeature'),
    dict(type='Collect', keys=['raw_feature'], meta_name='video_meta', meta_keys=['video_name', 'duration_second']),
    dict(type='ToTensor', keys=['raw_feature'])
]
train_pipeline = [
    dict(type='LoadLocalizationFeature'),
    dict(type='GenerateLocalizationLabels'),
    dict(type='Collect', keys=keys, meta_name='video_meta', meta_keys=['video_name']),
    dict(type='ToTensor', keys=['raw_feature']),
    dict(type='ToDataContainer', fields=[dict(key='gt_bbox', stack=False, cpu_only=True)])
]
data = dict(
    videos_per_gpu=8,
    workers_per_gpu=8,
    train_dataloader=dict(drop_last=True),
    val_dataloader=dict(videos_per_gpu=1),
    test_dataloader=dict(videos_per_gpu=1),
    train=dict(type=kind, ann_file='data/anet/train.json', pipeline=train_pipeline, data_prefix=folder),
    val=dict(type=kind, ann_file='data/anet/val.json', pipeline=test_pipeline, data_prefix=folder),
    test=dict(type=kind, ann_file='data/anet/val.json', pipeline=test_pipeline, data_prefix=folder))
evaluation = dict(interval=1, metrics=['AR@AN'])
optimizer = dict(type='Adam', lr=0.001, weight_decay=0.0001)
optimizer_config = dict(grad_clip=None)
lr_config = dict(policy='step', step=7)
total_epochs = 9
work_dir = './work_dirs/bmn/'
output_config = dict(out=f'{work_dir}/results.json', output_format='json')
