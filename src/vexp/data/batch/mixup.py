"""The ``blending`` group: mixup and CutMix of the clips and labels of a training batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vexp.core.fields import ValidatedConfig, option

if TYPE_CHECKING:
    import torch


@dataclass(kw_only=True, slots=True)
class Blending(ValidatedConfig):
    """Mixup (Zhang et al. 2018) and CutMix (Yun et al. 2019), torchvision's implementations, on the device.

    Each clip is mixed with the previous one of the batch; ratio and box are the same for the whole batch and all
    frames. If both are enabled, each batch uses one of them, chosen at random as in timm. Random numbers come from
    torch's global generator.
    """

    mixup_alpha: float | None = option(None, "Mixup: the ratio is drawn from Beta(alpha, alpha); null: no mixup.", gt=0)
    cutmix_alpha: float | None = option(
        None, "CutMix: the area of the box is drawn from Beta(alpha, alpha); null: no CutMix.", gt=0
    )
    probability: float = option(1.0, "Probability that a batch is mixed.", ge=0, le=1)

    @property
    def mixes(self) -> bool:
        """Whether batches are mixed at all."""
        return (self.mixup_alpha is not None or self.cutmix_alpha is not None) and self.probability > 0

    def apply(self, frames: torch.Tensor, labels: torch.Tensor, num_classes: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Mix a batch: float (N, C, T, H, W) and int64 (N,) or float (N, classes) -> clips, float (N, classes).

        A batch that is not mixed is returned unchanged, with its int64 labels.
        """
        alphas = {"MixUp": self.mixup_alpha, "CutMix": self.cutmix_alpha}
        kinds = [kind for kind, alpha in alphas.items() if alpha is not None]
        if not kinds:
            return frames, labels
        import torch
        from torchvision import tv_tensors
        from torchvision.transforms import v2

        if torch.rand(()) >= self.probability:
            return frames, labels
        kind = kinds[int(torch.randint(len(kinds), ()))]
        blend: Any = getattr(v2, kind)(alpha=alphas[kind], num_classes=num_classes)
        mixed, targets = blend(tv_tensors.Video(frames.transpose(1, 2)), labels)  # (N, T, C, H, W)
        return mixed.as_subclass(torch.Tensor).transpose(1, 2), targets
