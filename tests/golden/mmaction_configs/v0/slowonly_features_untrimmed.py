# no validation data, clips all along a video, one hook of mmcv's own
_base_ = ["_base_/slowonly.py", "_base_/runtime.py"]
pipeline = [
    dict(type="DecordInit"),
    dict(type="UntrimmedSampleFrames", clip_len=16, clip_interval=32, frame_interval=2),
    dict(type="DecordDecode"),
    dict(type="Resize", scale=(-1, 256)),
    dict(type="CenterCrop", crop_size=224),
    dict(type="Normalize", mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_bgr=False),
    dict(type="FormatShape", input_format="NCTHW"),
]
model = dict(test_cfg=dict(feature_extraction=True))
data = dict(
    videos_per_gpu=1, workers_per_gpu=2, train=dict(type="VideoDataset", ann_file="list.txt", pipeline=pipeline)
)
optimizer = dict(type="AdamW", weight_decay=0.05)
optimizer_config = dict()
lr_config = None
total_epochs = 1
precise_bn = dict(num_iters=200, interval=3)
