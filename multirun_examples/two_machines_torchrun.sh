#!/usr/bin/env bash
# How can two machines train one model? Run this script on both machines with FIRST set to the address of one of them
# (with GPUs: --nproc-per-node=gpu). To try it on one machine, run it in two terminals; this takes about three minutes on
# two cores. The run folder in runs/two_machines must be on a file system that both machines share (out_root=). Each process
# uses batches of 16 samples, so a step uses 32 samples.
torchrun --nnodes=2 --nproc-per-node=1 --rdzv-id=vexp --rdzv-backend=c10d --rdzv-endpoint="${FIRST:-localhost}:29400" -m vexp.train run_name=two_machines data.batch_size=16 "$@"
vexp compare runs/two_machines
