"""Matching the tensors of a file to those of a model, before anything is loaded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

_COUNTER = "num_batches_tracked"  # of batch norm; missing in older files and not a weight
_MISSING = "not in the file"


@dataclass(frozen=True, slots=True)
class MatchResult:
    """How the tensors of a file match those of a model.

    ``heads`` are those of ``reinitialized`` that belong to the classifier: they differ in the number of classes only,
    or are the last layer of the model and not in the file.
    """

    tensors: dict[str, Tensor]  # to load, in the shapes of the model
    matched: list[str]  # keys with equal shapes
    reshaped: dict[str, str]  # keys whose shapes differ only in dimensions of size 1, with both shapes
    reinitialized: dict[str, str]  # keys of the model that keep their values, with the reason
    heads: list[str]
    ignored: list[str]  # keys of the file that are not in the model

    @property
    def matching(self) -> int:
        """Number of tensors of the model that are loaded."""
        return len(self.matched) + len(self.reshaped)

    @property
    def counted(self) -> int:
        """Number of tensors of the model, without the counters of batch norm."""
        return self.matching + len(self.reinitialized)

    @property
    def share(self) -> float:
        """Fraction of the model's tensors, without those of a new head, that are loaded."""
        new = sum(self.reinitialized[key] == _MISSING for key in self.heads)
        return self.matching / (self.counted - new) if self.counted > new else 0.0


def match_tensors(module: nn.Module, tensors: Mapping[str, Tensor]) -> MatchResult:
    """Match ``tensors`` to the state dict of ``module``; a tied parameter matches if one of its keys does."""
    target = {key: value for key, value in module.state_dict().items() if isinstance(value, Tensor)}
    tensors = _with_tied(module, tensors)
    result = MatchResult({}, [], {}, {}, [], [key for key in tensors if key not in target])
    class_counts = set()  # (of the file, of the model)
    for key, expected in target.items():
        source = tensors.get(key)
        is_weight = not key.endswith(_COUNTER)
        if source is None:
            if is_weight:
                result.reinitialized[key] = _MISSING
            continue
        shapes = f"{_format_shape(source.shape)} in the file, {_format_shape(expected.shape)} here"
        if source.shape == expected.shape:
            result.tensors[key] = source
            if is_weight:
                result.matched.append(key)
        elif [size for size in source.shape if size != 1] == [size for size in expected.shape if size != 1]:
            result.tensors[key] = source.reshape(expected.shape)
            result.reshaped[key] = shapes
        else:
            result.reinitialized[key] = shapes
            if source.ndim == expected.ndim and source.shape[1:] == expected.shape[1:]:
                result.heads.append(key)
                class_counts.add((source.shape[0], expected.shape[0]))
    if len(class_counts) > 1:  # different widths mean a wider or narrower model, not another number of classes
        result.heads.clear()
    last_module = next(reversed(target), "").rpartition(".")[0]
    layer = [key for key in target if key.rpartition(".")[0] == last_module]
    if layer and not any(key in tensors for key in layer):  # the file has no classifier
        result.heads.extend(key for key in layer if key in result.reinitialized)
    head = tuple(
        f"{path}." for path in getattr(module, "head_paths", None) or ()
    )  # a probe, a norm before the classifier
    missing = (key for key, reason in result.reinitialized.items() if reason == _MISSING and key.startswith(head))
    result.heads.extend(key for key in missing if head and key not in result.heads)
    return result


def _with_tied(module: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Add the other keys of the module's tied parameters, of which files often have one only (safetensors always)."""
    result = dict(tensors)
    first_keys: dict[int, str] = {}
    for key, parameter in module.named_parameters(remove_duplicate=False):
        if key in tensors:
            first_keys.setdefault(id(parameter), key)
    for key, parameter in module.named_parameters(remove_duplicate=False):
        if (first := first_keys.get(id(parameter))) is not None:
            result.setdefault(key, tensors[first])
    return result


def copy_problem(tensor: Tensor, target: Tensor | None = None) -> str | None:
    """Return why the values of a tensor cannot be copied to ``target``, or to any tensor; None if they can."""
    if tensor.is_meta:
        return "has no values (its device is meta); save the weights of a model that is on a CPU or GPU"
    if tensor.layout is not torch.strided or tensor.is_quantized:
        return "is sparse or quantized; convert it with to_dense() or dequantize(), and save the file again"
    if target is None or tensor.dtype == target.dtype or not target.is_floating_point():
        return None
    if not tensor.is_floating_point() or tensor.dtype.itemsize == 1:  # float8
        return (
            f"is {_name(tensor.dtype)}, that of the model {_name(target.dtype)}: the values of quantized weights are "
            "wrong without their scales; dequantize it with the library that wrote the file"
        )
    return None


def best_prefix(module: nn.Module, tensors: Mapping[str, Tensor]) -> tuple[str, str]:
    """Return the prefix to remove from the keys of the file (``model.``), and the one to add to them (``backbone.``).

    One of them is that with which most tensors match, the other is empty; both are if there is none, or if two match
    equally many.
    """
    target = {key: value.shape for key, value in module.state_dict().items() if isinstance(value, Tensor)}
    source = {key: value.shape for key, value in tensors.items()}
    matches: Counter[tuple[str, str]] = Counter()
    for remove, add in [(prefix, "") for prefix in _prefixes(source)] + [("", prefix) for prefix in _prefixes(target)]:
        renamed = ((add + key.removeprefix(remove), shape) for key, shape in source.items() if key.startswith(remove))
        matches[remove, add] = sum(target.get(key) == shape for key, shape in renamed)
    (best, count), (_, second) = [*matches.most_common(2), (("", ""), 0), (("", ""), 0)][:2]
    return best if count > second else ("", "")


def _prefixes(keys: Iterable[str]) -> list[str]:
    """Return the module prefixes of all keys: ``a.`` and ``a.b.`` for ``a.b.weight``."""
    names = [key.split(".")[:-1] for key in keys]
    return list(dict.fromkeys(".".join(name[:n]) + "." for name in names for n in range(1, min(len(name), 3) + 1)))


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _format_shape(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape)) or "scalar"
