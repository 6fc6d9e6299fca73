"""A net's classifier: its last layer that is as wide as there are classes, and the features that go into it."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from vexp.core.errors import UserError

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def classifier_of(model: nn.Module, num_classes: int) -> tuple[str, nn.Module]:
    """(name, layer) of the last linear layer or convolution with ``num_classes`` outputs.

    Raises:
        UserError: the net has none.
    """
    found = [
        (name, layer)
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Linear | _CONVOLUTIONS[0] | _CONVOLUTIONS[1] | _CONVOLUTIONS[2])
        and layer.weight.shape[0] == num_classes
    ]
    if not found:
        raise UserError(f"{type(model).__name__}: has no linear layer or convolution with {num_classes} outputs")
    return found[-1]


def features(model: nn.Module, num_classes: int) -> Callable[[Tensor], Tensor]:
    """A function of clips, float (N, C, T, H, W), to what the classifier sees of each, float (N, D).

    A classifier that is applied to several positions or frames of a clip (a convolution, TSN's frames) gives their
    mean, which is what its averaged logits are a linear function of.
    """
    _, classifier = classifier_of(model, num_classes)
    seen: list[Tensor] = []

    def forward(clips: Tensor) -> Tensor:
        seen.clear()
        handle = classifier.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        try:
            model(clips)
        finally:
            handle.remove()
        value = seen[-1]
        if isinstance(classifier, _CONVOLUTIONS):
            value = value.flatten(2).mean(2)  # (N, D, positions)
        if len(value) % len(clips):
            raise UserError(
                f"{type(model).__name__}: mixes clips before its classifier, a clip has no features of its own"
            )
        return value.reshape(len(clips), -1, value.shape[-1]).mean(1)

    return forward
