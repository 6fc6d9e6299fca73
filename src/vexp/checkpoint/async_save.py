"""Saving while training goes on: the state is copied in memory, a thread writes the copy."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from typing import Any


class Snapshot:
    """Copies of a state in memory of their own, into buffers that are used again by the next copy.

    Tensors go to the CPU, those of a GPU into pinned memory: the copy runs at the speed of the bus.
    """

    def __init__(self) -> None:
        self._buffers: dict[tuple[Any, ...], Any] = {}

    def take(self, state: Any) -> Any:
        """A copy of nested dicts, lists and tuples of tensors and plain values. The one before becomes invalid."""
        import torch

        copied: dict[Any, Any] = {}  # tensors that are one stay one: tied weights
        devices: set[Any] = set()

        def walk(value: Any, path: tuple[Any, ...]) -> Any:
            if isinstance(value, torch.Tensor):
                key = (value.data_ptr(), value.dtype, value.shape, value.stride()) if value.numel() else path
                if value.is_cuda:
                    devices.add(value.device)
                if key not in copied:
                    copied[key] = self._copy(value, path)
                return copied[key]
            if isinstance(value, dict):
                new = copy.copy(value)  # keeps what a state dict carries beside its items, its _metadata
                for name, item in value.items():
                    new[name] = walk(item, (*path, name))
                return new
            if isinstance(value, list | tuple):
                return type(value)([walk(item, (*path, i)) for i, item in enumerate(value)])
            return value

        new = walk(state, ())
        for device in devices:
            torch.cuda.synchronize(device)  # the copies have arrived
        return new

    def _copy(self, tensor: Any, path: tuple[Any, ...]) -> Any:
        import torch

        buffer = self._buffers.get(path)
        if buffer is None or buffer.shape != tensor.shape or buffer.dtype != tensor.dtype:
            buffer = torch.empty_like(tensor, device="cpu", pin_memory=tensor.is_cuda, requires_grad=False)
            self._buffers[path] = buffer
        return buffer.copy_(tensor.detach(), non_blocking=tensor.is_cuda)


class Background:
    """One job at a time, in a thread. What goes wrong in it is raised by the next ``join``: no failure gets lost."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def start(self, job: Callable[[], None]) -> None:
        """Begin a job once the one before is done.

        Raises:
            Exception: of the job before.
        """
        self.join()
        # A daemon: a second Ctrl-C leaves without waiting for it; what it has begun is a temporary file then.
        self._thread = threading.Thread(target=self._run, args=(job,), name="checkpoint", daemon=True)
        self._thread.start()

    def join(self) -> None:
        """Wait for the job.

        Raises:
            Exception: that ended it.
        """
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _run(self, job: Callable[[], None]) -> None:
        try:
            job()
        except BaseException as error:
            self._error = error
