"""torch and what it computes on. Imports torch: runs in a process of its own."""

from __future__ import annotations

import shutil
import subprocess

from vexp.tools.doctor.check_result import MISSING, OK, WARNING, CheckResult


def torch_and_devices() -> list[CheckResult]:
    import torch
    import torchvision

    version = CheckResult(
        "torch", OK, f"{torch.__version__} with torchvision {torchvision.__version__}",
        values={"threads": torch.get_num_threads()},
    )  # fmt: skip
    return [version, *_cuda()]


def _cuda() -> list[CheckResult]:
    import torch

    built, driver = torch.version.cuda, _driver()
    if torch.cuda.is_available():
        found = []
        for number in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(number)
            found.append(CheckResult(
                f"cuda:{number}", OK,
                f"{properties.name}, {properties.total_memory / 1e9:.0f} GB, compute capability "
                f"{properties.major}.{properties.minor}; CUDA {built}, cuDNN {_cudnn()}, driver "
                f"{driver}",
                values={"name": properties.name, "memory": properties.total_memory},
            ))  # fmt: skip
        return found
    if driver is None:
        return [CheckResult("cuda", WARNING, f"no GPU here: nets run on the CPU (torch is built for CUDA {built})")]
    index = "pip install --force-reinstall torch torchvision"
    if built is None:
        return [CheckResult("cuda", MISSING, f"driver {driver}, but this torch is built without CUDA", index)]
    return [CheckResult("cuda", MISSING, f"torch (CUDA {built}) cannot use driver {driver}: too old?", index)]


def _cudnn() -> int | None:
    import torch

    version: int | None = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
    return version


def _driver() -> str | None:
    """The version of NVIDIA's driver; None where there is none."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    words = [program, "--query-gpu=driver_version", "--format=csv,noheader"]
    said = subprocess.run(words, capture_output=True, text=True, timeout=20, check=False)
    return said.stdout.splitlines()[0].strip() if said.returncode == 0 and said.stdout.strip() else None
