_base_ = ["_base_/videos.py", "_base_/sgd_100e.py", "_base_/runtime.py"]
model = dict(
    type="Recognizer3D",
    backbone=dict(type="X3D", gamma_w=1, gamma_b=2.25, gamma_d=2.2),
    cls_head=dict(
        type="X3DHead", in_channels=432, num_classes=400, spatial_type="avg", dropout_ratio=0.5, fc1_bias=False
    ),
    train_cfg=None,
    test_cfg=dict(average_clips="prob"),
)
img_norm_cfg = dict(mean=[114.75, 114.75, 114.75], std=[57.38, 57.38, 57.38], to_bgr=False)
test_pipeline = [
    dict(type="DecordInit"),
    dict(type="SampleFrames", clip_len=16, frame_interval=5, num_clips=10, test_mode=True),
    dict(type="DecordDecode"),
    dict(type="Resize", scale=(-1, 256)),
    dict(type="ThreeCrop", crop_size=256),
    dict(type="Normalize", **img_norm_cfg),
    dict(type="FormatShape", input_format="NCTHW"),
]
data = dict(test=dict(pipeline=test_pipeline))
