"""The ``img_norm`` group: channel order, value range and memory layout of the model's input, set on the device."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from vexp.core.errors import ConfigError, UserError, format_value
from vexp.core.fields import ValidatedConfig, option

if TYPE_CHECKING:
    import torch

    from vexp.data.batch.batch import Batch


def _per_channel(value: Any) -> str | None:
    return None if len(value) in (2, 3) else f"must have 3 values (RGB) or 2 (flow: x, y), got {len(value)}"


@dataclass(kw_only=True, slots=True)
class ImgNorm(ValidatedConfig):
    """Normalization ``x = (x - mean) / std`` of every pixel, the same for train, val and test.

    Decoders return RGB. ``to_bgr`` swaps the channels first, so that ``mean`` and ``std`` are in BGR order (as in
    mmaction2). The defaults are mmaction2's values for Kinetics-400: ImageNet's, in gray levels 0..255. Optical flow
    has two values, for x and y (``img_norm=flow``). Resizing a clip does not change the displacements that its pixels
    encode; with ``adjust_magnitude`` they are scaled: x by new width / old width, y by new height / old height, after
    ``std``.
    """

    mean: list[float] = option(
        [123.675, 116.28, 103.53], "Value subtracted from each channel.", unit="gray levels", check=_per_channel
    )
    std: list[float] = option(
        [58.395, 57.12, 57.375], "Divisor of each channel.", unit="gray levels", gt=0, check=_per_channel
    )
    to_bgr: bool = option(False, "Swap RGB to BGR before mean and std, for models trained on BGR.")
    adjust_magnitude: bool = option(False, "Scale optical flow by the factors by which its clip was resized.")

    def __post_init__(self) -> None:
        ValidatedConfig.__post_init__(self)
        if len(self.mean) != len(self.std):
            rule = f"std={format_value(self.std)} must have as many values, one for each channel"
            raise ConfigError(rule, key="mean", value=self.mean)
        if self.to_bgr and len(self.mean) != 3:
            raise ConfigError("optical flow has no colors to swap; set it to false", key="to_bgr", value=True)
        if self.adjust_magnitude and len(self.mean) != 2:
            rule = "is for optical flow (2 values of mean and std), not for RGB"
            raise ConfigError(rule, key="adjust_magnitude", value=True)

    def prepare_input(
        self, batch: Batch, start: int = 0, stop: int | None = None, *, channels_last: bool = False
    ) -> torch.Tensor:
        """Return views ``start`` to ``stop`` of the N * V of a batch as model input: float32 (n, C, T, H, W).

        Cached features are returned unchanged.
        """
        from vexp.data.batch.batch import FeatureBatch

        stop = len(batch) * batch.views if stop is None else stop
        if isinstance(batch, FeatureBatch):
            return batch.features.flatten(0, 1)[start:stop]
        scale = batch.scale[start:stop] if batch.scale is not None else None
        return self.apply(batch.build(start, stop), scale, channels_last=channels_last)

    def apply(
        self, frames: torch.Tensor, scale: torch.Tensor | None = None, *, channels_last: bool = False
    ) -> torch.Tensor:
        """Normalize frames: uint8 (N, T, H, W, C) RGB or flow -> float32 (N, C, T, H, W), on the same device.

        Heat maps, float32 (N, T, H, W, C), are not normalized.

        ``scale`` are the factors by which optical flow was resized, float32 (N, 2), x and y. With ``channels_last``,
        the memory order is kept (channels_last_3d); otherwise the result is contiguous.

        Raises:
            UserError: If the number of channels differs from that of ``mean``.
        """
        import torch

        layout = torch.preserve_format if channels_last else torch.contiguous_format
        if frames.is_floating_point():
            return frames.permute(0, 4, 1, 2, 3).to(torch.float32, memory_format=layout)
        if frames.shape[-1] != len(self.mean):
            raise UserError(
                f"img_norm.mean={format_value(self.mean)}: the frames have {frames.shape[-1]} channels; "
                "img_norm=flow is for optical flow, the other options are for RGB"
            )
        if self.to_bgr:
            frames = frames.flip(-1)
        values = frames.permute(0, 4, 1, 2, 3).to(torch.float32, memory_format=layout)
        mean, factor = self._constants(frames.device, scale)
        return values.sub_(mean).mul_(factor)

    def undo(self, values: torch.Tensor, scale: torch.Tensor | None = None) -> torch.Tensor:
        """Invert ``apply``: float (N, C, T, H, W) -> uint8 (N, T, H, W, C) RGB or flow, rounded.

        Heat maps 0..1 become 0..255.
        """
        if values.shape[1] != len(self.mean):
            return (values.float() * 255).round_().clamp_(0, 255).byte().permute(0, 2, 3, 4, 1)
        mean, factor = self._constants(values.device, scale)
        frames = (values.float() / factor + mean).round_().clamp_(0, 255).byte().permute(0, 2, 3, 4, 1)
        return frames.flip(-1) if self.to_bgr else frames

    def _constants(self, device: torch.device, scale: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what is subtracted from and what multiplies the values, (1 or N, C, 1, 1, 1)."""
        mean, factor = _device_constants(tuple(self.mean), tuple(self.std), device)
        if self.adjust_magnitude and scale is not None:
            factor = factor * scale.view(-1, 2, 1, 1, 1)
        return mean, factor


@lru_cache
def _device_constants(
    mean: tuple[float, ...], std: tuple[float, ...], device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and 1 / std on the device, (1, C, 1, 1, 1); cached, as each copy synchronizes with the device."""
    import torch

    constants = torch.tensor([mean, std], dtype=torch.float32, device=device).view(2, 1, -1, 1, 1, 1)
    return constants[0], 1.0 / constants[1]
