# small frames, which are not halved after the stem
_base_ = ['_base_/slowonly.py', '_base_/videos.py', '_base_/sgd_100e.py', '_base_/runtime.py']
model = dict(backbone=dict(with_pool1=False), cls_head=dict(num_classes=174))
work_dir = './work_dirs/slowonly_without_pool1_r50_8x4x1_64e_sthv1_rgb/'
