# optical flow: two channels a frame, five frames a segment
_base_ = ["_base_/tsn_r50.py", "_base_/sgd_100e.py", "_base_/runtime.py"]
model = dict(backbone=dict(in_channels=10), cls_head=dict(dropout_ratio=0.7))
img_norm_cfg = dict(mean=[128, 128], std=[128, 128], adjust_magnitude=True)
train_pipeline = [
    dict(type="SampleFrames", clip_len=5, frame_interval=1, num_clips=3),
    dict(type="RawFrameDecode"),
    dict(type="RandomResizedCrop"),
    dict(type="Resize", scale=(224, 224), keep_ratio=False),
    dict(type="Flip", flip_ratio=0.5),
    dict(type="Normalize", **img_norm_cfg),
    dict(type="FormatShape", input_format="NCHW_Flow"),
]
val_pipeline = [
    dict(type="SampleFrames", clip_len=5, frame_interval=1, num_clips=3, test_mode=True),
    dict(type="RawFrameDecode"),
    dict(type="Resize", scale=(-1, 256)),
    dict(type="CenterCrop", crop_size=224),
    dict(type="Normalize", **img_norm_cfg),
    dict(type="FormatShape", input_format="NCHW_Flow"),
]
flow = dict(type="RawframeDataset", data_prefix="data/flow", filename_tmpl="{}_{:05d}.jpg", modality="Flow")
data = dict(
    videos_per_gpu=12,
    workers_per_gpu=4,
    train=dict(ann_file="flow_train.txt", pipeline=train_pipeline, **flow),
    val=dict(ann_file="flow_val.txt", pipeline=val_pipeline, **flow),
    test=dict(ann_file="flow_val.txt", pipeline=val_pipeline, **flow),
)
