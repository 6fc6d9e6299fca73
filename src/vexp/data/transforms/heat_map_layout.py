"""Heat maps of the joints of a sample, drawn on the device from the joints that a worker transfers.

The joints of a clip have a thousandth of the size of its heat maps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from vexp.data.transforms.view import Size

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class HeatMapLayout:
    """The views of one sample as heat maps; it takes the place of a ``ViewLayout``."""

    dtype: ClassVar[str] = "float32"  # of the views
    is_identity: ClassVar[bool] = False

    shape: tuple[int, ...]  # of the joints, float32 (K, persons, frames, joints, 3), in pixels of K crops
    size: Size  # (width, height) of the heat maps
    crops: int  # K, or 2 K: the mirror images of the K crops follow
    clips: int  # per crop
    clip_len: int  # frames per clip, T
    sigma: float  # in pixels
    with_kp: bool  # draw joints
    limbs: tuple[tuple[int, ...], ...]  # pairs of joints, whose limbs are drawn
    mirrored_channels: tuple[int, ...]  # the heat map that each becomes in a mirror image

    @property
    def views(self) -> int:
        """Number of views V, crops x clips."""
        return self.crops * self.clips

    @property
    def view_shape(self) -> tuple[int, int, int, int]:
        """Shape (T, H, W, C) of every view."""
        return (self.clip_len, self.size[1], self.size[0], len(self.mirrored_channels))

    @property
    def num_bytes(self) -> int:
        return math.prod(self.shape) * 4

    def build(self, pixels: torch.Tensor, positions: torch.Tensor, out: torch.Tensor, start: int = 0) -> None:
        """Write the views from index ``start`` on into ``out``, float32 (n, T, H, W, C), on the same device.

        ``pixels`` are the bytes of the joints, uint8 (num_bytes,), ``positions`` the index of the distinct frame for
        each frame of each clip, int64 (clips * clip_len,).
        """
        import torch

        joints, of_clip = pixels.view(torch.float32).view(self.shape), positions.view(self.clips, self.clip_len)
        for place in range(len(out)):
            crop, clip = divmod(start + place, self.clips)
            maps = self._draw(joints[crop % len(joints)].index_select(1, of_clip[clip]))
            if crop >= len(joints):
                maps = maps.flip(2)[..., list(self.mirrored_channels)]
            out[place] = maps

    def _draw(self, joints: torch.Tensor) -> torch.Tensor:
        """Draw (persons, T, joints, 3) as (T, H, W, C), the maximum over the persons."""
        import torch

        parts = []
        if self.with_kp:
            parts.append([self._points(person) for person in joints])
        if self.limbs:
            a, b = torch.tensor(self.limbs, device=joints.device).unbind(1)
            parts.append([self._lines(person[:, a], person[:, b]) for person in joints])
        return torch.cat([torch.stack(maps).amax(0) for maps in parts], dim=-1)

    def _points(self, joints: torch.Tensor) -> torch.Tensor:
        """Draw the joints of a person: (T, joints, 3) to (T, H, W, joints); the Gaussian of x times that of y."""
        import torch

        x, y, score = joints.unbind(-1)
        rows, columns = (self._bump(center, side) for center, side in ((y, self.size[1]), (x, self.size[0])))
        return torch.einsum("tkh,tkw->thwk", rows * score[..., None], columns)

    def _bump(self, center: torch.Tensor, side: int) -> torch.Tensor:
        """Return the Gaussian of the pixels 0..side-1 around ``center`` (T, joints), within 3 sigma: (..., side)."""
        import torch

        pixels, reach = torch.arange(side, dtype=torch.float32, device=center.device), 3 * self.sigma
        center = center[..., None]
        values = torch.exp(-((pixels - center) ** 2) / (2 * self.sigma**2))
        return values * _within(pixels, center - reach, center + reach)

    def _lines(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Draw the limbs between the joints ``a`` and ``b`` of a person, (T, limbs, 3), to (T, H, W, limbs)."""
        import torch

        reach = 3 * self.sigma
        short = ((a - b)[..., :2] ** 2).sum(-1, keepdim=True) < 1  # drawn as the joint a
        seen = torch.minimum(a[..., 2], b[..., 2]) > 0
        score = torch.where(short[..., 0], a[..., 2], torch.minimum(a[..., 2], b[..., 2])) * seen
        a, b = a[..., :2], torch.where(short, a[..., :2], b[..., :2])
        low, high = torch.minimum(a, b) - reach, torch.maximum(a, b) + reach
        pixels = [torch.arange(side, dtype=torch.float32, device=a.device) for side in self.size]
        # (T, H, W, limbs): x along the columns, y along the rows
        x, y = pixels[0][:, None], pixels[1][:, None, None]
        (ax, ay), (bx, by) = (points[:, None, None].unbind(-1) for points in (a, b))
        dx, dy = bx - ax, by - ay
        share = ((x - ax) * dx + (y - ay) * dy) / (dx**2 + dy**2).clamp(min=1)
        share = share.clamp(0, 1)
        distance = (x - ax - share * dx) ** 2 + (y - ay - share * dy) ** 2
        low_x, low_y, high_x, high_y = (edge[:, None, None] for edge in (*low.unbind(-1), *high.unbind(-1)))
        inside = _within(x, low_x, high_x) & _within(y, low_y, high_y)
        return torch.exp(-distance / (2 * self.sigma**2)) * inside * score[:, None, None]


def _within(pixels: torch.Tensor, low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
    """Return whether pixels are in the range, whose ends are rounded toward zero, as by mmaction2."""
    return (pixels >= low.trunc()) & (pixels <= high.trunc())
