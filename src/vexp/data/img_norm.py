"""``img_norm``: the one place where colour order, value range and layout change, on the device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vexp.fields import Checked, option

if TYPE_CHECKING:
    import torch


@dataclass(kw_only=True, slots=True)
class ImgNorm(Checked):
    """``x = (x - mean) / std`` for every pixel, shared by train, val and test.

    Decoders deliver RGB. ``to_bgr`` swaps the channels first, so that ``mean`` and ``std`` are then in BGR order (as
    in mmaction2). The defaults are mmaction2's Kinetics-400 values: ImageNet's in grey levels 0..255.
    """

    mean: list[float] = option([123.675, 116.28, 103.53], "subtracted from each channel", unit="grey levels", length=3)
    std: list[float] = option([58.395, 57.12, 57.375], "divides each channel", unit="grey levels", length=3, gt=0)
    to_bgr: bool = option(False, "swap RGB to BGR before mean and std (for nets trained on BGR)")

    def apply(self, frames: torch.Tensor) -> torch.Tensor:
        """uint8 (N, T, H, W, 3) RGB -> float32 (N, 3, T, H, W), on the device of ``frames``.

        On an accelerator the result stays a channels_last_3d view of the same memory order (no transpose is paid); on
        the CPU it is contiguous, which its convolutions like better.
        """
        import torch

        if self.to_bgr:
            frames = frames.flip(-1)
        frames = frames.permute(0, 4, 1, 2, 3)
        if frames.device.type == "cpu":
            frames = frames.contiguous()  # one byte a value moves, not four
        shape = (1, 3, 1, 1, 1)
        mean = torch.tensor(self.mean, dtype=torch.float32, device=frames.device).view(shape)
        scale = 1.0 / torch.tensor(self.std, dtype=torch.float32, device=frames.device).view(shape)
        return (frames.float() - mean).mul_(scale)
