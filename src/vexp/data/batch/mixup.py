"""The ``blending`` group: the clips of a training batch mixed with each other, their labels in the same shares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vexp.core.fields import ValidatedConfig, option

if TYPE_CHECKING:
    import torch


@dataclass(kw_only=True, slots=True)
class Blending(ValidatedConfig):
    """Mixup (Zhang et al. 2018) and CutMix (Yun et al. 2019), torchvision's, on the device.

    Each clip is mixed with the one before it in the batch; one share and one box for the whole batch and all frames.
    With both, each batch takes one of them, as in timm. The shares are drawn from torch's generator.
    """

    mixup_alpha: float | None = option(None, "mixup's share is drawn from Beta(alpha, alpha); null: no mixup", gt=0)
    cutmix_alpha: float | None = option(
        None, "CutMix's share, which is an area, is drawn from Beta(alpha, alpha); null: no CutMix", gt=0
    )
    probability: float = option(1.0, "share of the batches that are mixed", ge=0, le=1)

    @property
    def mixes(self) -> bool:
        """Whether any batch is mixed."""
        return (self.mixup_alpha is not None or self.cutmix_alpha is not None) and self.probability > 0

    def apply(self, frames: torch.Tensor, labels: torch.Tensor, num_classes: int) -> tuple[torch.Tensor, torch.Tensor]:
        """float (N, C, T, H, W) and int64 (N,) or float (N, classes) -> mixed clips, float (N, classes).

        A batch that is not mixed comes back as it is, int64 labels included.
        """
        kinds = [kind for kind in ("MixUp", "CutMix") if self._alpha(kind) is not None]
        if not kinds:
            return frames, labels
        import torch
        from torchvision import tv_tensors
        from torchvision.transforms import v2

        if torch.rand(()) >= self.probability:
            return frames, labels
        kind = kinds[int(torch.randint(len(kinds), ()))]
        blend: Any = getattr(v2, kind)(alpha=self._alpha(kind), num_classes=num_classes)
        videos = tv_tensors.Video(frames.transpose(1, 2))  # (N, T, C, H, W)
        mixed, shares = blend(videos, labels)
        return mixed.as_subclass(torch.Tensor).transpose(1, 2), shares

    def _alpha(self, kind: str) -> float | None:
        return self.mixup_alpha if kind == "MixUp" else self.cutmix_alpha
