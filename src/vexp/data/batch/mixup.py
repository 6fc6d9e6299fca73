"""The ``blending`` group: mixup and CutMix of the clips and labels of a training batch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vexp.core.fields import ValidatedConfig, option

if TYPE_CHECKING:
    import torch


@dataclass(kw_only=True, slots=True)
class Blending(ValidatedConfig):
    """Mixup (Zhang et al. 2018) and CutMix (Yun et al. 2019), torchvision's implementations, on the device.

    Each clip is mixed with the previous one of the batch; the box is the same for all frames. If both are enabled, each
    batch (``mode=elem``: each clip) uses one of them, chosen at random as in timm. Random numbers come from torch's
    global generator. ``loss.label_smoothing`` smooths the mixed labels, which equals mixing smoothed ones (timm).

    Differences from timm's ``Mixup``: it mixes the first clip of a batch with the last one and so on, and with
    ``mode=batch`` the sides of the box are rounded down to an even number of pixels here.
    """

    mixup_alpha: float | None = option(None, "Mixup: the ratio is drawn from Beta(alpha, alpha); null: no mixup.", gt=0)
    cutmix_alpha: float | None = option(
        None, "CutMix: the area of the box is drawn from Beta(alpha, alpha); null: no CutMix.", gt=0
    )
    probability: float = option(1.0, "Probability that a batch (mode=elem: a clip) is mixed.", ge=0, le=1)
    mode: str = option(
        "batch", "Whether the whole batch or each of its clips has its own ratio and box.", choices=("batch", "elem")
    )

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
        if self.mode == "elem":
            return _mix_each(frames, labels, num_classes, [self._draw(frames) for _ in frames])
        import torch
        from torchvision import tv_tensors
        from torchvision.transforms import v2

        if torch.rand(()) >= self.probability:
            return frames, labels
        kind = kinds[int(torch.randint(len(kinds), ()))]
        blend: Any = getattr(v2, kind)(alpha=alphas[kind], num_classes=num_classes)
        mixed, targets = blend(tv_tensors.Video(frames.transpose(1, 2)), labels)  # (N, T, C, H, W)
        return mixed.as_subclass(torch.Tensor).transpose(1, 2), targets

    def _draw(self, frames: torch.Tensor) -> Mix:
        """Draw how one clip of a batch is mixed."""
        import torch

        height, width = frames.shape[-2:]
        alphas = [("mixup", self.mixup_alpha), ("cutmix", self.cutmix_alpha)]
        kinds = [(kind, alpha) for kind, alpha in alphas if alpha is not None]
        if torch.rand(()) >= self.probability:
            return Mix(1.0)
        kind, alpha = kinds[int(torch.randint(len(kinds), ()))]
        ratio = float(torch.distributions.Beta(alpha, alpha).sample())
        if kind == "mixup":
            return Mix(ratio)
        box_height, box_width = int(height * math.sqrt(1 - ratio)), int(width * math.sqrt(1 - ratio))
        y, x = int(torch.randint(height, ())), int(torch.randint(width, ()))
        rows = slice(max(0, y - box_height // 2), min(height, y + (box_height + 1) // 2))
        columns = slice(max(0, x - box_width // 2), min(width, x + (box_width + 1) // 2))
        pasted = (rows.stop - rows.start) * (columns.stop - columns.start)
        return Mix(1 - pasted / (height * width), (rows, columns))


@dataclass(frozen=True, slots=True)
class Mix:
    """How a clip is mixed with another one."""

    ratio: float  # weight of the clip itself in the label, with mixup also in the pixels
    box: tuple[slice, slice] | None = None  # CutMix: rows and columns of the other clip


def _mix_each(
    frames: torch.Tensor, labels: torch.Tensor, num_classes: int, mixes: list[Mix]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mix each clip of a batch with the previous one; shapes as in ``Blending.apply``."""
    import torch

    mixed = frames.clone()
    for index, mix in enumerate(mixes):  # index - 1 is the last clip for the first one
        if mix.box is not None:
            rows, columns = mix.box
            mixed[index, ..., rows, columns] = frames[index - 1, ..., rows, columns]
        elif mix.ratio != 1:
            mixed[index] = frames[index] * mix.ratio + frames[index - 1] * (1 - mix.ratio)
    targets = labels if labels.ndim == 2 else torch.nn.functional.one_hot(labels, num_classes)
    ratios = frames.new_tensor([mix.ratio for mix in mixes], dtype=torch.float32)[:, None]
    return mixed, targets * ratios + targets.roll(1, 0) * (1 - ratios)
