"""The ``model`` group: every option builds a net from float (N, C, T, H, W) to logits (N, classes)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vexp.core.errors import UserError
from vexp.core.fields import ValidatedConfig, option
from vexp.model.init.initialize import check_init, initialize
from vexp.model.weights.config import Weights

if TYPE_CHECKING:
    from torch import Tensor, nn


def _multiple_of_eight(value: int) -> str | None:
    return None if value % 8 == 0 else "must be a multiple of 8"


@dataclass(kw_only=True, slots=True)
class Model(ValidatedConfig, ABC):
    """What every option has: an option of one's own is a subclass with ``net``."""

    channels: int = option(
        3, "values of each pixel that the net takes: 3 for RGB, 2 for optical flow (x, y)", ge=2, le=3
    )
    init: Any = option(
        None,
        "values to begin with, by layer: {type: Normal, std: 0.01, layer: Linear}, or a list",
        accepts="dict or list of dict, or null",
        check=check_init,
    )
    weights: Weights = option(
        Weights, "weights that a run starts from; resuming does not read them again", see=("init_from",)
    )
    freeze: list[str] = option(
        [], "modules or parameters that are not trained, by dotted path; * and [12] as in file names (layer[12])"
    )
    norm_eval: bool = option(False, "norm layers stay in eval mode in training: batch statistics are never used")
    partial_bn: bool = option(False, "freeze all batch norm layers but the first (TSN)")

    def adapt(self, tensors: Mapping[str, Tensor], net: nn.Module) -> Mapping[str, Tensor]:
        """Weights that another program saved under the names and in the shapes of ``net``.

        Names and shapes that are the net's own are left as they are. Default: all are.
        """
        return tensors

    @property
    def image_channels(self) -> int:
        """Values of a pixel as the first convolution takes them."""
        return self.channels

    @abstractmethod
    def net(self, num_classes: int) -> nn.Module:
        """The untrained net for RGB frames, its classifier as wide as the data has classes."""

    def build(self, num_classes: int, *, pretrained: bool = True, tell: Callable[[Any], object] = print) -> nn.Module:
        """The net that a run starts from: ``net`` for its ``channels``, ``init``, ``weights``, then what is frozen.

        Args:
            num_classes: width of the classifier.
            pretrained: false leaves out init and weights, for a net whose values a checkpoint is about to set.
            tell: is given what init and weights did, to be printed.

        Raises:
            UserError: weights that do not fit, a part to be frozen that is not there, or nothing left to train.
        """
        from vexp.model.architectures.input_channels import RGB, replace_input_channels
        from vexp.model.freeze import freeze

        net = self.net(num_classes)
        if self.image_channels != RGB:
            replace_input_channels(net, self.image_channels)
        net.__dict__["adapt_weights"] = self._adapted  # for load_checkpoint, which is given the net alone
        if pretrained and self.init is not None:
            initialize(net, self.init, tell=tell)
        if pretrained and self.weights.path is not None:
            self.weights.load(net, self.weights.path, tell)
        freeze(net, self.freeze, norm_eval=self.norm_eval, partial_bn=self.partial_bn)
        return net

    def _adapted(self, tensors: Mapping[str, Tensor], net: nn.Module) -> Mapping[str, Tensor]:
        from vexp.model.architectures.input_channels import RGB, average_rgb_weights

        adapted = self.adapt(tensors, net)
        return adapted if self.image_channels == RGB else average_rgb_weights(adapted, net)


@dataclass(kw_only=True, slots=True)
class Tiny3d(Model):
    """A small residual (2+1)D net: minutes on a laptop CPU (``vexp.model.architectures.tiny3d``)."""

    norm: str = option("batch", "normalisation layers; group does not depend on the batch", choices=("batch", "group"))
    width: int = option(24, "channels of the first stage", unit="channels", ge=8, check=_multiple_of_eight)
    dropout: float = option(0.0, "probability of dropping a feature before the classifier", ge=0, lt=1)

    def net(self, num_classes: int) -> nn.Module:
        from vexp.model.architectures.tiny3d import Tiny3d as Net

        return Net(num_classes, norm=self.norm, width=self.width, dropout=self.dropout)


@dataclass(kw_only=True, slots=True)
class TorchvisionVideo(Model):
    """A video net of torchvision by its own name, randomly initialised (torchvision.models.video)."""

    name: str = option(
        doc="torchvision's name of the net",
        choices=(
            "r3d_18", "mc3_18", "r2plus1d_18", "s3d", "mvit_v1_b", "mvit_v2_s", "swin3d_t", "swin3d_s", "swin3d_b",
        ),
    )  # fmt: skip

    def net(self, num_classes: int) -> nn.Module:
        from torchvision.models import get_model

        try:
            net: nn.Module = get_model(self.name, num_classes=num_classes)
        except ValueError as error:  # a torchvision older than the net
            raise UserError(f"model.name={self.name}: {error}") from None
        return net
