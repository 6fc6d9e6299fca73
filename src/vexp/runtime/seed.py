"""Everything global that decides whether a run repeats: set on every run, in both directions.

Jobs of a sweep may share a process: a switch that only some runs set would leak into the next.
"""

from __future__ import annotations

import os
import random
from typing import Any

import numpy as np
import torch


def set_global_switches(*, seed: int, deterministic: bool, cudnn_benchmark: bool) -> None:
    """Seed Python, NumPy and torch; choose between fast and repeatable kernels.

    Samples do not depend on these generators (see ``vexp.data.loading.dataset``); initial weights and dropout do.
    """
    seed_generators(seed)
    torch.backends.cudnn.benchmark = cudnn_benchmark
    torch.backends.cudnn.deterministic = deterministic
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS repeats only with a fixed workspace
    torch.use_deterministic_algorithms(deterministic)


def seed_generators(seed: int) -> None:
    """Python's, NumPy's and torch's."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)  # every CUDA device, too


def rng_state() -> dict[str, Any]:
    """The state of all global generators, as tensors and plain values. Of GPUs that of the one in use."""
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
    """Put the generators back. A state of a GPU is left out where there is none."""
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
