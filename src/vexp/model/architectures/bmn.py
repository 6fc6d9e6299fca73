"""BMN (Lin et al., ICCV 2019): boundary scores of every position and the confidence of every segment of a video.

The names of the layers are those of mmaction2, so its checkpoints load without renaming.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F


class BmnOutput(NamedTuple):
    """The output of ``Bmn`` for N videos of T positions; all values are probabilities.

    ``confidence[:, :, d, s]`` is that of the segment from position s to s + d + 1, in units of 1 / T of the video.
    """

    confidence: Tensor  # float (N, 2, T, T): trained by regression and by classification of the IoU
    start: Tensor  # float (N, T)
    end: Tensor  # float (N, T)

    def select(self, index: int) -> BmnOutput:
        """Return the output for one video, N = 1."""
        return BmnOutput(*(part[index : index + 1] for part in self))


class Bmn(nn.Module):
    """Boundary-matching network: float (N, C, T) features -> ``BmnOutput``. T is fixed."""

    sample_mask: Tensor  # float32 (T, samples * T * T), the weights of ``sample_mask``

    def __init__(
        self,
        *,
        feature_dim: int,
        length: int,
        boundary_ratio: float = 0.5,
        num_samples: int = 32,
        num_samples_per_bin: int = 3,
        hidden_1d: int = 256,
        hidden_2d: int = 128,
        hidden_3d: int = 512,
    ) -> None:
        super().__init__()
        self.length, self.num_samples = length, num_samples
        self.x_1d_b = nn.Sequential(_conv(feature_dim, hidden_1d), nn.ReLU(), _conv(hidden_1d, hidden_1d), nn.ReLU())
        self.x_1d_s = nn.Sequential(_conv(hidden_1d, hidden_1d), nn.ReLU(), nn.Conv1d(hidden_1d, 1, 1), nn.Sigmoid())
        self.x_1d_e = nn.Sequential(_conv(hidden_1d, hidden_1d), nn.ReLU(), nn.Conv1d(hidden_1d, 1, 1), nn.Sigmoid())
        self.x_1d_p = nn.Sequential(nn.Conv1d(hidden_1d, hidden_1d, 3, padding=1), nn.ReLU())
        self.x_3d_p = nn.Sequential(nn.Conv3d(hidden_1d, hidden_3d, (num_samples, 1, 1)), nn.ReLU())
        self.x_2d_p = nn.Sequential(
            nn.Conv2d(hidden_3d, hidden_2d, 1), nn.ReLU(),
            nn.Conv2d(hidden_2d, hidden_2d, 3, padding=1), nn.ReLU(),
            nn.Conv2d(hidden_2d, hidden_2d, 3, padding=1), nn.ReLU(),
            nn.Conv2d(hidden_2d, 2, 1), nn.Sigmoid(),
        )  # fmt: skip
        mask = sample_mask(length, boundary_ratio, num_samples, num_samples_per_bin)
        self.register_buffer("sample_mask", mask, persistent=False)

    def forward(self, features: Tensor) -> BmnOutput:
        base = self.x_1d_b(features)
        start, end = self.x_1d_s(base).squeeze(1), self.x_1d_e(base).squeeze(1)
        sampled = torch.matmul(self.x_1d_p(base), self.sample_mask)
        sampled = sampled.view(*sampled.shape[:2], self.num_samples, self.length, self.length)
        return BmnOutput(self.x_2d_p(self.x_3d_p(sampled).squeeze(2)), start, end)


def _conv(in_channels: int, out_channels: int) -> nn.Conv1d:
    return nn.Conv1d(in_channels, out_channels, 3, padding=1, groups=4)


def sample_mask(length: int, boundary_ratio: float, num_samples: int, num_samples_per_bin: int) -> Tensor:
    """Return the weights of the boundary-matching layer, float32 (T, num_samples * T * T).

    Column ``(n * T + d) * T + s`` has the weights of the positions in sample n of the segment from s to s + d. A sample
    is the mean of ``num_samples_per_bin`` linear interpolations, evenly spaced over the segment, which is extended at
    both ends by ``boundary_ratio`` of its length. Positions outside of the video have no weight.
    """
    points = num_samples * num_samples_per_bin
    duration, start = np.mgrid[:length, :length]
    margin = (duration + 1) * boundary_ratio
    spacing = (duration + 2 * margin) / (points - 1)
    position = (start - margin) + spacing * np.arange(points)[:, None, None]  # (points, T, T)
    point, d, s = np.nonzero(np.broadcast_to(start + duration < length, position.shape))
    position = position[point, d, s]
    below = np.trunc(position)
    fraction = position - below
    mask = np.zeros((length, num_samples, length, length))
    for index, weight in ((below, 1 - fraction), (np.ceil(position), fraction)):
        used = (index >= 0) & (index < length)
        place = (index[used].astype(np.int64), point[used] // num_samples_per_bin, d[used], s[used])
        np.add.at(mask, place, weight[used] / num_samples_per_bin)
    return torch.from_numpy(mask.reshape(length, -1).astype(np.float32))


def boundary_labels(segments: Tensor, length: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the targets of a video: float32 (T, T) IoU as ``BmnOutput.confidence``, (T,) start, (T,) end.

    The IoU of segments that end after the video is not masked.
    A position is scored by the part of it, with half a position at both sides, that lies in the region of 3 / T around
    the start or end of a segment.

    Args:
        segments: Ground truth (K, 2) in units of the video's length; all targets are 0 without one.
        length: T.
    """
    gap = 1.0 / length
    index = torch.arange(length, dtype=torch.float64, device=segments.device)
    if not len(segments):
        empty = torch.zeros(length, device=segments.device)
        return empty.expand(length, length), empty, empty
    segments = segments.double()
    first, last = segments[:, 0, None, None], segments[:, 1, None, None]  # (K, 1, 1)
    start = (index * gap)[None, None]
    stop = start + ((index + 1) * gap)[None, :, None]
    shared = (torch.minimum(stop, last) - torch.maximum(start, first)).clamp(min=0)
    iou = (shared / (stop - start + last - first - shared)).amax(0)
    lower, upper = gap * (index - 0.5), gap * (index + 1.5)
    scores = []
    for boundary in segments.T:
        near, far = boundary[:, None] - 1.5 * gap, boundary[:, None] + 1.5 * gap
        scores.append(((torch.minimum(upper, far) - torch.maximum(lower, near)).clamp(min=0) / (2 * gap)).amax(0))
    return iou.float(), scores[0].float(), scores[1].float()


def boundary_candidates(output: BmnOutput, *, last_bin: bool = True) -> list[tuple[Tensor, Tensor]]:
    """Return the candidates of each video: float64 (M, 2) positions of start and end in 0..T, and float64 (M,) scores.

    A position is a possible start or end if its score is a strict local maximum or above half of the largest one; the
    first is always a start, the last always an end. Every pair of a start and a later end is a candidate, with the
    product of the four probabilities as its score.

    Args:
        output: The output of the model.
        last_bin: Whether the end of the video is an end, too, with the score of the last position (mmaction2: no).
    """
    result = []
    for confidence, start, end in zip(*(part.detach().cpu().double() for part in output), strict=True):
        length = len(start)
        first, last = _peaks(start), _peaks(end)
        first[0], last[-1] = True, True
        if last_bin:
            end, last = torch.cat((end, end[-1:])), torch.cat((last, last[-1:]))
        pairs = torch.cartesian_prod(torch.nonzero(first)[:, 0], torch.nonzero(last)[:, 0])
        begin, stop = pairs[pairs[:, 1] > pairs[:, 0]].T
        order = torch.argsort((stop - begin) * length + begin)  # by duration, then start: decides between ties
        begin, stop = begin[order], stop[order]
        score = (
            start[begin] * end[stop] * confidence[0, stop - begin - 1, begin] * confidence[1, stop - begin - 1, begin]
        )
        result.append((torch.stack((begin, stop), 1).double(), score))
    return result


def _peaks(score: Tensor) -> Tensor:
    """Return which inner positions are a strict local maximum, or above half of the largest score: bool (T,)."""
    left, right = F.pad(score, (1, 0))[:-1], F.pad(score, (0, 1))[1:]
    peaks = ((score > left) & (score > right)) | (score > 0.5 * score.max())
    peaks[[0, -1]] = False
    return peaks
