#!/usr/bin/env bash
# How do nets compare on one data set, with three seeds each? Nine jobs of one Slurm array, eight at a time, on a cluster;
# not for a laptop (pip install 'vexp[slurm]'). Started on the login node, it waits for them and prints the table; a job
# that is preempted or reaches its time limit saves a checkpoint and is queued again.
python -m vexp.train -m hydra/launcher=slurm hydra.launcher.partition=gpu hydra.launcher.array_parallelism=8 sweep.name=slurm_array model=r3d_18,x3d_s,tsm_r50 'seed=range(3)' pipeline=clip_16x4_112 data=folder data.root=videos amp=bf16 "$@"
vexp compare runs/sweeps/slurm_array
