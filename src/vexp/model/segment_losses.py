"""Losses of temporal localization. Ground truth is given per video, in positions of the features."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vexp.model.architectures.actionformer import PyramidOutput
from vexp.model.architectures.bmn import BmnOutput, boundary_labels

_EPSILON = 1e-5  # added to probabilities before the logarithm
_RATIOS = (1.05, 21.0)  # range of the ratio of all entries to the positive ones


@dataclass(frozen=True, slots=True)
class SegmentTargets:
    """Ground truth of N videos.

    Attributes:
        segments: Start and end in units of features, float (K, 2) for each video; feature t covers t to t + 1.
        labels: Class indices, int64 (K,) for each video.
        seeds: Of the random numbers that a loss draws for each video; equal for all by default.
        total: Function that returns the sum of a tensor over the processes which share the batch.
    """

    segments: Sequence[Tensor]
    labels: Sequence[Tensor]
    seeds: Sequence[int] = ()
    total: Callable[[Tensor], Tensor] = Tensor.detach

    def select(self, index: int) -> SegmentTargets:
        """Return the ground truth of one video."""
        part = slice(index, index + 1)
        return SegmentTargets(self.segments[part], self.labels[part], self.seeds[part])


class BmnLoss(nn.Module):
    """Loss of ``Bmn``: boundaries (TEM) and confidence of segments (PEM), balanced within the batch (Lin et al. 2019).

    If processes share a batch, the numbers that balance it are those of the whole batch (``SegmentTargets.total``), and
    the mean of the losses of all processes, each weighted by its number of videos, is the loss of the whole batch.

    Returns ``loss`` and its parts ``loss_boundary``, ``loss_regression`` and ``loss_classification``.
    """

    def __init__(self, *, regression_weight: float, classification_weight: float, limit_ratio: bool) -> None:
        super().__init__()
        self.regression_weight, self.classification_weight = regression_weight, classification_weight
        self.limit_ratio = limit_ratio

    def forward(self, output: BmnOutput, targets: SegmentTargets) -> dict[str, Tensor]:
        length = output.start.shape[1]
        labels = [boundary_labels(segments / length, length) for segments in targets.segments]
        iou, start, end = (torch.stack(part).to(output.start.device) for part in zip(*labels, strict=True))
        draws = torch.stack([_draws(seed, length) for seed in targets.seeds or [0] * len(iou)], 1).to(iou.device)
        return self.from_labels(output, iou, start, end, draws, targets.total)

    def from_labels(
        self,
        output: BmnOutput,
        iou: Tensor,
        start: Tensor,
        end: Tensor,
        draws: Tensor,
        total: Callable[[Tensor], Tensor] = Tensor.detach,
    ) -> dict[str, Tensor]:
        """Return the losses for the targets of ``boundary_labels``, stacked over the videos.

        Args:
            output: Of the model, for N videos.
            iou: float (N, T, T).
            start: float (N, T).
            end: float (N, T).
            draws: Uniform random numbers, float (2, N, T, T), which choose segments of medium and of low IoU.
            total: ``SegmentTargets.total``.
        """
        boundary = balanced_log_loss(output.start, start, total) + balanced_log_loss(output.end, end, total)
        index = torch.arange(output.start.shape[1], device=iou.device)
        valid = (index[:, None] + index < len(index)).float()  # segments within the video, (T, T)
        iou, confidence = iou * valid, output.confidence.float()
        share = len(iou) / total(iou.new_tensor(float(len(iou))))  # of the videos of the batch in this process
        regression = self._regression(confidence[:, 0], iou, valid, draws, total) / share
        classification = _classification(confidence[:, 1], iou, valid, total) / share
        loss = boundary + self.regression_weight * regression + self.classification_weight * classification
        parts = {"boundary": boundary, "regression": regression, "classification": classification}
        return {"loss": loss} | {f"loss_{name}": value for name, value in parts.items()}

    def _regression(
        self, score: Tensor, iou: Tensor, valid: Tensor, draws: Tensor, total: Callable[[Tensor], Tensor]
    ) -> Tensor:
        """Return half of the squared error over all segments of high IoU and as many drawn of medium and of low IoU."""
        high = (iou > 0.7).float()
        groups = ((iou <= 0.7) & (iou > 0.3), (iou <= 0.3) & (iou > 0) & (valid > 0))
        counts = total(torch.stack([high.sum(), *(group.sum() for group in groups)]))
        chosen = high
        for group, draw, ratio in zip(groups, draws, counts[0] / counts[1:], strict=True):
            if self.limit_ratio:
                ratio = ratio.nan_to_num(1.0).clamp(max=1)
                chosen = chosen + (group & (draw >= 1 - ratio))
            else:  # above 1, every place of the map is chosen
                chosen = chosen + (group * draw > 1 - ratio)
        error = F.mse_loss(score * chosen, iou * chosen, reduction="sum")
        return 0.5 * error / total(chosen.sum()).clamp(min=1)


def _draws(seed: int, length: int) -> Tensor:
    """Return the random numbers of a video, float (2, T, T)."""
    return torch.rand(2, length, length, generator=torch.Generator().manual_seed(seed))


def balanced_log_loss(
    score: Tensor, label: Tensor, total: Callable[[Tensor], Tensor] = Tensor.detach, threshold: float = 0.5
) -> Tensor:
    """Return the cross entropy of probabilities, with equal weights of labels above ``threshold`` and of the others."""
    score, positive = score.float().reshape(-1), (label.reshape(-1) > threshold).float()
    entries, count = total(torch.stack([positive.new_tensor(float(len(score))), positive.sum()]))
    ratio = (entries / count.clamp(min=1)).clamp(*_RATIOS)
    weighted = 0.5 * ratio * positive * torch.log(score + _EPSILON)
    weighted = weighted + 0.5 * ratio / (ratio - 1) * (1 - positive) * torch.log(1 - score + _EPSILON)
    return -weighted.mean()


def _classification(score: Tensor, iou: Tensor, valid: Tensor, total: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the balanced cross entropy of "IoU above 0.9" over the segments within the video."""
    positive = (iou > 0.9).float()
    negative = (iou <= 0.9).float() * valid
    count, others = total(torch.stack([positive.sum(), negative.sum()]))
    count = count.clamp(min=1)
    entries = count + others
    ratio = (entries / count).clamp(*_RATIOS)
    weighted = 0.5 * ratio * positive * torch.log(score + _EPSILON)
    weighted = weighted + 0.5 * ratio / (ratio - 1) * negative * torch.log(1 - score + _EPSILON)
    return -weighted.sum() / entries


class ActionFormerLoss(nn.Module):
    """Loss of ``ActionFormer``: focal loss of the classes, DIoU loss of the distances to start and end.

    Both are sums over the points of a video divided by its number of positive points, averaged over the videos. So the
    loss of a batch is the mean of those of its parts. (The paper's code divides by a moving average of that number.)

    Returns ``loss`` and its parts ``loss_classification`` and ``loss_regression``.
    """

    def __init__(
        self, *, radius: float, alpha: float, gamma: float, regression_weight: float, label_smoothing: float
    ) -> None:
        super().__init__()
        self.radius, self.alpha, self.gamma = radius, alpha, gamma
        self.regression_weight, self.label_smoothing = regression_weight, label_smoothing

    def forward(self, output: PyramidOutput, targets: SegmentTargets) -> dict[str, Tensor]:
        logits, distances = output.logits.float(), output.distances.float()
        classes, regression = [], []
        for i, (segments, labels) in enumerate(zip(targets.segments, targets.labels, strict=True)):
            truth, target = assign_points(output.points, segments, labels, logits.shape[-1], self.radius)
            positive = (truth.sum(1) > 0) & output.valid[i]
            count = positive.sum().clamp(min=1)
            smooth = truth * (1 - self.label_smoothing) + self.label_smoothing / (logits.shape[-1] + 1)
            focal = focal_loss(logits[i][output.valid[i]], smooth[output.valid[i]], self.alpha, self.gamma)
            classes.append(focal.sum() / count)
            regression.append(diou_loss(distances[i][positive], target[positive]).sum() / count)
        classification, offset = torch.stack(classes).mean(), torch.stack(regression).mean()
        total = classification + self.regression_weight * offset
        return {"loss": total, "loss_classification": classification, "loss_regression": offset}


def assign_points(
    points: Tensor, segments: Tensor, labels: Tensor, num_classes: int, radius: float
) -> tuple[Tensor, Tensor]:
    """Return the targets of the P points of a pyramid: float (P, classes) of 0 and 1, and float (P, 2) distances.

    A point belongs to a segment if it is within ``radius`` strides of its center and inside of it, and the larger
    distance to start and end lies in the range of its level; of several segments, to the shortest. The distances are in
    strides.

    Args:
        points: Position, stride, and range of distances (low, high) of each point, float (P, 4).
        segments: Ground truth (K, 2), in units of features.
        labels: Class indices (K,).
        num_classes: Number of classes.
        radius: Radius of center sampling, in strides.
    """
    target = points.new_zeros(len(points), num_classes)
    if not len(segments):
        return target, points.new_zeros(len(points), 2)
    position, stride, low, high = (column[:, None] for column in points.T)  # (P, 1)
    start, end = segments.to(points.dtype).T  # (K,)
    distances = torch.stack((position - start, end - position), 2)  # (P, K, 2)
    center, farther = (start + end) / 2, distances.amax(2)
    belongs = (distances.amin(2) > 0) & ((position - center).abs() < radius * stride)
    belongs &= (farther >= low) & (farther <= high)
    length = torch.where(belongs, (end - start).expand_as(belongs), torch.inf)
    shortest, index = length.min(1)
    equal = belongs & (length <= shortest[:, None] + 1e-3)  # segments of several classes at one place
    target = target.index_add(1, labels, equal.to(points.dtype)).clamp(max=1)
    return target, distances[torch.arange(len(points), device=index.device), index] / stride


def focal_loss(logits: Tensor, targets: Tensor, alpha: float, gamma: float) -> Tensor:
    """Return the sigmoid focal loss of each entry (Lin et al., ICCV 2017)."""
    probability = torch.sigmoid(logits)
    entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    correct = probability * targets + (1 - probability) * (1 - targets)
    weight = alpha * targets + (1 - alpha) * (1 - targets)
    return weight * entropy * (1 - correct) ** gamma


def diou_loss(distances: Tensor, targets: Tensor) -> Tensor:
    """Return 1 - IoU + (distance of the centers / length of the hull)^2 of segments around common points, (M,).

    Both arguments are distances to start and end, >= 0, float (M, 2) (Zheng et al., AAAI 2020, in one dimension).
    """
    shared = torch.minimum(distances, targets).sum(1)
    hull = torch.maximum(distances, targets).sum(1).clamp(min=1e-8)
    union = (distances.sum(1) + targets.sum(1) - shared).clamp(min=1e-8)
    offset = 0.5 * ((distances[:, 1] - distances[:, 0]) - (targets[:, 1] - targets[:, 0]))
    return 1 - shared / union + (offset / hull) ** 2
