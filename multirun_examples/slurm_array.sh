#!/usr/bin/env bash
# How do models compare on one dataset, with three seeds each? Nine jobs in one Slurm array, at most eight at a time, on a
# cluster; not for a laptop (pip install 'vexp[slurm]'). Run the script on the login node: it waits for the jobs and
# prints the table of results. A job that is preempted or reaches its time limit saves a checkpoint and is requeued.
vexp train -m hydra/launcher=slurm hydra.launcher.partition=gpu hydra.launcher.array_parallelism=8 sweep.name=slurm_array model=r3d_18,x3d_s,tsm_r50 'seed=range(3)' pipeline=clip_16x4_112 data=folder data.root=videos amp=bf16 "$@"
vexp compare runs/sweeps/slurm_array
