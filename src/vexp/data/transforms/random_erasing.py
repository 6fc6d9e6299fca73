"""Random erasing of a box of a clip."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from vexp.core.errors import ConfigError
from vexp.core.fields import ValidatedConfig, option
from vexp.core.lazy import np
from vexp.data.pixel_type import Frames
from vexp.data.transforms.photometric import check_rgb

_ATTEMPTS = 10  # to draw a box that is smaller than the frame
Box = tuple[int, int, int, int]  # x, y, width, height in pixels


@dataclass(kw_only=True, slots=True)
class RandomErasing(ValidatedConfig):
    """Erase a box of random area and aspect ratio (Zhong et al. 2020, arXiv:1708.04896), the same in all frames.

    Arguments, defaults and the draw of the box are those of timm; one box for all frames is VideoMAE's and PySlowFast's
    "cube". timm erases normalized values: its noise is normal with mean 0 and standard deviation 1. Here the frames are
    still uint8, so the noise has ``mean`` and ``std``, which must be those of ``img_norm``; it is rounded to gray
    levels (of about 1/58 of ``std``) and cut to 0..255, that is 2 standard deviations, as any pixel of a video is.
    """

    probability: float = option(0.25, "Probability that a clip is erased.", ge=0, le=1)
    mode: str = option(
        "pixel",
        "Content of the box: noise of each pixel and frame, uniform noise, one random color, or mean.",
        choices=("pixel", "uniform", "rand", "const"),
    )
    max_count: int = option(
        1, "Maximum number of boxes; it is drawn from 1 to this number, which divides their area.", ge=1
    )
    min_area: float = option(0.02, "Minimum area of the boxes as a fraction of the frame.", gt=0, le=1)
    max_area: float = option(1 / 3, "Maximum area of the boxes as a fraction of the frame.", gt=0, le=1)
    min_aspect: float = option(0.3, "Minimum aspect ratio, height / width; its inverse is the maximum.", gt=0, le=1)
    mean: list[float] = option(
        [123.675, 116.28, 103.53], "Mean of the noise, and the color of mode=const.", unit="gray levels", length=3
    )
    std: list[float] = option(
        [58.395, 57.12, 57.375], "Standard deviation of the noise.", unit="gray levels", ge=0, length=3
    )

    def __post_init__(self) -> None:
        ValidatedConfig.__post_init__(self)
        if self.min_area > self.max_area:
            raise ConfigError(f"must be <= max_area={self.max_area:g}", key="min_area", value=self.min_area)

    def apply(self, frames: Frames, rng: np.random.Generator) -> Frames:
        """Transform uint8 (T, H, W, 3) RGB to the same shape.

        Raises:
            UserError: If the frames do not have three channels (optical flow).
        """
        check_rgb(frames, "RandomErasing")
        if rng.random() >= self.probability:
            return frames
        erased = frames.copy()
        count = int(rng.integers(1, self.max_count, endpoint=True))
        for _ in range(count):
            box = self.box((frames.shape[2], frames.shape[1]), rng, count)
            if box is not None:
                x, y, width, height = box
                erased[:, y : y + height, x : x + width] = self._content((len(frames), height, width), rng)
        return erased

    def box(self, size: tuple[int, int], rng: np.random.Generator, count: int = 1) -> Box | None:
        """Draw one of ``count`` boxes for frames of ``size`` (width, height); None if none of ten fits."""
        width, height = size
        limits = -math.log(self.min_aspect)
        for _ in range(_ATTEMPTS):
            area = rng.uniform(self.min_area, self.max_area) * width * height / count
            aspect = math.exp(rng.uniform(-limits, limits))
            h, w = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if w < width and h < height:
                y, x = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
                return x, y, w, h
        return None

    def _content(self, shape: tuple[int, int, int], rng: np.random.Generator) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """Return the pixels of a box (T, h, w): uint8 (T, h, w, 3), or one color (3,)."""
        if self.mode == "uniform":  # mmaction2's mode="rand"
            return rng.integers(256, size=(*shape, 3), dtype=np.uint8)
        mean, std = np.array(self.mean, np.float32), np.array(self.std, np.float32)
        if self.mode == "const":
            std = std * 0
        noise = rng.standard_normal((*shape, 3) if self.mode == "pixel" else 3, dtype=np.float32)
        noise *= std
        noise += mean
        return np.clip(np.rint(noise, out=noise), 0, 255, out=noise).astype(np.uint8)
