"""Options of the ``model`` group for models that apply an image model to every frame, one class per family.

The defaults are the released models on a ResNet-50.
"""

from __future__ import annotations

from abc import ABC
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from vexp.core.fields import option
from vexp.model.family import Family, auxiliary_weight_option, dropout_option, init_std_option
from vexp.model.image_models import TIMM_PREFIX, check_image_model
from vexp.model.weights import key_mapping
from vexp.model.weights.key_mapping import Rules

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn


def _image_model_name(value: str) -> str | None:
    return None if value.removeprefix(TIMM_PREFIX) else "must be a name of torchvision, or timm/NAME"


_num_frames = partial(option, 8, "Frames of each clip, as sampled.", unit="frames")
_deploy = partial(
    option,
    False,
    "Fuse the parallel branches of each block of a model of timm, such as MobileOne, into one convolution: its form "
    "for inference. Weights of either form can be loaded.",
)
_shift_div = partial(
    option, doc="Divisor of the channels: 1/shift_div of them are shifted forward in time and as many backward.", ge=2
)


@dataclass(kw_only=True, slots=True)
class FrameModel(Family, ABC):
    """Base class of the options whose models apply an image model to every frame."""

    architecture: ClassVar[str] = "tsn_tsm.frame_model"
    key_rules: ClassVar[Rules] = (
        *key_mapping.CLASSIFIER,
        *key_mapping.FRAME_LAYERS,
        *key_mapping.MMACTION2_TO_TORCHVISION_RESNET,
        *key_mapping.IMAGE_BACKBONE,
    )

    backbone: str = option(
        "resnet50",
        "Image model: a name of torchvision (resnet18, mobilenet_v2, convnext_tiny), or timm/NAME (timm/resnet26d).",
        check=_image_model_name,
    )

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of the function, with the channels of an image."""
        return Family.arguments(self) | {"in_channels": self.image_channels}

    def check_library(self) -> None:
        """Check that torchvision or timm has the image model."""
        check_image_model(self.backbone)

    def adapt(self, tensors: Mapping[str, Tensor], model: nn.Module) -> Mapping[str, Tensor]:
        """Convert mmaction2 checkpoints, and image weights of torchvision or timm, to the keys of ``model``."""
        rules = self.key_rules
        if self.backbone == "mobilenet_v2":
            rules = (*key_mapping.MMACTION2_TO_TORCHVISION_MOBILENET, *rules)
        elif self.backbone.startswith(TIMM_PREFIX):
            rules = key_mapping.CLASSIFIER
            if not any(key.startswith("backbone.") for key in tensors):  # timm's names, some of which begin with head.
                rules = key_mapping.TIMM_BACKBONE
            if self.backbone.startswith(f"{TIMM_PREFIX}mobileone"):
                rules += key_mapping.MOBILEONE
        renamed = key_mapping.rename_keys(tensors, rules)
        return self._fused(renamed) if getattr(self, "deploy", False) else renamed

    def _fused(self, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Fuse the branches of the backbone in a file of the form that is trained; any other file is unchanged."""
        from vexp.model.architectures.image_backbones import fuse_branches, image_backbone

        model = image_backbone(self.backbone, self.image_channels).model
        names = {f"backbone.{name}": name for name in model.state_dict()}
        if not names.keys() <= tensors.keys():
            return tensors
        model.load_state_dict({name: tensors[key] for key, name in names.items()})
        fuse_branches(model, self.backbone)
        others = {key: tensor for key, tensor in tensors.items() if key not in names}
        return others | {f"backbone.{name}": tensor for name, tensor in model.state_dict().items()}


@dataclass(kw_only=True, slots=True)
class Tsn(FrameModel):
    """TSN: an image model on every frame, with averaged logits (``vexp.model.architectures.tsn_tsm``)."""

    stacked: int = option(
        1, "Consecutive frames concatenated along the channels of one input image; 5 for TSN with optical flow.",
        unit="frames", ge=1, see=("transform.segment_len",),
    )  # fmt: skip
    features_only: bool = option(
        False,
        "Average the features of an image model of torchvision without the norm, activation or layer in front of its "
        "classifier, as mmaction2 (densenet, convnext, swin, mobilenet_v3).",
    )
    deploy: bool = _deploy()
    dropout: float = dropout_option(0.4)
    init_std: float = init_std_option(0.01)

    @property
    def image_channels(self) -> int:
        return self.channels * self.stacked


@dataclass(kw_only=True, slots=True)
class Tsm(FrameModel):
    """TSM: the TSN model with temporal shifts in the residual branches (``vexp.model.architectures.tsn_tsm``)."""

    shift_div: int = _shift_div(8)
    non_local: str | None = option(
        None,
        "Pairwise function of the non-local blocks behind every second block of the two middle stages of a ResNet; "
        "null for none.",
        choices=("embedded_gaussian", "dot_product", "gaussian"),
    )
    non_local_scale: bool = option(
        False, "Divide the products of embedded_gaussian by the square root of the channels, as the Transformer."
    )
    temporal_pool: bool = option(False, "Halve the number of frames by max pooling after the first stage of a ResNet.")
    deploy: bool = _deploy()
    dropout: float = dropout_option(0.5)
    init_std: float = init_std_option(0.001)


@dataclass(kw_only=True, slots=True)
class TsmTpn(FrameModel):
    """TPN, a pyramid over the last two stages, on the ResNet of TSM (``vexp.model.architectures.tpn``)."""

    architecture: ClassVar[str] = "tpn.tsm_tpn"
    key_rules: ClassVar[Rules] = (*key_mapping.TPN, *FrameModel.key_rules)

    shift_div: int = _shift_div(8)
    auxiliary_weight: float = auxiliary_weight_option(0.5)
    dropout: float = dropout_option(0.5)
    init_std: float = init_std_option(0.01)


@dataclass(kw_only=True, slots=True)
class Tin(FrameModel):
    """TIN: a ResNet with temporal interlacing, which learns its shifts (``vexp.model.architectures.tsn_tsm``)."""

    architecture: ClassVar[str] = "tsn_tsm.tin"

    num_frames: int = _num_frames(ge=1)
    shift_div: int = option(4, "Divisor of the channels: 1/shift_div of them are moved in time, in four groups.", ge=1)
    dropout: float = dropout_option(0.5)
    init_std: float = init_std_option(0.001)


@dataclass(kw_only=True, slots=True)
class TaNet(FrameModel):
    """TANet: a ResNet with temporal adaptive modules (``vexp.model.architectures.tsn_tsm``)."""

    architecture: ClassVar[str] = "tsn_tsm.tanet"

    num_frames: int = _num_frames(ge=3)
    dropout: float = dropout_option(0.5)
    init_std: float = init_std_option(0.001)


@dataclass(kw_only=True, slots=True)
class Trn(FrameModel):
    """TRN: an image model on every frame, and relations between frames (``vexp.model.architectures.trn``)."""

    architecture: ClassVar[str] = "trn.trn"
    key_rules: ClassVar[Rules] = (*key_mapping.TRN, *FrameModel.key_rules)

    num_frames: int = _num_frames(ge=2)
    width: int = option(256, "Channels of the features of a frame in the relations.", unit="channels", ge=1)
    multi_scale: bool = option(True, "Relations of 2 to num_frames frames; false for one relation of all frames.")
    dropout: float = dropout_option(0.8)
    init_std: float = option(
        0.001, "Standard deviation of the initial weights of the layer in front of the relations.", gt=0
    )
