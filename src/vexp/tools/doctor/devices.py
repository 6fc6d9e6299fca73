"""torch and the devices that it can use. Imports torch, so it runs in a subprocess."""

from __future__ import annotations

import shutil
import subprocess

from vexp.tools.doctor.check_result import MISSING, OK, WARNING, CheckResult

_CUDNN_9_15 = 91500
REINSTALL_TORCH = "pip install --force-reinstall torch torchvision"


def torch_and_devices() -> list[CheckResult]:
    """Check torch, torchvision and the GPUs."""
    import torch
    import torchvision

    text = f"{torch.__version__} with torchvision {torchvision.__version__}"
    results = [CheckResult("torch", OK, text, values={"threads": torch.get_num_threads()})]
    built, driver = torch.version.cuda, _driver_version()
    if torch.cuda.is_available():
        cudnn = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
        for index in range(torch.cuda.device_count()):
            gpu = torch.cuda.get_device_properties(index)
            text = f"{gpu.name}, {gpu.total_memory / 1e9:.0f} GB, compute capability {gpu.major}.{gpu.minor}; "
            text += f"CUDA {built}, cuDNN {cudnn}, driver {driver}"
            values = {"name": gpu.name, "memory": gpu.total_memory}
            results.append(CheckResult(f"cuda:{index}", OK, text, values=values))
        if torch.__version__.startswith("2.9.") and (cudnn or 0) < _CUDNN_9_15:
            text = f"torch 2.9 with cuDNN {cudnn}: 3D convolutions in bf16 and fp16 take three times the memory"
            fix = "pip install 'nvidia-cudnn-cu12>=9.15'"
            results.append(CheckResult("cudnn", WARNING, f"{text} (pytorch issue 166643)", fix))
        return results
    if torch.backends.mps.is_available():
        return [*results, _mps()]
    if driver is None:
        text = f"no GPU: models run on the CPU (torch is built for CUDA {built})"
        return [*results, CheckResult("cuda", WARNING, text)]
    text = f"torch (CUDA {built}) cannot use driver {driver}, which may be too old"
    text = f"driver {driver}, but torch is built without CUDA" if built is None else text
    return [*results, CheckResult("cuda", MISSING, text, REINSTALL_TORCH)]


def _mps() -> CheckResult:
    """Check the GPU of a Mac, on which 3D convolutions may be wrong (see ``vexp.runtime.conv3d_check``)."""
    import torch

    from vexp.runtime.conv3d_check import LAYOUTS, right_layouts

    right = right_layouts(torch.device("mps"))
    values = {"right_layouts": list(right)}
    if not right:
        text = "3D convolutions differ from those of the CPU (pytorch issue 197114): device=mps is refused"
        return CheckResult("mps", WARNING, text, "update macOS and torch", values=values)
    text = "Apple GPU, used with device=mps only; 3D convolutions equal those of the CPU"
    if len(right) < len(LAYOUTS):
        text += f" in the memory format {right[0]}, which is enforced (pytorch issue 197114)"
    return CheckResult("mps", OK, text, values=values)


def _driver_version() -> str | None:
    """Return the version of the NVIDIA driver; None if there is none."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    command = [program, "--query-gpu=driver_version", "--format=csv,noheader"]
    process = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    return process.stdout.splitlines()[0].strip() if process.returncode == 0 and process.stdout.strip() else None
