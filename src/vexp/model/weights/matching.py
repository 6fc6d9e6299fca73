"""How the tensors of a file lie on those of a net: found out before anything is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

_COUNTER = "num_batches_tracked"  # of batch norm: older files lack it, and it is no weight


@dataclass(frozen=True, slots=True)
class MatchResult:
    """``tensors``: what will be written, in the net's shapes. ``matched``: keys that fit as they are; ``reshaped``: in
    another form of the same shape, with both; ``reinitialised``: the net's own that keep their values, with the reason;
    ``heads``: those of them that are the classifier's: they differ in the number of classes alone, or are the net's
    last layer and not in the file; ``ignored``: keys that have no place."""

    tensors: dict[str, Tensor]
    matched: list[str]
    reshaped: dict[str, str]
    reinitialised: dict[str, str]
    heads: list[str]
    ignored: list[str]

    @property
    def fitting(self) -> int:
        return len(self.matched) + len(self.reshaped)

    @property
    def counted(self) -> int:
        return self.fitting + len(self.reinitialised)

    @property
    def share(self) -> float:
        """Of the net's tensors, counters left out."""
        return self.fitting / self.counted if self.counted else 0.0


def match_tensors(module: nn.Module, tensors: Mapping[str, Tensor]) -> MatchResult:
    """Lay ``tensors`` on ``module``."""
    own = {key: value for key, value in module.state_dict().items() if isinstance(value, Tensor)}
    result = MatchResult({}, [], {}, {}, [], [key for key in tensors if key not in own])
    classes = set()  # (in the file, here)
    for key, mine in own.items():
        theirs = tensors.get(key)
        counts = not key.endswith(_COUNTER)
        if theirs is None:
            if counts:
                result.reinitialised[key] = "not in the file"
        elif theirs.shape == mine.shape:
            result.tensors[key] = theirs
            if counts:
                result.matched.append(key)
        elif _sides(theirs.shape) == _sides(mine.shape):
            result.tensors[key] = theirs.reshape(mine.shape)
            result.reshaped[key] = f"{_text(theirs.shape)} in the file, {_text(mine.shape)} here"
        else:
            result.reinitialised[key] = f"{_text(theirs.shape)} in the file, {_text(mine.shape)} here"
            if theirs.ndim == mine.ndim and theirs.shape[1:] == mine.shape[1:]:
                result.heads.append(key)
                classes.add((theirs.shape[0], mine.shape[0]))
    if len(classes) > 1:  # layers of many widths: a wider or narrower net, not another number of classes
        result.heads.clear()
    last = next(reversed(own), "").rpartition(".")[0]
    layer = [key for key in own if key.rpartition(".")[0] == last]
    if layer and not any(key in tensors for key in layer):  # a classifier that was left out of the file
        result.heads.extend(key for key in layer if key in result.reinitialised)
    return result


def best_prefix(module: nn.Module, tensors: Mapping[str, Tensor]) -> str | None:
    """The beginning of the file's keys (``model.``) without which, or of the net's (``+backbone.``) with which, most
    tensors fit; None where none makes any fit, or two make as many."""
    own = {key: value.shape for key, value in module.state_dict().items() if isinstance(value, Tensor)}
    theirs = {key: value.shape for key, value in tensors.items()}
    fits: Counter[str] = Counter()
    for prefix in _beginnings(theirs):
        fits[prefix] = sum(own.get(key[len(prefix) :]) == s for key, s in theirs.items() if key.startswith(prefix))
    for prefix in _beginnings(own):
        fits[f"+{prefix}"] = sum(own.get(prefix + key) == shape for key, shape in theirs.items())
    best = fits.most_common(2)
    if not best or best[0][1] == 0 or (len(best) > 1 and best[1][1] == best[0][1]):
        return None
    return best[0][0]


def _beginnings(keys: Iterable[str]) -> list[str]:
    """``a.`` and ``a.b.`` of ``a.b.weight``, of all keys."""
    found: dict[str, None] = {}
    for key in keys:
        parts = key.split(".")[:-1]
        for count in range(1, min(len(parts), 3) + 1):
            found[".".join(parts[:count]) + "."] = None
    return list(found)


def _sides(shape: Sequence[int]) -> list[int]:
    return [side for side in shape if side != 1]


def _text(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape)) or "a number"
