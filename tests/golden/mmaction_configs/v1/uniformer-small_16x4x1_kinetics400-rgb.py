# for testing only: no training data, no optimizer, no epochs
_base_ = ["_base_/default_runtime.py"]
model = dict(
    type="Recognizer3D",
    backbone=dict(type="UniFormer", depth=[3, 4, 8, 3], embed_dim=[64, 128, 320, 512], head_dim=64, drop_path_rate=0.1),
    cls_head=dict(type="I3DHead", dropout_ratio=0.0, num_classes=400, in_channels=512, average_clips="prob"),
    data_preprocessor=dict(type="ActionDataPreprocessor", mean=[114.75] * 3, std=[57.375] * 3, format_shape="NCTHW"),
)
test_dataloader = dict(
    batch_size=8,
    num_workers=8,
    dataset=dict(
        type="VideoDataset",
        ann_file="data/kinetics400/val.csv",
        data_prefix=dict(video="data/kinetics400"),
        test_mode=True,
        delimiter=",",
        pipeline=[
            dict(type="DecordInit"),
            dict(type="SampleFrames", clip_len=16, frame_interval=4, num_clips=4, test_mode=True),
            dict(type="DecordDecode"),
            dict(type="Resize", scale=(-1, 224)),
            dict(type="CenterCrop", crop_size=224),
            dict(type="FormatShape", input_format="NCTHW"),
            dict(type="PackActionInputs"),
        ],
    ),
)
test_evaluator = dict(type="AccMetric")
test_cfg = dict(type="TestLoop")
