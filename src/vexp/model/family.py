"""The base class of the options for published models, and the options that several families have."""

from __future__ import annotations

from abc import ABC
from dataclasses import dataclass, fields
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar

from vexp.core.errors import ConfigError
from vexp.core.fields import ValidatedConfig, option
from vexp.model.config import Model
from vexp.model.weights import key_mapping
from vexp.model.weights.key_mapping import Rules

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

dropout_option = partial(option, doc="Dropout probability before the classifier.", ge=0, lt=1)
init_std_option = partial(option, doc="Standard deviation of the initial weights of the classifier.", gt=0)
drop_path_option = partial(
    option, doc="Stochastic depth rate of the last block, decreasing linearly toward the first.", ge=0, lt=1
)
auxiliary_weight_option = partial(
    option, doc="Weight of the loss of an auxiliary classifier on the third stage in training; 0 for none.", ge=0
)


@dataclass(kw_only=True, slots=True)
class Family(Model, ABC):
    """Base class of the options whose fields are the arguments of a function that builds the model."""

    architecture: ClassVar[str]  # MODULE.FUNCTION in ``vexp.model.architectures``
    key_rules: ClassVar[Rules] = ()  # for other programs' files (``vexp.model.weights.key_mapping``)

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of the function: the fields that the family adds to those of ``Model``."""
        common = {field.name for field in fields(Model)}
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name not in common}

    def build_architecture(self, num_classes: int) -> nn.Module:
        """Call the function with ``arguments``."""
        module, _, function = self.architecture.partition(".")
        builder = getattr(import_module(f"vexp.model.architectures.{module}"), function)  # imports torch
        model: nn.Module = builder(num_classes, **self.arguments())
        return model

    def adapt(self, tensors: Mapping[str, Tensor], model: nn.Module) -> Mapping[str, Tensor]:
        """Convert mmaction2 checkpoints and torchvision image weights to the keys and shapes of ``model``."""
        return key_mapping.inflate(key_mapping.rename_keys(tensors, self.key_rules), model)


def check_multiple(config: ValidatedConfig, key: str, divisor: str) -> None:
    """Check that the value of a key is a multiple of that of another one.

    Raises:
        ConfigError: If it is not.
    """
    value, unit = getattr(config, key), getattr(config, divisor)
    if value % unit:
        raise ConfigError(f"must be a multiple of {divisor}={unit}", key=key, value=value)
