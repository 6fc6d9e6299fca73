#!/usr/bin/env bash
# How does reduced precision affect speed and accuracy? Compares seconds per step and accuracy of fp32, bf16 and fp16.
# Intended for a GPU, where it takes about a minute. Takes about fifteen minutes on two CPU cores, which emulate half
# precision.
vexp train -m sweep.name=precision amp=fp32,bf16,fp16 epochs=6 "$@"
vexp compare runs/sweeps/precision
