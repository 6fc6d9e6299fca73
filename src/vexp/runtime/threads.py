"""The threads of torch's CPU kernels. Torch-free: OpenMP reads its settings when torch is imported."""

from __future__ import annotations

import os


def set_passive_omp_wait() -> None:
    """Let OpenMP threads sleep instead of spin while they wait, unless the environment sets OMP_WAIT_POLICY.

    Spinning saves microseconds on an idle machine. If decoding workers or other programs need the cores, a spinning
    thread keeps the thread that it waits for from running: with one busy neighbor on two cores a training step took
    four times as long. It has no effect once torch has been imported, and none on results.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
