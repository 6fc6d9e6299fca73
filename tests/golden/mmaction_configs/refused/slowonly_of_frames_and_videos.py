# video files and raw frames in one split
_base_ = ["../v0/slowonly_r50_4x16x1_256e_kinetics400_rgb.py"]
frames = dict(type="RawframeDataset", ann_file="frames.txt", data_prefix="frames", pipeline=[])
data = dict(train=[{{_base_.data.train}}, frames])
omnisource = True
