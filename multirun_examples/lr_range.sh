#!/usr/bin/env bash
# Which learning rate is the best? Six short runs with learning rates from 1e-4 to 3e-2, about five minutes on two cores.
# Add 'seed=range(3)' to see how much of a difference is noise.
vexp train -m sweep.name=lr_range optimizer.lr=1e-4,3e-4,1e-3,3e-3,1e-2,3e-2 epochs=5 "$@"
vexp compare runs/sweeps/lr_range
