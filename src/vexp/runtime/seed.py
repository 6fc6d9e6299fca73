"""Random seeds and deterministic kernels.

Every switch is set on every run, in both directions: jobs of a sweep may share a process, so a switch that only some
runs set would leak into the next one.
"""

from __future__ import annotations

import os
import random
from typing import Any

import numpy as np
import torch


def set_global_switches(*, seed: int, deterministic: bool, cudnn_benchmark: bool) -> None:
    """Seed Python, NumPy and torch; choose between fast and deterministic kernels.

    Initial weights and dropout depend on these generators; samples do not (see ``vexp.data.loading.dataset``).
    """
    seed_generators(seed)
    torch.backends.cudnn.benchmark = cudnn_benchmark
    torch.backends.cudnn.deterministic = deterministic
    if deterministic:
        os.environ.setdefault(
            "CUBLAS_WORKSPACE_CONFIG", ":4096:8"
        )  # cuBLAS is deterministic only with a fixed workspace
    torch.use_deterministic_algorithms(deterministic)


def seed_generators(seed: int) -> None:
    """Seed the generators of Python, NumPy and torch."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)  # also of every CUDA device


def rng_state() -> dict[str, Any]:
    """Return the state of all global generators as tensors and plain values; of GPUs only the current one's."""
    numpy_state = np.random.get_state(legacy=False)
    return {
        "python": random.getstate(),
        "numpy": {
            "key": torch.from_numpy(numpy_state["state"]["key"].astype(np.int64)),
            "pos": int(numpy_state["state"]["pos"]),
            "has_gauss": int(numpy_state["has_gauss"]),
            "gauss": float(numpy_state["gauss"]),
        },
        "torch": torch.get_rng_state(),
        "cuda": [torch.cuda.get_rng_state()] if torch.cuda.is_available() else [],
    }


def set_rng_state(state: dict[str, Any]) -> None:
    """Restore the state of the generators; the state of a GPU is ignored if there is none."""
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    saved = state["numpy"]
    np.random.set_state(
        {
            "bit_generator": "MT19937",
            "state": {"key": saved["key"].numpy().astype(np.uint32), "pos": saved["pos"]},
            "has_gauss": saved["has_gauss"],
            "gauss": saved["gauss"],
        }
    )
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available() and state["cuda"]:
        torch.cuda.set_rng_state(state["cuda"][0])
