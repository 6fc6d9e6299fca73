"""torch and the devices that it can use. Imports torch, so it runs in a subprocess."""

from __future__ import annotations

import shutil
import subprocess

from vexp.tools.doctor.check_result import MISSING, OK, WARNING, CheckResult

REINSTALL_TORCH = "pip install --force-reinstall torch torchvision"


def torch_and_devices() -> list[CheckResult]:
    import torch
    import torchvision

    text = f"{torch.__version__} with torchvision {torchvision.__version__}"
    return [CheckResult("torch", OK, text, values={"threads": torch.get_num_threads()}), *_cuda()]


def _cuda() -> list[CheckResult]:
    import torch

    built, driver = torch.version.cuda, _driver_version()
    if torch.cuda.is_available():
        cudnn = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
        return [
            _gpu(index, f"CUDA {built}, cuDNN {cudnn}, driver {driver}") for index in range(torch.cuda.device_count())
        ]
    if driver is None:
        return [CheckResult("cuda", WARNING, f"no GPU: models run on the CPU (torch is built for CUDA {built})")]
    if built is None:
        return [CheckResult("cuda", MISSING, f"driver {driver}, but torch is built without CUDA", REINSTALL_TORCH)]
    text = f"torch (CUDA {built}) cannot use driver {driver}, which may be too old"
    return [CheckResult("cuda", MISSING, text, REINSTALL_TORCH)]


def _gpu(index: int, software: str) -> CheckResult:
    import torch

    gpu = torch.cuda.get_device_properties(index)
    memory = f"{gpu.total_memory / 1e9:.0f} GB"
    text = f"{gpu.name}, {memory}, compute capability {gpu.major}.{gpu.minor}; {software}"
    return CheckResult(f"cuda:{index}", OK, text, values={"name": gpu.name, "memory": gpu.total_memory})


def _driver_version() -> str | None:
    """Return the version of the NVIDIA driver; None if there is none."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    command = [program, "--query-gpu=driver_version", "--format=csv,noheader"]
    process = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    return process.stdout.splitlines()[0].strip() if process.returncode == 0 and process.stdout.strip() else None
