#!/usr/bin/env bash
# Which frame sampling is the best? Six runs with different clip lengths and frame intervals, about five minutes on two
# cores. Validation uses the same values as training.
vexp train -m sweep.name=sampling pipeline.train.sample.clip_len=4,8 pipeline.train.sample.frame_interval=1,2,4 'pipeline.val.sample.clip_len=${pipeline.train.sample.clip_len}' 'pipeline.val.sample.frame_interval=${pipeline.train.sample.frame_interval}' epochs=6 "$@"
vexp compare runs/sweeps/sampling
