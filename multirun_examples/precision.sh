#!/usr/bin/env bash
# What does half precision gain, and what does it cost? Seconds per step and accuracy of fp32, bf16 and fp16.
# For a GPU, on which it takes a minute; about fifteen on two cores, which emulate half precision.
vexp train -m sweep.name=precision amp=fp32,bf16,fp16 epochs=6 "$@"
vexp compare runs/sweeps/precision
