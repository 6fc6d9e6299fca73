#!/usr/bin/env bash
# How do two machines train one net? Start this on both with FIRST=ADDRESS of one of them (GPUs: --nproc-per-node=gpu).
# To try it on a laptop, start it in two terminals: about three minutes on two cores. One run folder, below
# runs/two_machines, in a place that both can write and read (out_root=); batches of 16 each, 32 in every step.
torchrun --nnodes=2 --nproc-per-node=1 --rdzv-id=vexp --rdzv-backend=c10d --rdzv-endpoint="${FIRST:-localhost}:29400" -m vexp.train run_name=two_machines data.batch_size=16 "$@"
vexp compare runs/two_machines
