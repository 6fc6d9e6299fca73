"""Options of the ``model`` and ``loss`` groups for temporal localization: they find segments in features of a video."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from vexp.core.errors import ConfigError
from vexp.core.fields import ValidatedConfig, option
from vexp.model.config import Model

if TYPE_CHECKING:
    from torch import Tensor, nn


class Candidates(NamedTuple):
    """Candidates of a video before non-maximum suppression."""

    segments: Tensor  # float64 (M, 2), start and end in units of features: feature t covers t to t + 1
    scores: Tensor  # float64 (M,)
    labels: Tensor  # int64 (M,), class indices; 0 for proposals, which have no class


@dataclass(kw_only=True, slots=True)
class Localizer(Model, ABC):
    """Base class of models that map features, float (N, C, T), and bool (N, T) to segments."""

    task: ClassVar[str] = "localization"
    exported: ClassVar[Mapping[str, str]] = {}  # outputs of ``vexp export`` and their meaning: the first of the model
    has_classes: ClassVar[bool] = True  # False: proposals without classes

    feature_dim: int = option(400, "Channels of the features; ${data.feature_dim} is that of the data.", ge=1)
    nms_alpha: float = option(
        0.4, "Soft-NMS: the scores of overlapping segments are multiplied by exp(-IoU^2 / alpha).", gt=0
    )
    nms_low: float = option(0.0, "Soft-NMS: smallest overlap that matters, for a segment without length.", ge=0, le=1)
    nms_high: float = option(
        0.0, "Soft-NMS: smallest overlap that matters, for a segment as long as the video.", ge=0, le=1
    )
    max_segments: int = option(100, "Largest number of predicted segments per video.", unit="segments", ge=1)

    def __post_init__(self) -> None:
        ValidatedConfig.__post_init__(self)
        if self.probe is not None:
            raise ConfigError("is for encoders of clips; localizers have none", key="probe", value=self.probe)

    def check_length(self, length: int | None) -> None:
        """Check the number of features of every video (``data.length``; None: it differs).

        Raises:
            ConfigError: If the model cannot take it.
        """

    @abstractmethod
    def inputs(self, features: Tensor, valid: Tensor) -> tuple[Tensor, ...]:
        """Return the arguments of the model."""

    @abstractmethod
    def candidates(self, output: Any) -> list[Candidates]:
        """Return the candidates of each video in an output of the model."""


def _multiple_of_four(value: int) -> str | None:
    return None if value % 4 == 0 else "must be a multiple of 4, the number of groups"


@dataclass(kw_only=True, slots=True)
class Bmn(Localizer):
    """BMN: proposals from boundary scores and a map of confidences (``vexp.model.architectures.bmn``)."""

    has_classes: ClassVar[bool] = False
    exported: ClassVar[Mapping[str, str]] = {
        "confidence": "(N, 2, T, T): probabilities of the segment from s to s + d + 1 at [d, s]",
        "start": "(N, T): probability that a segment starts at each position",
        "end": "(N, T): probability that a segment ends at each position",
    }

    length: int | None = option(
        100, "Features of every video; ${data.length} is that of the data.", unit="features", ge=3
    )
    boundary_ratio: float = option(0.5, "Extension of a segment at either end, relative to its length.", ge=0)
    num_samples: int = option(32, "Samples of each segment.", ge=1)
    num_samples_per_bin: int = option(3, "Interpolated positions per sample.", ge=1)
    hidden_1d: int = option(256, "Channels of the convolutions over time.", ge=4, check=_multiple_of_four)
    hidden_2d: int = option(128, "Channels of the convolutions over the map of segments.", ge=1)
    hidden_3d: int = option(512, "Channels of a sampled segment.", ge=1)
    last_bin: bool = option(True, "Propose segments that end with the video; false is mmaction2's rule.")
    nms_low: float = option(0.5, "Soft-NMS: smallest overlap that matters, for a segment without length.", ge=0, le=1)
    nms_high: float = option(
        0.9, "Soft-NMS: smallest overlap that matters, for a segment as long as the video.", ge=0, le=1
    )

    def __post_init__(self) -> None:
        Localizer.__post_init__(self)
        if self.feature_dim % 4:
            rule = "must be a multiple of 4, the number of groups of the first convolution"
            raise ConfigError(rule, key="feature_dim", value=self.feature_dim)
        if self.num_samples * self.num_samples_per_bin < 2:
            rule = f"must be at least 2 with num_samples_per_bin={self.num_samples_per_bin}"
            raise ConfigError(rule, key="num_samples", value=self.num_samples)

    def build_architecture(self, num_classes: int) -> nn.Module:
        from vexp.model.architectures import bmn

        if self.length is None:
            raise ConfigError("set it to the number of features of every video", key="model.length", value=None)
        return bmn.Bmn(
            feature_dim=self.feature_dim, length=self.length, boundary_ratio=self.boundary_ratio,
            num_samples=self.num_samples, num_samples_per_bin=self.num_samples_per_bin, hidden_1d=self.hidden_1d,
            hidden_2d=self.hidden_2d, hidden_3d=self.hidden_3d,
        )  # fmt: skip

    def adapt(self, tensors: Mapping[str, Tensor], model: nn.Module) -> Mapping[str, Tensor]:
        """Leave out the constant mask that mmaction2's checkpoints hold; the other names are the same."""
        return {key: tensor for key, tensor in tensors.items() if key != "sample_mask"}

    def check_length(self, length: int | None) -> None:
        if length is None:
            rule = "the model takes videos of one length; set it, such as data.length=100"
            raise ConfigError(rule, key="data.length", value=None)
        if length != self.length:
            raise ConfigError(f"must be data.length={length}", key="model.length", value=self.length)

    def inputs(self, features: Tensor, valid: Tensor) -> tuple[Tensor, ...]:
        return (features,)

    def candidates(self, output: Any) -> list[Candidates]:
        import torch

        from vexp.model.architectures.bmn import boundary_candidates

        found = boundary_candidates(output, last_bin=self.last_bin)
        return [Candidates(*each, torch.zeros(len(each[0]), dtype=torch.int64)) for each in found]


@dataclass(kw_only=True, slots=True)
class ActionFormer(Localizer):
    """ActionFormer: a transformer with local attention on a pyramid (``vexp.model.architectures.actionformer``)."""

    exported: ClassVar[Mapping[str, str]] = {
        "logits": "(N, P, classes): before the sigmoid, of the points of all levels, the finest first",
        "distances": "(N, P, 2): to start and end of the segment, in strides of the level",
    }

    width: int = option(512, "Channels of the transformer.", ge=1)
    heads: int = option(4, "Attention heads, a divisor of the width.", unit="heads", ge=1)
    window: int = option(
        19, "Positions that each one attends to, an odd number.", unit="features", ge=1,
        check=lambda value: None if value % 2 else "must be odd",
    )  # fmt: skip
    stem_blocks: int = option(2, "Transformer blocks at full resolution.", unit="blocks", ge=0)
    levels: int = option(6, "Levels of the pyramid; each has half of the resolution of the one before.", ge=1, le=12)
    first_range: float = option(
        4.0, "Largest distance to start or end on the first level; it doubles from level to level.", unit="features",
        gt=0,
    )  # fmt: skip
    top_down: bool = option(False, "Add coarse levels to finer ones (FPN); false: the levels are only normalized.")
    head_layers: int = option(3, "Convolutions of each head.", unit="layers", ge=1)
    dropout: float = option(0.0, "Dropout probability in the transformer.", ge=0, lt=1)
    drop_path: float = option(0.1, "Stochastic depth rate.", ge=0, lt=1)
    min_score: float = option(0.001, "Smallest score of a candidate.", ge=0, lt=1)
    max_candidates: int = option(2000, "Largest number of candidates per video.", unit="segments", ge=1)
    nms_alpha: float = option(
        0.5, "Soft-NMS: the scores of overlapping segments are multiplied by exp(-IoU^2 / alpha).", gt=0
    )
    max_segments: int = option(200, "Largest number of predicted segments per video.", unit="segments", ge=1)

    def __post_init__(self) -> None:
        Localizer.__post_init__(self)
        if self.width % self.heads:
            raise ConfigError(f"must be a divisor of width={self.width}", key="heads", value=self.heads)

    def build_architecture(self, num_classes: int) -> nn.Module:
        from vexp.model.architectures import actionformer

        return actionformer.ActionFormer(
            num_classes, feature_dim=self.feature_dim, width=self.width, heads=self.heads, window=self.window,
            stem_blocks=self.stem_blocks, levels=self.levels, first_range=self.first_range, top_down=self.top_down,
            head_layers=self.head_layers, dropout=self.dropout, drop_path=self.drop_path,
        )  # fmt: skip

    def inputs(self, features: Tensor, valid: Tensor) -> tuple[Tensor, ...]:
        return features, valid

    def candidates(self, output: Any) -> list[Candidates]:
        from vexp.model.architectures.actionformer import pyramid_candidates

        found = pyramid_candidates(output, min_score=self.min_score, max_candidates=self.max_candidates)
        return [Candidates(*each) for each in found]


@dataclass(kw_only=True, slots=True)
class BmnLoss(ValidatedConfig):
    """Loss of model=bmn: boundaries, and regression and classification of the confidence of segments.

    Its parts are balanced within each batch of a step (``grad.accumulate``), over all processes that share it.
    """

    localizer: ClassVar[type[Localizer]] = Bmn

    regression_weight: float = option(10.0, "Weight of the regression of the IoU.", ge=0)
    classification_weight: float = option(1.0, "Weight of the classification of the IoU.", ge=0)
    limit_ratio: bool = option(
        True,
        "Draw at most all segments of medium and low IoU; false is mmaction2's rule, which takes every place of the "
        "map several times if there are more of high IoU.",
    )

    def build(self) -> nn.Module:
        """Build a module that maps the output of the model and ``SegmentTargets`` to the loss and its parts."""
        from vexp.model import segment_losses

        return segment_losses.BmnLoss(
            regression_weight=self.regression_weight,
            classification_weight=self.classification_weight,
            limit_ratio=self.limit_ratio,
        )


@dataclass(kw_only=True, slots=True)
class ActionFormerLoss(ValidatedConfig):
    """Loss of model=actionformer: focal loss of the classes, DIoU loss of the distances to start and end."""

    localizer: ClassVar[type[Localizer]] = ActionFormer

    radius: float = option(
        1.5,
        "Radius of center sampling: points farther from the center of a segment are negative.",
        unit="strides",
        gt=0,
    )
    alpha: float = option(0.25, "Focal loss: weight of positive points; 1 - alpha of the others.", ge=0, le=1)
    gamma: float = option(2.0, "Focal loss: exponent by which well classified points lose weight.", ge=0)
    regression_weight: float = option(1.0, "Weight of the DIoU loss.", ge=0)
    label_smoothing: float = option(0.0, "Fraction of the target distributed over all classes.", ge=0, lt=1)

    def build(self) -> nn.Module:
        """Build a module that maps the output of the model and ``SegmentTargets`` to the loss and its parts."""
        from vexp.model import segment_losses

        return segment_losses.ActionFormerLoss(
            radius=self.radius, alpha=self.alpha, gamma=self.gamma, regression_weight=self.regression_weight,
            label_smoothing=self.label_smoothing,
        )  # fmt: skip
