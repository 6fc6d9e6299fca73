"""Finding a model's classifier, and extracting the features that it receives."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from vexp.core.errors import UserError

_CONVOLUTIONS = nn.Conv1d | nn.Conv2d | nn.Conv3d


def classifier_of(model: nn.Module, num_classes: int) -> tuple[str, nn.Module]:
    """Return the name and module of the last linear layer or convolution with ``num_classes`` outputs."""
    layers = [(name, part) for name, part in model.named_modules() if isinstance(part, nn.Linear | _CONVOLUTIONS)]
    candidates = [(name, layer) for name, layer in layers if layer.weight.shape[0] == num_classes]
    if not candidates:
        raise UserError(f"{type(model).__name__} has no linear layer or convolution with {num_classes} outputs")
    return candidates[-1]


def head_paths(model: nn.Module, num_classes: int) -> list[str]:
    """Return the paths of the modules after the encoder that have parameters; by default the classifier's alone."""
    paths: list[str] | None = getattr(model, "head_paths", None)
    return [classifier_of(model, num_classes)[0]] if paths is None else paths


def features(model: nn.Module, num_classes: int) -> Callable[[Tensor], Tensor]:
    """Return a function that maps clips, float (N, C, T, H, W), to the input of the classifier, float (N, D).

    If the classifier is applied to several positions or frames of a clip (a convolution, the frames of TSN), the
    features are averaged over them. The averaged logits are a linear function of this average.
    """
    _, classifier = classifier_of(model, num_classes)
    inputs: list[Tensor] = []

    def forward(clips: Tensor) -> Tensor:
        inputs.clear()
        handle = classifier.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
        try:
            model(clips)
        finally:
            handle.remove()
        value = inputs[-1]
        if isinstance(classifier, _CONVOLUTIONS):
            value = value.flatten(2).mean(2)  # (N, D, positions)
        if len(value) % len(clips):
            raise UserError(
                f"{type(model).__name__} mixes the clips of a batch before its classifier, so there are no "
                "features per clip"
            )
        return value.reshape(len(clips), -1, value.shape[-1]).mean(1)

    return forward
