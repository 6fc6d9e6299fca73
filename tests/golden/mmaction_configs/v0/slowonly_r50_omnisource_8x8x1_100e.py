# steps of each dataset in turn, two of the first: videos, web images and parts of raw videos
_base_ = ["_base_/slowonly.py", "_base_/videos.py", "_base_/sgd_100e.py", "_base_/runtime.py"]
omnisource = True
image_pipeline = [
    dict(type="ImageDecode"),
    dict(type="Resize", scale=(-1, 256)),
    dict(type="RandomResizedCrop"),
    dict(type="Resize", scale=(224, 224), keep_ratio=False),
    dict(type="Flip", flip_ratio=0.5),
    dict(type="BuildPseudoClip", clip_len=8),
    dict(type="Normalize", **{{_base_.img_norm_cfg}}),
    dict(type="FormatShape", input_format="NCTHW"),
]
data = dict(
    train_ratio=[2, 1, 1],
    omni_videos_per_gpu=[8, 16, 8],
    train=[
        {{_base_.data.train}},
        dict(type="ImageDataset", ann_file="lists/web.txt", data_prefix="web", pipeline=image_pipeline),
        dict(
            type="RawVideoDataset",
            ann_file="lists/raw.json",
            data_prefix="raw",
            clipname_tmpl="part_{}.mp4",
            sampling_strategy="positive",
            pipeline={{_base_.train_pipeline}},
        ),
    ],
)
