"""Options of the ``model`` group for spatio-temporal detection: clips and boxes to the logits of the boxes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from vexp.core.fields import option
from vexp.model.config import Tiny3d
from vexp.model.family import init_std_option
from vexp.model.weights.key_mapping import Rules
from vexp.model.zoo import SlowFast, SlowOnly

if TYPE_CHECKING:
    from torch import Tensor, nn

#: Detectors of torchvision, whose class 1 is a person.
DETECTORS = (
    "fasterrcnn_resnet50_fpn", "fasterrcnn_resnet50_fpn_v2", "fasterrcnn_mobilenet_v3_large_fpn",
    "fasterrcnn_mobilenet_v3_large_320_fpn", "retinanet_resnet50_fpn", "retinanet_resnet50_fpn_v2",
    "fcos_resnet50_fpn",
)  # fmt: skip
_CLASSIFIER: Rules = ((r"^roi_head\.bbox_head\.fc_cls\.", "head.fc."),)
_FC = ("head.fc.weight", "head.fc.bias")


@dataclass(kw_only=True)
class Roi:
    """Options of the classifier of boxes and of the detector of persons, a base class beside a ``Model``."""

    task: ClassVar[str] = "detection"

    roi_size: int = option(8, "Side of the grid of features that RoIAlign makes of a box.", ge=1, le=64)
    temporal_pool: str = option("mean", "Pooling of the features over time.", choices=("mean", "max"))
    action_thr: float = option(0.002, "Score up to which a class of a box is no detection.", ge=0, lt=1)
    detector: str | None = option(
        None, "Detector of persons (torchvision) for vexp predict; null: the boxes are read from a file.",
        choices=DETECTORS,
    )  # fmt: skip
    detector_weights: str | None = option(
        None, "Weights of the detector: a file, https://..., or torchvision://NAME, which downloads them."
    )


def _arguments(given: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of an architecture: those of its family without those of the detector."""
    return {name: value for name, value in given.items() if name not in ("action_thr", "detector", "detector_weights")}


def _without_background(adapted: Mapping[str, Tensor], model: nn.Module) -> Mapping[str, Tensor]:
    """Remove the unused first output of mmaction2's classifier, whose classes are numbered from 1."""
    own = model.state_dict()
    extra = {key: adapted[key][1:] for key in _FC if key in adapted and len(adapted[key]) == len(own[key]) + 1}
    return {**adapted, **extra}


@dataclass(kw_only=True, slots=True)
class SlowOnlyRoi(Roi, SlowOnly):
    """SlowOnly for spatio-temporal detection (``vexp.model.architectures.roi``)."""

    architecture: ClassVar[str] = "roi.slow_only"
    key_rules: ClassVar[Rules] = (*_CLASSIFIER, *SlowOnly.key_rules)

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of the architecture."""
        return _arguments(SlowOnly.arguments(self))

    def adapt(self, tensors: Mapping[str, Tensor], model: nn.Module) -> Mapping[str, Tensor]:
        """Convert checkpoints of mmaction2's detectors and recognizers."""
        return _without_background(SlowOnly.adapt(self, tensors, model), model)


@dataclass(kw_only=True, slots=True)
class SlowFastRoi(Roi, SlowFast):
    """SlowFast for spatio-temporal detection (``vexp.model.architectures.roi``)."""

    architecture: ClassVar[str] = "roi.slow_fast"
    key_rules: ClassVar[Rules] = (*_CLASSIFIER, *SlowFast.key_rules)

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of the architecture."""
        return _arguments(SlowFast.arguments(self))

    def adapt(self, tensors: Mapping[str, Tensor], model: nn.Module) -> Mapping[str, Tensor]:
        """Convert checkpoints of mmaction2's detectors and recognizers."""
        return _without_background(SlowFast.adapt(self, tensors, model), model)


@dataclass(kw_only=True, slots=True)
class Tiny3dRoi(Roi, Tiny3d):
    """A small model of spatio-temporal detection that trains in minutes on a CPU (``vexp.model.architectures.roi``)."""

    roi_size: int = option(4, "Side of the grid of features that RoIAlign makes of a box.", ge=1, le=64)
    init_std: float = init_std_option(0.01)

    def build_architecture(self, num_classes: int) -> nn.Module:
        from vexp.model.architectures import roi

        return roi.tiny3d(
            num_classes, norm=self.norm, width=self.width, roi_size=self.roi_size, temporal_pool=self.temporal_pool,
            dropout=self.dropout, init_std=self.init_std,
        )  # fmt: skip
