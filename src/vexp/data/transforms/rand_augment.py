"""RandAugment and TrivialAugment: operations on whole clips, drawn at random.

Each sample draws its operations and their arguments once, for all frames and crops. The operations on pixels equal
Pillow's to the bit (``vexp.data.transforms.pixel_operations``). Shears, translations and rotations are planned like
crops and resizes and share their resample; a point from outside of the image gets the color ``fill``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from vexp.core.errors import ConfigError
from vexp.core.fields import ValidatedConfig, option
from vexp.core.lazy import np
from vexp.data.pixel_type import Frames
from vexp.data.transforms import pixel_operations
from vexp.data.transforms.base import SpatialTransform
from vexp.data.transforms.view import INTERPOLATIONS, Affine, Size, View

_PIXEL_OPERATIONS: dict[str, Callable[..., Frames]] = {
    "AutoContrast": pixel_operations.auto_contrast,
    "Brightness": pixel_operations.brightness,
    "Color": pixel_operations.color,
    "Contrast": pixel_operations.contrast,
    "Equalize": pixel_operations.equalize,
    "Invert": pixel_operations.invert,
    "Posterize": pixel_operations.posterize,
    "Sharpness": pixel_operations.sharpness,
    "Solarize": pixel_operations.solarize,
    "SolarizeAdd": pixel_operations.solarize_add,
}
_ENHANCEMENTS = ("Brightness", "Color", "Contrast", "Sharpness")
_WARPS = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")


@dataclass(frozen=True, slots=True)
class PixelOperation:
    """An operation on the pixels of a clip with its arguments, those of the function in ``pixel_operations``."""

    name: str
    arguments: tuple[float, ...] = ()

    def apply(self, frames: Frames, rng: np.random.Generator) -> Frames:
        """Apply the operation to uint8 (T, H, W, 3)."""
        return _PIXEL_OPERATIONS[self.name](frames, *self.arguments)


@dataclass(kw_only=True, slots=True)
class WarpOperation(SpatialTransform):
    """A shear (``amount`` in pixels per pixel), a translation (pixels) or a rotation about the center (degrees).

    The signs are Pillow's: a positive translation moves the image to the left or up, a positive rotation turns it
    counterclockwise.
    """

    name: str
    amount: float
    fill: tuple[int, int, int]
    interpolation: str

    def plan(self, views: Sequence[View], rng: np.random.Generator) -> list[View]:
        return [view.warped(self.affine(view.size), self.fill, self.interpolation) for view in views]

    def affine(self, size: Size) -> Affine:
        """Return the map of points of the result to points of an image of ``size``."""
        amount = self.amount
        if self.name == "Rotate":
            x, y = size[0] / 2, size[1] / 2
            cos, sin = math.cos(math.radians(amount)), math.sin(math.radians(amount))
            return cos, -sin, x - cos * x + sin * y, sin, cos, y - sin * x - cos * y
        maps: dict[str, Affine] = {
            "ShearX": (1, amount, 0, 0, 1, 0),
            "ShearY": (1, 0, 0, amount, 1, 0),
            "TranslateX": (1, 0, amount, 0, 1, 0),
            "TranslateY": (1, 0, 0, 0, 1, amount),
        }
        return maps[self.name]


Operation = PixelOperation | WarpOperation


@dataclass(kw_only=True, slots=True)
class RandomOperations(ValidatedConfig):
    """Base class of the transforms that draw operations."""

    fill: list[int] = option(
        [128, 128, 128], "Color of points from outside of the frame.", unit="gray levels", ge=0, le=255, length=3
    )
    interpolation: str = option("bilinear", "Interpolation of shears, translations, rotations.", choices=INTERPOLATIONS)

    def draw(self, size: Size, rng: np.random.Generator) -> list[Operation]:
        """Draw the operations for frames of ``size`` (width, height) in pixels, to be applied one after the other."""
        raise NotImplementedError

    def apply(self, frames: Frames, rng: np.random.Generator) -> Frames:
        """Draw operations and apply them to uint8 (T, H, W, 3), one after the other."""
        for operation in self.draw((frames.shape[2], frames.shape[1]), rng):
            frames = operation.apply(frames, rng).reshape(frames.shape)
        return frames

    def _operation(self, name: str, arguments: tuple[float, ...]) -> Operation | None:
        if name == "Identity":
            return None
        if name in _WARPS:
            fill = (self.fill[0], self.fill[1], self.fill[2])
            return WarpOperation(name=name, amount=arguments[0], fill=fill, interpolation=self.interpolation)
        return PixelOperation(name, arguments)


_TIMM = (
    "AutoContrast", "Equalize", "Invert", "Rotate", "Posterize", "Solarize", "SolarizeAdd", *_ENHANCEMENTS,
    "ShearX", "ShearY", "TranslateX", "TranslateY",
)  # fmt: skip
_TORCHVISION = (
    "Identity", "ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", *_ENHANCEMENTS, "Posterize", "Solarize",
    "AutoContrast", "Equalize",
)  # fmt: skip
_TIMM_LEVELS = 10.0
_TORCHVISION_BINS = 31


@dataclass(kw_only=True, slots=True)
class RandAugment(RandomOperations):
    """RandAugment (Cubuk et al. 2020, arXiv:1909.13719): ``num_layers`` operations of one magnitude, drawn uniformly.

    The defaults are ``rand-m7-n4-mstd0.5-inc1`` of timm, with which PySlowFast trains MViT and VideoMAE is fine-tuned.
    With the policy ``timm``, each operation is applied with ``probability``, and its magnitude is drawn from a normal
    distribution and cut to 0..10; a translation by 10 is 45 % of the side. The policy ``torchvision`` has the 14
    operations of its ``RandAugment`` (the option ``rand_augment_torchvision`` sets its defaults); its magnitude is a
    bin, 0 to 30. A clip is resampled bilinearly or to the nearest pixel, whereas timm also draws bicubic.
    """

    policy: str = option("timm", "Operations, and their arguments for a magnitude.", choices=("timm", "torchvision"))
    magnitude: float = option(7.0, "Magnitude of the operations: 0 to 10, with policy=torchvision 0 to 30.", ge=0)
    num_layers: int = option(4, "Operations drawn for a clip, with replacement.", unit="operations", ge=1)
    magnitude_std: float = option(
        0.5, "Standard deviation of the magnitude; .inf: uniform from 0 to magnitude.", ge=0, infinite=True
    )
    increasing: bool = option(
        True, "Severity increases with the magnitude for every operation; false: timm's rules without inc1."
    )
    probability: float = option(0.5, "Probability that a drawn operation is applied.", ge=0, le=1)

    def __post_init__(self) -> None:
        ValidatedConfig.__post_init__(self)
        is_timm = self.policy == "timm"
        largest = _TIMM_LEVELS if is_timm else _TORCHVISION_BINS - 1
        if self.magnitude > largest:
            raise ConfigError(
                f"must be <= {largest:g} with policy={self.policy}", key="magnitude", value=self.magnitude
            )
        if is_timm:
            return
        hint = "with policy=torchvision; transform=rand_augment_torchvision sets all of its defaults"
        if self.magnitude != int(self.magnitude):
            raise ConfigError(f"must be a whole number {hint}", key="magnitude", value=self.magnitude)
        if self.magnitude_std:
            raise ConfigError(f"must be 0 {hint}", key="magnitude_std", value=self.magnitude_std)
        if not self.increasing:
            raise ConfigError(f"must be true {hint}", key="increasing", value=False)

    def draw(self, size: Size, rng: np.random.Generator) -> list[Operation]:
        names = _TIMM if self.policy == "timm" else _TORCHVISION
        operations = []
        for index in rng.integers(len(names), size=self.num_layers):
            if rng.random() >= self.probability:
                continue
            name = names[index]
            if self.policy == "timm":
                arguments = _timm_arguments(name, self._level(rng), size, rng, increasing=self.increasing)
            else:
                arguments = _torchvision_arguments(name, int(self.magnitude), _TORCHVISION_BINS, _largest(size), rng)
            operations.append(self._operation(name, arguments))
        return [operation for operation in operations if operation is not None]

    def _level(self, rng: np.random.Generator) -> float:
        """Draw the magnitude of an operation, 0 to 10."""
        if math.isinf(self.magnitude_std):
            return float(rng.uniform(0, self.magnitude))
        level = rng.normal(self.magnitude, self.magnitude_std) if self.magnitude_std else self.magnitude
        return min(max(0.0, float(level)), _TIMM_LEVELS)


@dataclass(kw_only=True, slots=True)
class TrivialAugment(RandomOperations):
    """TrivialAugment (Mueller and Hutter 2021, arXiv:2103.10158): one operation of a random magnitude, both uniform.

    Operations, magnitudes and defaults are those of torchvision's ``TrivialAugmentWide``.
    """

    num_magnitude_bins: int = option(31, "Magnitudes from none to the largest one.", ge=2)
    fill: list[int] = option(
        [0, 0, 0], "Color of points from outside of the frame.", unit="gray levels", ge=0, le=255, length=3
    )
    interpolation: str = option("nearest", "Interpolation of shears, translations, rotations.", choices=INTERPOLATIONS)

    def draw(self, size: Size, rng: np.random.Generator) -> list[Operation]:
        name, bins = _TORCHVISION[rng.integers(len(_TORCHVISION))], self.num_magnitude_bins
        arguments = _torchvision_arguments(name, int(rng.integers(bins)), bins, _LARGEST_WIDE, rng)
        operation = self._operation(name, arguments)
        return [] if operation is None else [operation]


def _signed(value: float, rng: np.random.Generator) -> float:
    return -value if rng.random() < 0.5 else value


def _timm_arguments(
    name: str, level: float, size: Size, rng: np.random.Generator, *, increasing: bool
) -> tuple[float, ...]:
    """Return the arguments of an operation for a magnitude from 0 to 10, with timm's rules."""
    share = level / _TIMM_LEVELS
    if name in _ENHANCEMENTS:
        return (max(0.1, 1.0 + _signed(share * 0.9, rng)) if increasing else share * 1.8 + 0.1,)
    if name == "Rotate":
        return (_signed(share * 30.0, rng),)
    if name in ("ShearX", "ShearY"):
        return (_signed(share * 0.3, rng),)
    if name in ("TranslateX", "TranslateY"):
        return (_signed(share * 0.45, rng) * size[name == "TranslateY"],)
    if name == "Posterize":
        return (4 - int(share * 4) if increasing else int(share * 4),)
    if name == "Solarize":
        threshold = min(256, int(share * 256))
        return (256 - threshold if increasing else threshold,)
    return (min(128, int(share * 110)),) if name == "SolarizeAdd" else ()


#: The largest arguments of torchvision's ``TrivialAugmentWide``; translations in pixels.
_LARGEST_WIDE: dict[str, float] = {
    "ShearX": 0.99, "ShearY": 0.99, "TranslateX": 32.0, "TranslateY": 32.0, "Rotate": 135.0, "Posterize": 6,
    **dict.fromkeys(_ENHANCEMENTS, 0.99),
}  # fmt: skip


def _largest(size: Size) -> dict[str, float]:
    """Return the largest arguments of torchvision's ``RandAugment`` for frames of a size."""
    return {
        "ShearX": 0.3, "ShearY": 0.3, "TranslateX": 150.0 / 331.0 * size[0], "TranslateY": 150.0 / 331.0 * size[1],
        "Rotate": 30.0, "Posterize": 4, **dict.fromkeys(_ENHANCEMENTS, 0.9),
    }  # fmt: skip


def _magnitude(largest: float, index: int, bins: int) -> float:
    """Return entry ``index`` of ``torch.linspace(0, largest, bins)``, to the bit: translations are truncated."""
    step = float(np.float32(largest) / np.float32(bins - 1))
    exact = step * index if index < bins // 2 else float(np.float32(largest)) - step * (bins - 1 - index)
    return float(np.float32(exact))


def _torchvision_arguments(
    name: str, index: int, bins: int, largest: Mapping[str, float], rng: np.random.Generator
) -> tuple[float, ...]:
    """Return the arguments of an operation for magnitude ``index`` of ``bins``, with torchvision's rules."""
    if name == "Posterize":
        return (8 - round(index / ((bins - 1) / largest[name])),)
    if name == "Solarize":
        return (_magnitude(255, bins - 1 - index, bins),)
    if name not in largest:
        return ()
    magnitude = _signed(_magnitude(largest[name], index, bins), rng)
    if name in ("TranslateX", "TranslateY"):
        return (-int(magnitude),)  # torchvision's translations move the image to the right or down
    return (1.0 + magnitude,) if name in _ENHANCEMENTS else (magnitude,)
