# half of the frames behind the first stage
_base_ = ['tsm_r50_1x1x8_50e_sthv1_rgb.py']
model = dict(backbone=dict(temporal_pool=True), cls_head=dict(temporal_pool=True))
