"""``img_norm``: the one place where colour order, value range and layout change, on the device."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from vexp.core.errors import UserError, format_value
from vexp.core.fields import ValidatedConfig, option

if TYPE_CHECKING:
    import torch

    from vexp.data.batch.batch import Batch


def _per_channel(value: Any) -> str | None:
    return None if len(value) in (2, 3) else f"needs 3 values (RGB) or 2 (flow: x, y), got {len(value)}"


@dataclass(kw_only=True, slots=True)
class ImgNorm(ValidatedConfig):
    """``x = (x - mean) / std`` for every pixel, shared by train, val and test.

    Decoders deliver RGB. ``to_bgr`` swaps the channels first, so that ``mean`` and ``std`` are then in BGR order (as
    in mmaction2). The defaults are mmaction2's Kinetics-400 values: ImageNet's in grey levels 0..255. Optical flow has
    two values, for x and y (``img_norm=flow``); resizing a clip does not change the lengths that its pixels stand for,
    ``adjust_magnitude`` does: x times new width / old width, y times new height / old height, after ``std``.
    """

    mean: list[float] = option(
        [123.675, 116.28, 103.53], "subtracted from each channel", unit="grey levels", check=_per_channel
    )
    std: list[float] = option(
        [58.395, 57.12, 57.375], "divides each channel", unit="grey levels", gt=0, check=_per_channel
    )
    to_bgr: bool = option(False, "swap RGB to BGR before mean and std (for nets trained on BGR)")
    adjust_magnitude: bool = option(False, "scale optical flow by how much its clip was resized")

    def __post_init__(self) -> None:
        ValidatedConfig.__post_init__(self)
        if len(self.mean) != len(self.std):
            raise ValueError(
                f"mean={format_value(self.mean)}: std={format_value(self.std)} must have as many values, one a channel"
            )
        if self.to_bgr and len(self.mean) != 3:
            raise ValueError("to_bgr=true: optical flow has no colours to swap; set it to false")
        if self.adjust_magnitude and len(self.mean) != 2:
            raise ValueError("adjust_magnitude=true: is for optical flow (2 values of mean and std), these are colours")

    def prepare_input(
        self, batch: Batch, start: int = 0, stop: int | None = None, *, channels_last: bool = False
    ) -> torch.Tensor:
        """Views ``start`` to ``stop`` of the N * V of a batch as a net takes them: float32 (n, C, T, H, W)."""
        stop = len(batch) * batch.views if stop is None else stop
        magnification = batch.scale[start:stop] if batch.scale is not None else None
        return self.apply(batch.build(start, stop), magnification, channels_last=channels_last)

    def apply(
        self, frames: torch.Tensor, magnification: torch.Tensor | None = None, *, channels_last: bool = False
    ) -> torch.Tensor:
        """uint8 (N, T, H, W, C) RGB or flow -> float32 (N, C, T, H, W), on the device of ``frames``.

        With ``channels_last`` the memory order stays as it is (channels_last_3d); otherwise it becomes contiguous.
        ``magnification``: of flow, float32 (N, 2), x and y.

        Raises:
            UserError: the frames have another number of channels than ``mean``.
        """
        import torch

        if frames.shape[-1] != len(self.mean):
            raise UserError(
                f"img_norm.mean={format_value(self.mean)}: the frames have {frames.shape[-1]} channels; "
                "img_norm=flow is for optical flow, the other options are for RGB"
            )
        if self.to_bgr:
            frames = frames.flip(-1)
        layout = torch.preserve_format if channels_last else torch.contiguous_format
        values = frames.permute(0, 4, 1, 2, 3).to(torch.float32, memory_format=layout)
        mean, scale = _constants(tuple(self.mean), tuple(self.std), frames.device)
        if self.adjust_magnitude and magnification is not None:
            scale = scale * magnification.view(-1, 2, 1, 1, 1)
        return values.sub_(mean).mul_(scale)

    def undo(self, values: torch.Tensor, magnification: torch.Tensor | None = None) -> torch.Tensor:
        """What ``apply`` made as frames again: float (N, C, T, H, W) -> uint8 (N, T, H, W, C) RGB or flow, rounded."""
        mean, scale = _constants(tuple(self.mean), tuple(self.std), values.device)
        if self.adjust_magnitude and magnification is not None:
            scale = scale * magnification.view(-1, 2, 1, 1, 1)
        frames = (values.float() / scale + mean).round_().clamp_(0, 255).byte().permute(0, 2, 3, 4, 1)
        return frames.flip(-1) if self.to_bgr else frames


@lru_cache
def _constants(
    mean: tuple[float, ...], std: tuple[float, ...], device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and 1 / std on the device, (1, C, 1, 1, 1): sent there once, as each sending waits for the device."""
    import torch

    shape = (1, -1, 1, 1, 1)
    return (
        torch.tensor(mean, dtype=torch.float32, device=device).view(shape),
        1.0 / torch.tensor(std, dtype=torch.float32, device=device).view(shape),
    )
