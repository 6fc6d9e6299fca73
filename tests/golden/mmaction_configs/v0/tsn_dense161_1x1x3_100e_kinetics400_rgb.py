# a backbone of torchvision's, wrapped transforms, iterations instead of epochs
_base_ = ["tsn_r50_1x1x3_100e_kinetics400_rgb.py"]
model = dict(backbone=dict(_delete_=True, type="torchvision.densenet161", pretrained=True))
img_norm_cfg = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_bgr=False)
train_pipeline = [
    dict(type="SampleFrames", clip_len=1, frame_interval=1, num_clips=3),
    dict(type="RawFrameDecode", decoding_backend="cv2"),
    dict(type="pytorchvideo.RandomShortSideScale", min_size=256, max_size=320),
    dict(type="RandomCrop", size=224),
    dict(type="torchvision.GaussianBlur", kernel_size=5),
    dict(type="torchvision.ColorJitter", brightness=0.3, hue=0.05),
    dict(type="Imgaug", transforms="default"),
    dict(type="Flip", flip_ratio=0.5, flip_label_map={4: 5, 86: 87}),
    dict(type="Normalize", **img_norm_cfg),
    dict(type="FormatShape", input_format="NCHW"),
]
data = dict(train=dict(pipeline=train_pipeline))
total_epochs = None
runner = dict(type="IterBasedRunner", max_iters=20000)
evaluation = dict(interval=1000, by_epoch=False)
checkpoint_config = dict(interval=1000, by_epoch=False)
log_config = dict(by_epoch=False)
