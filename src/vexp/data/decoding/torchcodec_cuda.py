"""The torchcodec backend with decoding on a GPU (NVDEC); not measured on a GPU.

It identifies frames as the torchcodec backend does. Colors are converted on the GPU by NVIDIA's library, so that pixels
may differ from those of other backends. Frames are copied to the CPU, which computes the transforms.
"""

from __future__ import annotations

import os
from typing import ClassVar

import torch

from vexp.core.errors import ConfigError
from vexp.data.decoding.torchcodec import TorchcodecReader


def check_gpu() -> None:
    """Check that there is a GPU that can decode.

    Raises:
        ConfigError: If torch finds no CUDA device.
    """
    if not torch.cuda.is_available():
        rule = "decodes on an NVIDIA GPU, but torch finds none; set it to auto"
        raise ConfigError(rule, key="data.decoding_backend", value=TorchcodecCudaReader.backend)


class TorchcodecCudaReader(TorchcodecReader):
    """Decodes on the GPU of this process."""

    backend: ClassVar[str] = "torchcodec_cuda"

    def _open(self) -> None:
        check_gpu()
        self.device = f"cuda:{os.environ.get('LOCAL_RANK', 0)}"
        super()._open()
