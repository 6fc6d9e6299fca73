"""Random seeds and deterministic kernels: set on every run, as jobs of a sweep may share a process."""

from __future__ import annotations

import os
import random
from typing import Any

import numpy as np
import torch


def set_global_switches(*, seed: int, deterministic: bool, cudnn_benchmark: bool) -> None:
    """Seed the generators, which initial weights and dropout depend on; choose fast or deterministic kernels."""
    seed_generators(seed)
    torch.backends.cudnn.benchmark = cudnn_benchmark
    torch.backends.cudnn.deterministic = deterministic
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS needs a workspace of fixed size for it
    only_warns = torch.is_deterministic_algorithms_warn_only_enabled()
    if only_warns or deterministic != torch.are_deterministic_algorithms_enabled():  # imports the compiler: a second
        torch.use_deterministic_algorithms(deterministic)


def seed_generators(seed: int) -> None:
    """Seed the generators of Python, NumPy and torch."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)  # also of every CUDA device


def rng_state() -> dict[str, Any]:
    """Return the state of all global generators as tensors and plain values; of GPUs only the current one's."""
    _, key, pos, has_gauss, gauss = np.random.get_state(legacy=True)
    key_tensor = torch.from_numpy(np.asarray(key, np.int64))
    mps = {"mps": torch.mps.get_rng_state()} if torch.backends.mps.is_available() else {}
    return {
        "python": random.getstate(),
        "numpy": {"key": key_tensor, "pos": pos, "has_gauss": has_gauss, "gauss": gauss},
        "torch": torch.get_rng_state(),
        "cuda": [torch.cuda.get_rng_state()] if torch.cuda.is_available() else [],
        **mps,
    }


def set_rng_state(state: dict[str, Any]) -> None:
    """Restore the state of the generators; the state of a GPU is ignored if there is none.

    Raises:
        ValueError, TypeError, KeyError, AttributeError, RuntimeError, OverflowError: If it is no such state.
    """
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    saved = state["numpy"]
    key = saved["key"].numpy().astype(np.uint32)
    if not 0 <= saved["pos"] <= len(key):  # NumPy does not check it, and would read beyond its state
        raise ValueError(f"the position {saved['pos']} of NumPy's generator")
    np.random.set_state(("MT19937", key, saved["pos"], saved["has_gauss"], saved["gauss"]))
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available() and state["cuda"]:
        torch.cuda.set_rng_state(state["cuda"][0])
    if torch.backends.mps.is_available() and "mps" in state:
        torch.mps.set_rng_state(state["mps"])
