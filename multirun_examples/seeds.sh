#!/usr/bin/env bash
# How much of a difference is luck? The same run with five seeds, about eight minutes on two cores.
# The comparison gives mean ± standard deviation: a smaller difference between two settings is none.
python -m vexp.train -m sweep.name=seeds 'seed=range(5)' "$@"
vexp compare runs/sweeps/seeds
