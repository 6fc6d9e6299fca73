"""``img_norm``: the one place where colour order, value range and layout change, on the device."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
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

    def apply(self, frames: torch.Tensor, *, channels_last: bool = False) -> torch.Tensor:
        """uint8 (N, T, H, W, 3) RGB -> float32 (N, 3, T, H, W), on the device of ``frames``.

        With ``channels_last`` the memory order stays as it is (channels_last_3d); otherwise it becomes contiguous.
        """
        if self.to_bgr:
            frames = frames.flip(-1)
        frames = frames.permute(0, 4, 1, 2, 3)
        if not channels_last:
            frames = frames.contiguous()  # while a value is one byte
        mean, scale = _constants(tuple(self.mean), tuple(self.std), frames.device)
        return (frames.float() - mean).mul_(scale)


@lru_cache
def _constants(
    mean: tuple[float, ...], std: tuple[float, ...], device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and 1 / std on the device, (1, 3, 1, 1, 1): sent there once, as each sending waits for the device."""
    import torch

    shape = (1, -1, 1, 1, 1)
    return (
        torch.tensor(mean, dtype=torch.float32, device=device).view(shape),
        1.0 / torch.tensor(std, dtype=torch.float32, device=device).view(shape),
    )
