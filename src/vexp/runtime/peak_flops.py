"""Peak arithmetic rate of NVIDIA GPUs, the denominator of the model FLOPs utilization (MFU).

In TFLOP/s of dense matrices, with float32 accumulation, as in NVIDIA's documents. Those of data-center GPUs state many
tensor rates with sparsity, which are twice as high. Sources: the data sheets of V100, T4, A10, A30, A40, A100, L4, L40,
L40S, H100, H200 and HGX B200; the white papers of the GA102 (GeForce 30), Ada (GeForce 40, RTX 6000 Ada) and Blackwell
(GeForce 50) architectures, appendix A.
"""

from __future__ import annotations

import re

#: (name as torch gives it, without "NVIDIA", a regular expression for the whole; TFLOP/s of fp32, tf32, fp16 and bf16).
#: None: the GPU has no unit for it.
_PEAKS: tuple[tuple[str, float, float | None, float, float | None], ...] = (
    (r"Tesla V100-SXM[23]-\d+GB(-LS)?", 15.7, None, 125.0, None),
    (r"Tesla V100-PCIE-\d+GB", 14.0, None, 112.0, None),
    (r"Tesla T4", 8.1, None, 65.0, None),
    (r"A100-SXM4-\d+GB|A100-PCIE-\d+GB|A100 80GB PCIe", 19.5, 156.0, 312.0, 312.0),
    (r"A10", 31.2, 62.5, 125.0, 125.0),
    (r"A30", 10.3, 82.0, 165.0, 165.0),
    (r"A40", 37.4, 74.8, 149.7, 149.7),
    (r"RTX A6000", 38.7, 77.4, 154.8, 154.8),
    (r"L4", 30.3, 60.0, 121.0, 121.0),
    (r"L40", 90.5, 90.5, 181.0, 181.0),
    (r"L40S", 91.6, 183.0, 362.0, 362.0),
    (r"RTX 6000 Ada Generation", 91.1, 182.1, 364.2, 364.2),
    (r"H100 80GB HBM3|H200", 66.9, 494.7, 989.4, 989.4),
    (r"H100 NVL|H200 NVL", 60.0, 417.5, 835.5, 835.5),
    (r"H100 PCIe", 51.2, 378.0, 756.0, 756.0),
    (r"B200", 75.0, 1100.0, 2250.0, 2250.0),
    (r"GeForce RTX 3090", 35.6, 35.6, 71.0, 71.0),
    (r"GeForce RTX 4080", 48.7, 48.7, 97.5, 97.5),
    (r"GeForce RTX 4090", 82.6, 82.6, 165.2, 165.2),
    (r"GeForce RTX 5090", 104.8, 104.8, 209.5, 209.5),
)


def peak_tflops(name: str, dtype: str) -> float | None:
    """Return the peak of a device in TFLOP/s; None if it is not known.

    Args:
        name: Name of the device, as ``torch.cuda.get_device_name`` returns it. A part of a GPU (MIG) is not known.
        dtype: ``fp32``, ``tf32``, ``fp16`` or ``bf16``.
    """
    name = name.removeprefix("NVIDIA ")
    for pattern, *rates in _PEAKS:
        if re.fullmatch(pattern, name):
            return dict(zip(("fp32", "tf32", "fp16", "bf16"), rates, strict=True))[dtype]
    return None
