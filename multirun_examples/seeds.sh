#!/usr/bin/env bash
# How large is the noise between seeds? The same run with five seeds, about eight minutes on two cores.
# The comparison prints mean ± standard deviation: smaller differences between settings are not significant.
vexp train -m sweep.name=seeds 'seed=range(5)' "$@"
vexp compare runs/sweeps/seeds
