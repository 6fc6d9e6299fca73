"""Steps that change colours and leave every pixel where it is: ours, and those of torchvision.

A clip is one scene under one light: whatever is drawn is drawn once for all frames of all crops of a sample.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from vexp.core.fields import ValidatedConfig, option
from vexp.data.transforms.view import Frames

if TYPE_CHECKING:
    import torch

#: ITU-R 601 luma, the grey of torchvision and of OpenCV.
_GREY = np.array([0.2989, 0.587, 0.114])
_FACTOR = "float or list of 2 float"


def _range_rule(low: float, high: float) -> Callable[[Any], str | None]:
    def rule(value: Any) -> str | None:
        ends = value if isinstance(value, list | tuple) else [value]
        numbers = all(isinstance(end, int | float) and not isinstance(end, bool) for end in ends)
        if not numbers or len(ends) != (2 if ends is value else 1):
            return "must be a number or [lowest,highest]"
        if ends is value and not (low <= ends[0] <= ends[1] <= high):
            return f"must be [lowest,highest] within {low:g} to {high:g}"
        if ends is not value and not 0 <= ends[0] <= high:
            return f"must be a number from 0 to {high:g}"
        return None

    return rule


def _ends(value: Any, neutral: float, low: float) -> tuple[float, float]:
    """The range that ``value`` says: itself, or ``neutral`` minus and plus it, not below ``low``."""
    if isinstance(value, list | tuple):
        return float(value[0]), float(value[1])
    return max(low, neutral - value), neutral + value


@dataclass(kw_only=True, slots=True)
class ColorJitter(ValidatedConfig):
    """Random brightness, contrast, saturation and hue, one draw and one order for the whole sample.

    Arguments as torchvision's, defaults as mmaction2's. A number b means a factor uniform in [max(0, 1-b), 1+b], for
    hue a turn uniform in [-b, b] of the whole colour circle; a pair is the range itself. Every channel stays in 0..255.

    Each of the four changes is torchvision's to one grey level, saturation to two (it cuts decimals off, this rounds),
    at a fifth of the time. Different from mmaction2, which draws the order once a process, so that it depends on how
    the work was shared out, and whose hue turns 1.4 times as far as it says.
    """

    brightness: Any = option(
        0.5, "range of a factor on every channel; x: from 1-x to 1+x", accepts=_FACTOR, check=_range_rule(0, np.inf)
    )
    contrast: Any = option(
        0.5,
        "range of a factor on the distance from the frame's mean grey; x: from 1-x to 1+x",
        accepts=_FACTOR,
        check=_range_rule(0, np.inf),
    )
    saturation: Any = option(
        0.5,
        "range of a factor on the distance from the pixel's own grey; x: from 1-x to 1+x",
        accepts=_FACTOR,
        check=_range_rule(0, np.inf),
    )
    hue: Any = option(
        0.1,
        "range of a turn of the colour circle, as a share of it (at most 0.5); x: from -x to x",
        accepts=_FACTOR,
        check=_range_rule(-0.5, 0.5),
    )

    def apply(self, frames: Frames, rng: np.random.Generator) -> Frames:
        """uint8 (T, H, W, 3) RGB -> the same, every frame changed alike.

        Raises:
            ValueError: the frames have no three channels (optical flow has no colour).
        """
        _check_rgb(frames, "ColorJitter")
        changes = (
            (_brighten, _ends(self.brightness, 1, 0)),
            (_stretch_contrast, _ends(self.contrast, 1, 0)),
            (_saturate, _ends(self.saturation, 1, 0)),
            (_turn_hue, _ends(self.hue, 0, -0.5)),
        )
        order = rng.permutation(len(changes))
        amounts = [rng.uniform(*ends) for _, ends in changes]
        for index in order:
            change, ends = changes[index]
            if ends != ((0, 0) if change is _turn_hue else (1, 1)):
                frames = change(frames, amounts[index])
        return frames


def _check_rgb(frames: Frames, name: str) -> None:
    if frames.shape[-1] != 3:
        raise ValueError(f"{name} changes colours, but the frames have {frames.shape[-1]} channels; take the step out")


def _levels(values: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.uint8]:
    """What becomes of each of the 256 grey levels: rounded and kept in range."""
    levels: npt.NDArray[np.uint8] = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return levels


def _brighten(frames: Frames, factor: float) -> Frames:
    brighter: Frames = _levels(np.arange(256) * factor)[frames]
    return brighter


def _stretch_contrast(frames: Frames, factor: float) -> Frames:
    import cv2

    out = np.empty_like(frames)
    for frame, target in zip(frames, out, strict=True):
        grey = float(np.dot(cv2.mean(frame)[:3], _GREY))
        cv2.LUT(frame, _levels(np.arange(256) * factor + grey * (1 - factor)), dst=target)
    return out


def _saturate(frames: Frames, factor: float) -> Frames:
    import cv2

    mix = factor * np.eye(3) + (1 - factor) * _GREY
    out = np.empty_like(frames)
    for frame, target in zip(frames, out, strict=True):
        cv2.transform(frame, mix, dst=target)
    return out


def _turn_hue(frames: Frames, turn: float) -> Frames:
    import cv2

    out = np.empty_like(frames)
    for frame, target in zip(frames, out, strict=True):
        # In float: OpenCV's 8-bit hue has steps of 1.4 degrees, which moves colours by up to 8 grey levels.
        hsv = cv2.cvtColor(frame.astype(np.float32) / 255, cv2.COLOR_RGB2HSV)
        hsv[..., 0] = (hsv[..., 0] + turn * 360) % 360
        np.rint(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB) * 255, out=target, casting="unsafe")
    return out


_V2 = "torchvision.transforms.v2"
#: Its transforms that leave every pixel where it is, whatever they draw.
PHOTOMETRIC = (
    "ColorJitter", "GaussianBlur", "GaussianNoise", "Grayscale", "Identity", "JPEG", "RGB", "RandomAdjustSharpness",
    "RandomAutocontrast", "RandomChannelPermutation", "RandomEqualize", "RandomErasing", "RandomGrayscale",
    "RandomInvert", "RandomPhotometricDistort", "RandomPosterize", "RandomSolarize",
)  # fmt: skip
#: What to take instead of those that move pixels.
REPLACEMENTS = {
    "CenterCrop": "transform=center_crop",
    "FiveCrop": "transform=ten_crop",
    "RandomCrop": "transform=random_crop",
    "RandomHorizontalFlip": "transform=flip",
    "RandomResize": "transform=random_rescale",
    "RandomResizedCrop": "transform=random_resized_crop, then transform=resize",
    "RandomShortestSize": "transform=random_rescale",
    "Resize": "transform=resize",
    "ScaleJitter": "transform=random_rescale",
    "TenCrop": "transform=ten_crop",
    "Normalize": "img_norm=...",
    "ConvertImageDtype": "img_norm=..., which converts on the device",
    "ToDtype": "img_norm=..., which converts on the device",
    "UniformTemporalSubsample": "transform=sample_frames",
}


@dataclass(frozen=True, slots=True)
class TensorTransform:
    """A transform of torchvision's kind, ``uint8 tensor (T, 3, H, W) -> the same``, as a step.

    It draws from torch's global generator, which is seeded from the sample's own for the call and then put back: its
    numbers depend on (seed, epoch, sample) like all others, and move nobody else's.
    """

    transform: Callable[[torch.Tensor], torch.Tensor]

    def apply(self, frames: Frames, rng: np.random.Generator) -> Frames:
        """uint8 (T, H, W, 3) RGB -> the same shape.

        Raises:
            ValueError: the transform gives another shape or type.
        """
        import torch

        name = type(self.transform).__name__
        _check_rgb(frames, name)
        before = torch.from_numpy(frames).permute(0, 3, 1, 2)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(int(rng.integers(2**63)))
            after = self.transform(before)
        if after.dtype != torch.uint8 or after.shape != before.shape:
            raise ValueError(
                f"{name} turns {before.dtype} {tuple(before.shape)} into {after.dtype} {tuple(after.shape)}: a "
                "photometric step keeps type and shape"
            )
        changed: Frames = after.permute(0, 2, 3, 1).contiguous().numpy()
        return changed


def check_torchvision_transform(step: Any, where: str) -> None:
    """Refuse a transform that cannot be a photometric step; ``where`` is its key.

    Raises:
        ValueError: it moves pixels, mixes samples or changes their type, or its arguments are wrong.
    """
    target = getattr(step, "target", type(step))
    name, module = target.__name__, target.__module__
    if module.startswith("torchvision.") and (name not in PHOTOMETRIC or not module.startswith(_V2)):
        instead = REPLACEMENTS.get(name)
        other = f"take {instead}" if instead else f"torchvision.transforms.v2 has {', '.join(PHOTOMETRIC)}"
        raise ValueError(f"{where}: {module.partition('._')[0]}.{name} is no photometric transform of v2; {other}")
    try:
        step.build()
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: {name} refuses its arguments: {error}") from error


def build_transforms(steps: dict[str, Any]) -> dict[str, Any]:
    """The steps with every transform that has to be built built."""
    return {name: TensorTransform(step.build()) if hasattr(step, "build") else step for name, step in steps.items()}
