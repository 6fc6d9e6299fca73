"""The threads of torch's CPU kernels. Torch-free: this must be said before torch is imported."""

from __future__ import annotations

import os


def set_passive_omp_wait() -> None:
    """Threads that wait for each other sleep instead of spinning, unless the user's environment says otherwise.

    Spinning saves microseconds on an idle machine. Where decoding workers or anything else need the cores, a spinning
    thread keeps the one it waits for from running: with one busy neighbour on two cores a training step took four
    times as long. No effect where torch has been imported already, none on results.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
