# a graph of joints
model = dict(type="RecognizerGCN", backbone=dict(type="STGCN", graph_cfg=dict(layout="coco", mode="stgcn_spatial")))
