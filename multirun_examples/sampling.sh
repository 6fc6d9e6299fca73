#!/usr/bin/env bash
# Which sampling? The frames of a clip and the distance between them, six runs, about five minutes on two cores.
# Validation samples as training does: its values are those of training.
python -m vexp.train -m sweep.name=sampling pipeline.train.sample.clip_len=4,8 pipeline.train.sample.frame_interval=1,2,4 'pipeline.val.sample.clip_len=${pipeline.train.sample.clip_len}' 'pipeline.val.sample.frame_interval=${pipeline.train.sample.frame_interval}' epochs=6 "$@"
vexp compare runs/sweeps/sampling
