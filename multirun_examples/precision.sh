#!/usr/bin/env bash
# What does half precision gain, and what does it cost? fp32, bf16 and fp16: seconds a step and accuracy of each.
# For a GPU, where it takes a minute; about fifteen on two cores, where half precision is emulated and slower.
python -m vexp.train -m sweep.name=precision amp=fp32,bf16,fp16 epochs=6 "$@"
vexp compare runs/sweeps/precision
