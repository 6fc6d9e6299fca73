#!/usr/bin/env bash
# How much of a difference is luck? The same run with five seeds, about eight minutes on two cores.
python -m vexp.train -m sweep.name=seeds 'seed=range(5)'
