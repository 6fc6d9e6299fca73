"""Options of the ``model`` group. Every option builds a model from float (N, C, T, H, W) to logits (N, num_classes)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from vexp.core.errors import ConfigError
from vexp.core.fields import ValidatedConfig, option
from vexp.model.adapters.config import Lora
from vexp.model.init import check_init, initialize
from vexp.model.weights.config import Weights

if TYPE_CHECKING:
    from torch import Tensor, nn

    from vexp.data.batch.normalize import ImgNorm
    from vexp.data.transforms.pipeline import Pipeline
    from vexp.model.weights.report import LoadReport


def _multiple_of_eight(value: int) -> str | None:
    return None if value % 8 == 0 else "must be a multiple of 8"


@dataclass(kw_only=True, slots=True)
class Model(ValidatedConfig, ABC):
    """Base class of the model options. A custom option is a subclass that implements ``build_architecture``."""

    task: ClassVar[str] = "recognition"  # what the model predicts, as ``Data.task``

    channels: int = option(
        3,
        "Channels of each input pixel: 3 for RGB, 2 for optical flow (x, y), the number of heat maps for skeletons.",
        unit="channels", ge=1,
    )  # fmt: skip
    init: Any = option(
        None,
        "Initial values by layer, as mmcv's init_cfg: {type: Normal, std: 0.01, layer: Linear}, or a list of rules.",
        accepts="dict or list of dict, or null", check=check_init,
    )  # fmt: skip
    weights: Weights = option(
        Weights, "Pretrained weights that a run starts from; not read again when it is resumed.", see=("init_from",)
    )
    freeze: list[str] = option(
        [], "Modules or parameters to freeze, by dotted path with shell-style patterns (layer[12], backbone.*)."
    )
    probe: str | None = option(
        None,
        "Head on the tokens of the encoder instead of the model's own: linear on their mean, or attentive "
        "(cross-attention with a learned query); null for the model's own.",
        choices=("linear", "attentive"),
    )
    probe_depth: int = option(
        4, "Blocks of the attentive probe: self-attention in all but the last, which is the cross-attention.",
        unit="blocks", ge=1,
    )  # fmt: skip
    probe_heads: int = option(16, "Attention heads of the attentive probe, a divisor of the width.", unit="heads", ge=1)
    lora: Lora = option(Lora, "Low-rank adapters that are trained instead of the weights, with the classifier.")
    norm_eval: bool = option(False, "Keep norm layers in eval mode during training, so batch statistics are not used.")
    partial_bn: bool = option(False, "Freeze all batch norm layers except the first (TSN).")

    @property
    def image_channels(self) -> int:
        """Input channels of the first convolution."""
        return self.channels

    @property
    def pathways(self) -> dict[str, int]:
        """Temporal stride of each pathway by name; empty for a model with a single pathway."""
        return {}

    @classmethod
    def from_files(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return values of the option that are read from files when it is composed; the default reads none.

        Args:
            values: Those that are given, by the name of the field.

        Raises:
            ConfigError: If a file cannot be read.
        """
        return {}

    def check_clips(self, pipeline: Pipeline, img_norm: ImgNorm) -> None:
        """Check that the clips of a run are those that the model takes; the default takes any.

        Raises:
            ConfigError: If they are not.
        """

    def check_library(self) -> None:
        """Check that the library that the model is built from is installed and has the model; the default needs none.

        Raises:
            ConfigError: If it is not, or has not.
        """

    @abstractmethod
    def build_architecture(self, num_classes: int) -> nn.Module:
        """Build the randomly initialized model for RGB input with ``num_classes`` outputs."""

    def adapt(self, tensors: Mapping[str, Tensor], model: nn.Module) -> Mapping[str, Tensor]:
        """Convert another program's weights to the keys and shapes of ``model``.

        Keys and shapes that already are those of the model must be left unchanged. The default returns ``tensors``.
        """
        return tensors

    def build(self, num_classes: int, *, pretrained: bool = True) -> nn.Module:
        """Build the model that a run starts from: architecture, initial weights, adapters, frozen layers.

        ``init`` and ``weights`` are applied if ``pretrained``, which is False if a checkpoint is loaded afterwards.

        Raises:
            UserError: If the weights do not fit, a pattern of ``freeze`` or ``lora.targets`` matches nothing, or
                nothing is left to train.
        """
        model = self.build_base(num_classes)
        if pretrained:
            self.initialize_weights(model)
        self.set_trained_parts(model, num_classes)
        return model

    def build_base(self, num_classes: int) -> nn.Module:
        """Build the randomly initialized model into which pretrained weights are loaded, without adapters."""
        from vexp.model.architectures.input_channels import RGB, replace_input_channels
        from vexp.model.weights.load import set_weight_adapter

        model = self.build_architecture(num_classes)
        if self.image_channels != RGB:  # without effect on a model that was built for them
            replace_input_channels(model, self.image_channels)
        if self.probe is not None:
            from vexp.model.architectures.probes import add_probe

            model = add_probe(model, num_classes, self.probe, depth=self.probe_depth, heads=self.probe_heads)
        set_weight_adapter(model, self._adapt_weights)
        return model

    def set_trained_parts(self, model: nn.Module, num_classes: int) -> None:
        """Insert the adapters and freeze layers, in place, once the initial weights are loaded."""
        from vexp.model.adapters.lora import add_adapters, check_trained
        from vexp.model.freeze import freeze

        if self.lora.rank is not None:
            add_adapters(model, self.lora, num_classes)
        freeze(model, self.freeze, norm_eval=self.norm_eval, partial_bn=self.partial_bn)
        if self.lora.rank is not None:
            check_trained(model, self.freeze)

    def weights_source(self) -> tuple[str, str] | None:
        """Return the key and the source of the weights that the model starts from; None without them."""
        return None if self.weights.path is None else ("model.weights.path", self.weights.path)

    def initialize_weights(self, model: nn.Module, *, load: bool = True) -> list[LoadReport]:
        """Apply ``init``, then load the weights, in place; return the report of every file that was loaded.

        ``load`` is false if a run loads others (``init_from``).
        """
        reports = [] if self.init is None else initialize(model, self.init)
        if load and (source := self.weights_source()) is not None:
            reports.append(self.weights.load(model, source[1]))
        return reports

    def _adapt_weights(self, tensors: Mapping[str, Tensor], model: nn.Module) -> Mapping[str, Tensor]:
        from vexp.model.architectures.input_channels import RGB, average_rgb_weights
        from vexp.model.architectures.probes import ProbedModel

        if isinstance(model, ProbedModel):  # the file is of the model without probe
            keys = model.encoder.state_dict().keys()
            adapted = self._adapt_weights(tensors, model.encoder)
            return {f"encoder.{key}" if key in keys else key: tensor for key, tensor in adapted.items()}
        adapted = self.adapt(tensors, model)
        return adapted if self.image_channels == RGB else average_rgb_weights(adapted, model)


@dataclass(kw_only=True, slots=True)
class Tiny3d(Model):
    """A small residual (2+1)D model that trains in minutes on a CPU (``vexp.model.architectures.tiny3d``)."""

    norm: str = option(
        "batch", "Normalization layer; group norm does not depend on the batch.", choices=("batch", "group")
    )
    width: int = option(24, "Channels of the first stage.", unit="channels", ge=8, check=_multiple_of_eight)
    dropout: float = option(0.0, "Dropout probability before the classifier.", ge=0, lt=1)

    def build_architecture(self, num_classes: int) -> nn.Module:
        from vexp.model.architectures import tiny3d

        return tiny3d.Tiny3d(num_classes, norm=self.norm, width=self.width, dropout=self.dropout)


@dataclass(kw_only=True, slots=True)
class TorchvisionVideo(Model):
    """A video model of torchvision by its name, randomly initialized (torchvision.models.video)."""

    name: str = option(
        doc="Name of the model in torchvision.",
        choices=(
            "r3d_18", "mc3_18", "r2plus1d_18", "s3d", "mvit_v1_b", "mvit_v2_s", "swin3d_t", "swin3d_s", "swin3d_b",
        ),
    )  # fmt: skip

    def build_architecture(self, num_classes: int) -> nn.Module:
        from torchvision.models import get_model

        try:
            model: nn.Module = get_model(self.name, num_classes=num_classes)
        except ValueError as error:  # the installed torchvision is older than the model
            raise ConfigError(str(error), key="model.name", value=self.name) from None
        return model
