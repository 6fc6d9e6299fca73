"""Photometric transforms: ``ColorJitter`` and those of torchvision.

Random parameters are drawn once for all frames and crops of a sample.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vexp.core.errors import ConfigError, UserError
from vexp.core.fields import ValidatedConfig, option
from vexp.core.lazy import np
from vexp.data.decoding.frame_stream import FrameStream
from vexp.data.pixel_type import Frames

if TYPE_CHECKING:
    import numpy.typing as npt
    import torch

#: ITU-R 601 luma, as in torchvision and OpenCV.
_LUMA = (0.2989, 0.587, 0.114)


def _range_rule(low: float, high: float) -> Callable[[Any], str | None]:
    def rule(value: Any) -> str | None:
        is_pair = isinstance(value, list | tuple)
        ends = value if is_pair else [value]
        numbers = all(isinstance(end, int | float) and not isinstance(end, bool) for end in ends)
        if not numbers or len(ends) != 1 + is_pair:
            return "must be a number or [lowest,highest]"
        if is_pair:
            return None if low <= ends[0] <= ends[1] <= high else f"must be [lowest,highest] within {low:g} to {high:g}"
        return None if 0 <= value <= high else f"must be a number from 0 to {high:g}"

    return rule


#: Arguments of ``option`` for the range of a factor and of a shift.
_FACTOR: dict[str, Any] = {"accepts": "float or list of 2 float", "check": _range_rule(0, math.inf)}
_SHIFT = _FACTOR | {"check": _range_rule(-0.5, 0.5)}


def _ends(value: Any, neutral: float, low: float) -> tuple[float, float]:
    """Return the range of a parameter: ``value`` itself, or ``neutral`` plus and minus ``value``, at least ``low``."""
    if isinstance(value, list | tuple):
        return float(value[0]), float(value[1])
    return max(low, neutral - value), neutral + value


@dataclass(kw_only=True, slots=True)
class ColorJitter(ValidatedConfig):
    """Randomly change brightness, contrast, saturation and hue, with one draw and one order for the whole sample.

    The arguments are those of torchvision, the defaults those of mmaction2. A number b is a factor uniform in
    [max(0, 1-b), 1+b], or for hue a shift uniform in [-b, b] of the color circle; a pair is the range itself.

    Each change equals torchvision's within one gray level (two for saturation, which torchvision truncates and this
    rounds) and takes a fifth of the time. mmaction2 draws the order once per process, so that it depends on the number
    of workers, and shifts the hue 1.4 times too far.
    """

    brightness: Any = option(0.5, "Range of the factor on all channels; x is [1-x, 1+x].", **_FACTOR)
    contrast: Any = option(
        0.5, "Range of the factor on the difference to the mean gray level of the frame; x is [1-x, 1+x].", **_FACTOR
    )
    saturation: Any = option(
        0.5, "Range of the factor on the difference to the gray level of the pixel; x is [1-x, 1+x].", **_FACTOR
    )
    hue: Any = option(
        0.1, "Range of the hue shift as a fraction of the color circle (at most 0.5); x is [-x, x].", **_SHIFT
    )

    def apply(self, frames: Frames, rng: np.random.Generator) -> Frames:
        """Transform uint8 (T, H, W, 3) RGB to the same shape, with the same parameters for every frame.

        Raises:
            UserError: If the frames do not have three channels (optical flow).
        """
        check_rgb(frames, "ColorJitter")
        changes = (
            (_adjust_brightness, _ends(self.brightness, 1, 0)),
            (_adjust_contrast, _ends(self.contrast, 1, 0)),
            (_adjust_saturation, _ends(self.saturation, 1, 0)),
            (_adjust_hue, _ends(self.hue, 0, -0.5)),
        )
        order = rng.permutation(len(changes))
        amounts = [rng.uniform(*ends) for _, ends in changes]
        for index in order:
            change, ends = changes[index]
            if ends != ((0, 0) if change is _adjust_hue else (1, 1)):
                out = np.empty_like(frames)
                for frame, target in zip(frames, out, strict=True):
                    change(frame, amounts[index], target)
                frames = out
        return frames


def check_rgb(frames: Frames | FrameStream, name: str) -> None:
    """Raise UserError if ``frames`` are not RGB, which the transform ``name`` requires."""
    if frames.shape[-1] != 3:
        raise UserError(f"{name} requires RGB frames, but they have {frames.shape[-1]} channels; remove the transform")


def _apply_levels(frame: Frames, levels: npt.NDArray[np.floating[Any]], target: Frames) -> None:
    """Replace each value by its entry in a table of 256 levels, rounded and clipped to 0..255."""
    import cv2

    cv2.LUT(frame, np.clip(np.rint(levels), 0, 255).astype(np.uint8), dst=target)


def _adjust_brightness(frame: Frames, factor: float, target: Frames) -> None:
    _apply_levels(frame, np.arange(256) * factor, target)


def _adjust_contrast(frame: Frames, factor: float, target: Frames) -> None:
    import cv2

    gray = float(np.dot(cv2.mean(frame)[:3], _LUMA))
    _apply_levels(frame, np.arange(256) * factor + gray * (1 - factor), target)


def _adjust_saturation(frame: Frames, factor: float, target: Frames) -> None:
    import cv2

    cv2.transform(frame, factor * np.eye(3) + (1 - factor) * np.array(_LUMA), dst=target)


def _adjust_hue(frame: Frames, turn: float, target: Frames) -> None:
    import cv2

    # float32, since OpenCV's 8-bit hue has steps of 1.4 degrees, an error of up to 8 gray levels
    hsv = cv2.cvtColor(frame.astype(np.float32) / 255, cv2.COLOR_RGB2HSV)
    hsv[..., 0] = (hsv[..., 0] + turn * 360) % 360
    np.rint(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB) * 255, out=target, casting="unsafe")


_V2 = "torchvision.transforms.v2"
#: Transforms of torchvision that do not move pixels.
PHOTOMETRIC = (
    "ColorJitter", "GaussianBlur", "GaussianNoise", "Grayscale", "Identity", "JPEG", "RGB", "RandomAdjustSharpness",
    "RandomAutocontrast", "RandomChannelPermutation", "RandomEqualize", "RandomErasing", "RandomGrayscale",
    "RandomInvert", "RandomPhotometricDistort", "RandomPosterize", "RandomSolarize",
)  # fmt: skip
#: Replacements for transforms of torchvision that move pixels.
REPLACEMENTS = {
    "RandAugment": "transform=rand_augment_torchvision", "TrivialAugmentWide": "transform=trivial_augment",
    "CenterCrop": "transform=center_crop", "FiveCrop": "transform=ten_crop", "RandomCrop": "transform=random_crop",
    "RandomHorizontalFlip": "transform=flip", "RandomResize": "transform=random_rescale",
    "RandomResizedCrop": "transform=random_resized_crop, then transform=resize",
    "RandomShortestSize": "transform=random_rescale", "Resize": "transform=resize",
    "ScaleJitter": "transform=random_rescale", "TenCrop": "transform=ten_crop", "Normalize": "img_norm=...",
    "ConvertImageDtype": "img_norm=..., which converts on the device",
    "ToDtype": "img_norm=..., which converts on the device", "UniformTemporalSubsample": "transform=sample_frames",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class TensorTransform:
    """A transform of uint8 tensors (T, 3, H, W), as those of torchvision, applied to arrays.

    During the call, torch's global generator is seeded from the generator of the sample and restored afterwards. The
    draws therefore depend on (seed, epoch, sample) like all others, and do not affect other draws.
    """

    transform: Callable[[torch.Tensor], torch.Tensor]

    def apply(self, frames: Frames, rng: np.random.Generator) -> Frames:
        """Transform uint8 (T, H, W, 3) RGB to the same shape.

        Raises:
            UserError: If the frames are not RGB.
            ValueError: If the transform changes the shape or the dtype.
        """
        import torch

        name = type(self.transform).__name__
        check_rgb(frames, name)
        before = torch.from_numpy(frames).permute(0, 3, 1, 2)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(int(rng.integers(2**63)))
            after = self.transform(before)
        if after.dtype != torch.uint8 or after.shape != before.shape:
            raise UserError(
                f"{name} turns {before.dtype} {tuple(before.shape)} into {after.dtype} {tuple(after.shape)}: a "
                "photometric transform must keep shape and dtype"
            )
        changed: Frames = after.permute(0, 2, 3, 1).contiguous().numpy()
        return changed


def check_torchvision_transform(option: Any, key: str) -> None:
    """Check that the option of a transform is photometric and that the transform can be built; ``key`` is its key.

    Raises:
        ConfigError: If it moves pixels, mixes samples or changes their dtype, or its arguments are invalid.
    """
    target = getattr(option, "target", type(option))
    name, module = target.__name__, target.__module__
    if module.startswith("torchvision.") and (name not in PHOTOMETRIC or not module.startswith(_V2)):
        replacement = REPLACEMENTS.get(name)
        hint = f"use {replacement}" if replacement else f"torchvision.transforms.v2 has {', '.join(PHOTOMETRIC)}"
        raise ConfigError(f"{module.partition('._')[0]}.{name} is not a photometric transform of v2; {hint}", key=key)
    try:
        option.build()
    except (TypeError, ValueError) as error:
        raise ConfigError(f"invalid arguments of {name}: {error}", key=key) from error


def build_transforms(options: dict[str, Any]) -> dict[str, Any]:
    """Build the transforms of options with a ``build`` method; others are transforms already."""
    return {
        name: TensorTransform(option.build()) if hasattr(option, "build") else option
        for name, option in options.items()
    }
