_base_ = ["_base_/default_runtime.py"]
model = dict(
    type="BMN",
    temporal_dim=100,
    boundary_ratio=0.5,
    num_samples=32,
    num_samples_per_bin=3,
    feat_dim=400,
    soft_nms_alpha=0.4,
    soft_nms_low_threshold=0.5,
    soft_nms_high_threshold=0.9,
    post_process_top_k=100,
)
folder = "data/anet/csv_100/"
train_pipeline = [
    dict(type="LoadLocalizationFeature"),
    dict(type="GenerateLocalizationLabels"),
    dict(type="PackLocalizationInputs", keys=("gt_bbox",), meta_keys=("video_name",)),
]
val_pipeline = [
    dict(type="LoadLocalizationFeature"),
    dict(type="PackLocalizationInputs", keys=("gt_bbox",), meta_keys=("video_name", "duration_second")),
]
train_dataloader = dict(
    batch_size=8,
    num_workers=8,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=True),
    drop_last=True,
    dataset=dict(
        type="ActivityNetDataset",
        ann_file="data/anet/train.json",
        data_prefix=dict(video=folder),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=8,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="ActivityNetDataset",
        ann_file="data/anet/val.json",
        data_prefix=dict(video=folder),
        pipeline=val_pipeline,
        test_mode=True,
    ),
)
test_dataloader = val_dataloader
max_epochs = 9
train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=max_epochs, val_begin=1, val_interval=1)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
optim_wrapper = dict(
    optimizer=dict(type="Adam", lr=0.001, weight_decay=0.0001), clip_grad=dict(max_norm=40, norm_type=2)
)
param_scheduler = [
    dict(type="MultiStepLR", begin=0, end=max_epochs, by_epoch=True, milestones=[7], gamma=0.1),
]
work_dir = "./work_dirs/bmn/"
test_evaluator = dict(
    type="ANetMetric", metric_type="AR@AN", dump_config=dict(out=f"{work_dir}/results.json", output_format="json")
)
val_evaluator = test_evaluator
