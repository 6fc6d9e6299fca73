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
_NOT_DETERMINISTIC = re.compile(r"(\S+) does not have a deterministic implementation")
_SHARED_MEMORY = re.compile(r"shared memory|torch_shm|/torch_\d+", re.IGNORECASE)
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ENOTDIR)


def describe_failure(error: BaseException, config: Config, folder: Path) -> UserError | None:
    """Return an error with the cause and what to do; None if ``error`` is not a system failure."""
    text = _explain(error, config, folder)
    if text is None:
        return None
    checkpoints = checkpoint_folder(config, folder)
    steps = [row.step for row in Manifest.readable(checkpoints).entries if (checkpoints / row.name).exists()]
    if not steps:
        return UserError(f"{text}. No checkpoint has been written yet")
    return UserError(
        f"{text}. The last checkpoint (step {steps[-1]}) is intact; resume with: vexp train --resume {folder}"
    )


def plugin_location(error: BaseException | None, plugins: Sequence[str]) -> str | None:
    """Return "package.module.function, line 5" of the innermost traceback frame within a plugin, or None."""
    while error is not None:
        for module, function, line in reversed(locations(error)):
            if any(module == root or module.startswith(f"{root}.") for root in plugins):
                return f"{module}.{function}, line {line}"
        error = error.__cause__ or error.__context__
    return None


def _explain(error: BaseException, config: Config, folder: Path) -> str | None:
    text = str(error)
    if isinstance(error, NotImplementedError) and "MPS" in text:
        found = re.search(r"'(aten::\S+)'", text)
        return (
            f"torch has no {found[1] if found else 'implementation'} for device=mps, which the model needs; set "
            "device=cpu, or compute it on the CPU by the environment variable PYTORCH_ENABLE_MPS_FALLBACK=1 (slow)"
        )
    if found := _NOT_DETERMINISTIC.match(text):
        return (
            f"deterministic=true: torch has no deterministic implementation of {found[1]} for device={config.device}, "
            "which the model needs; set deterministic=false, or choose another model. vexp repro-check lists all such "
            "operations of a model"
        )
    if isinstance(error, torch.OutOfMemoryError) or "MPS backend out of memory" in text:
        tried = re.search(r"Tried to allocate ([\d.]+ \w+)", text)
        return (
            f"the GPU is out of memory{f' (an allocation of {tried[1]} failed)' if tried else ''}: a step of "
            f"data.batch_size={config.data.batch_size} does not fit; lower data.batch_size (grad.accumulate=2 keeps "
            "the samples per step), set amp=bf16, or use a smaller clip or model; for evaluation only, lower "
            "data.eval_batch_size or eval.max_views_per_forward"
        )
    if isinstance(error, OSError) and error.errno in _DISK:
        path = Path(str(error.filename)) if error.filename else folder
        reason = write_error_message(path if path.is_absolute() else folder, error)
        return f"{path}: cannot be written: {reason}; free some space, or use another disk with out_root=FOLDER"
    if isinstance(error, IsADirectoryError) and folder in Path(str(error.filename)).parents:
        return f"{error.filename}: is a folder, but the run writes a file of this name; remove or rename it"
    if isinstance(error, FileNotFoundError) and folder in Path(str(error.filename)).parents:
        return f"{error.filename}: does not exist; it or its folder was deleted or renamed during the run"
    if isinstance(error, MemoryError) or "DefaultCPUAllocator" in text:
        first_line = next(iter(text.splitlines()), type(error).__name__)[:120]
        lower = "lower data.batch_size or data.num_workers, as each worker holds whole videos"
        return f"out of memory ({first_line}); {lower}"
    if not isinstance(error, RuntimeError | OSError):
        return None
    if is_peer_failure(error):
        return (
            "another process of the run was terminated without a message, most likely by the out-of-memory killer; "
            "check dmesg"
        )
    if "Expected to have finished reduction" in text:  # DistributedDataParallel of torch
        return (
            "some parameters of the model got no gradient, which DistributedDataParallel waits for; "
            "grad.detect_anomalous_params=true with nproc=1 lists them, dist.find_unused_parameters=true allows it"
        )
    killed = _WORKER.search(text)
    if killed is not None and killed[2] != "Bus error":
        return f"a data loading worker (process {killed[1]}) was {_worker_end(killed[2], config.data.batch_size)}"
    if killed is not None or _SHARED_MEMORY.search(text):
        return (
            f"/dev/shm is too small for the batches of the workers ({free_space(Path('/dev/shm'))}); enlarge it "
            "(docker run --shm-size=8g), lower data.num_workers or data.batch_size, or set data.num_workers=0"
        )
    return None


def _worker_end(signal_name: str | None, batch_size: int) -> str:
    memory = (
        f"the machine or the job ran out of memory (check dmesg); lower data.num_workers or "
        f"data.batch_size={batch_size}, or request more memory"
    )
    crash = "a decoder crashed on a damaged video; data.num_workers=0 shows which one"
    if signal_name == "Killed":
        return f"killed by SIGKILL: most likely {memory}"
    if signal_name is None:
        return f"terminated without a message: {memory}. Or {crash}"
    return f"terminated by {signal_name}: most likely {crash}"
