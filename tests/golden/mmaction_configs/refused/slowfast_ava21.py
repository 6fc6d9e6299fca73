# boxes in space and time
model = dict(type="FastRCNN", backbone=dict(type="ResNet3dSlowFast"), roi_head=dict(type="AVARoIHead"))
