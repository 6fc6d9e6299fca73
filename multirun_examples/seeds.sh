#!/usr/bin/env bash
# How large is the noise between seeds? Five runs that differ only in the seed, about eight minutes on two cores. The
# comparison prints the mean and the standard deviation. Smaller differences between settings are not significant.
vexp train -m sweep.name=seeds 'seed=range(5)' "$@"
vexp compare runs/sweeps/seeds
