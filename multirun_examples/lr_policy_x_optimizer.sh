#!/usr/bin/env bash
# Which learning-rate policy is best for which optimizer? Six runs on the built-in dataset, about ten minutes on two
# cores. Each job has a folder in runs/sweeps/lr_policy_x_optimizer. Run the script again to resume an interrupted sweep.
vexp train -m sweep.name=lr_policy_x_optimizer lr=step,cosine,cosine_restart optimizer=sgd,adamw "$@"
vexp compare runs/sweeps/lr_policy_x_optimizer
