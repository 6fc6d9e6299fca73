#!/usr/bin/env bash
# How do two machines train one model? Start this on both with FIRST=ADDRESS of one of them (GPUs: --nproc-per-node=gpu).
# To try it on a laptop, start it in two terminals: about three minutes on two cores. The run folder in
# runs/two_machines must be on a file system that both machines share (out_root=). Each uses batches of 16: 32 per step.
torchrun --nnodes=2 --nproc-per-node=1 --rdzv-id=vexp --rdzv-backend=c10d --rdzv-endpoint="${FIRST:-localhost}:29400" -m vexp.train run_name=two_machines data.batch_size=16 "$@"
vexp compare runs/two_machines
