"""Turn system failures (a full disk, a killed worker, no memory left) into messages that say what to do."""

from __future__ import annotations

import errno
import re
from collections.abc import Sequence
from pathlib import Path

import torch

from vexp.checkpoint.manifest import Manifest
from vexp.config.schema import Config
from vexp.core.errors import UserError
from vexp.core.files import free_space, write_error_message
from vexp.data.loading.plugin_errors import locations
from vexp.experiment.run_dir import checkpoint_folder
from vexp.runtime.distributed import is_peer_failure

#: Messages of torch 2.4 to 2.9, which has no exception classes for these failures.
_WORKER = re.compile(r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\) (?:is killed by signal: (\w[\w ]*)|exited)")
_SHARED_MEMORY = re.compile(r"shared memory|torch_shm|/torch_\d+", re.IGNORECASE)
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ENOTDIR)


def describe_failure(error: BaseException, config: Config, folder: Path) -> UserError | None:
    """Return an error with the cause and what to do; None if ``error`` is not a system failure.

    Args:
        error: Exception that ended the run.
        config: Config of the run.
        folder: Run folder.
    """
    text = _explain(error, config, folder)
    if text is None:
        return None
    return UserError(f"{text}. {_last_checkpoint(folder, checkpoint_folder(config, folder))}")


def plugin_location(error: BaseException | None, plugins: Sequence[str]) -> str | None:
    """Return "package.module.function, line 5" of the innermost traceback frame within a plugin, or None."""
    while error is not None:
        for module, function, line in reversed(locations(error)):
            if any(module == root or module.startswith(f"{root}.") for root in plugins):
                return f"{module}.{function}, line {line}"
        error = error.__cause__ or error.__context__
    return None


def _explain(error: BaseException, config: Config, folder: Path) -> str | None:
    if isinstance(error, torch.OutOfMemoryError):
        return (
            f"{_device_memory(error)}: a step of data.batch_size={config.data.batch_size} does not fit; lower "
            "data.batch_size (grad.accumulate=2 keeps the samples per step), set amp=bf16, or use a smaller clip or "
            "model; for evaluation only, lower data.eval_batch_size or eval.max_views_per_forward"
        )
    if isinstance(error, OSError) and error.errno in _DISK:
        path = Path(str(error.filename)) if error.filename else folder
        reason = write_error_message(path if path.is_absolute() else folder, error)
        return f"{path}: cannot be written: {reason}; free some space, or use another disk with out_root=FOLDER"
    if isinstance(error, MemoryError) or "DefaultCPUAllocator" in str(error):
        return (
            f"out of memory ({_first_line(error)}); lower data.batch_size or data.num_workers, as each worker holds whole "
            "videos"
        )
    if not isinstance(error, RuntimeError | OSError):
        return None
    if is_peer_failure(error):
        return (
            "another process of the run was terminated without a message, most likely by the out-of-memory killer; check "
            "dmesg"
        )
    if "Expected to have finished reduction" in str(error):  # DistributedDataParallel of torch
        return (
            "some parameters of the model got no gradient, which DistributedDataParallel waits for; "
            "grad.detect_anomalous_params=true with nproc=1 lists them, dist.find_unused_parameters=true allows it"
        )
    killed = _WORKER.search(str(error))
    if killed is not None and killed[2] != "Bus error":
        return _worker_text(killed[1], killed[2], config)
    if killed is not None or _SHARED_MEMORY.search(str(error)):
        return (
            f"/dev/shm is too small for the batches of the workers ({free_space(Path('/dev/shm'))}); enlarge it "
            "(docker run --shm-size=8g), lower data.num_workers or data.batch_size, or set data.num_workers=0"
        )
    return None


def _worker_text(pid: str, signal_name: str | None, config: Config) -> str:
    memory = (
        f"the machine or the job ran out of memory (check dmesg); lower data.num_workers or data.batch_size="
        f"{config.data.batch_size}, or request more memory"
    )
    crash = "a decoder crashed on a damaged video; data.num_workers=0 shows which one"
    if signal_name == "Killed":
        reason = f"killed by SIGKILL: most likely {memory}"
    elif signal_name is None:
        reason = f"terminated without a message: {memory}. Or {crash}"
    else:
        reason = f"terminated by {signal_name}: most likely {crash}"
    return f"a data loading worker (process {pid}) was {reason}"


def _device_memory(error: BaseException) -> str:
    tried = re.search(r"Tried to allocate ([\d.]+ \w+)", str(error))
    requested = f" (an allocation of {tried[1]} failed)" if tried else ""
    return f"the GPU is out of memory{requested}"


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)[:120]


def _last_checkpoint(folder: Path, checkpoints: Path) -> str:
    try:
        rows = [row for row in Manifest.read(checkpoints).entries if (checkpoints / row.name).exists()]
    except UserError:
        rows = []
    if not rows:
        return "No checkpoint has been written yet"
    return f"The last checkpoint (step {rows[-1].step}) is intact; resume with: vexp train --resume {folder}"
