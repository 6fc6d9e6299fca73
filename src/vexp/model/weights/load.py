"""Weights into a net, from anywhere, with a report of what fits: nothing is written unless enough does.

The five verbs of mmcv and mmaction2: ``read_checkpoint`` (there ``_load_checkpoint``), ``read_checkpoint_with_prefix``,
``load_checkpoint``, ``load_state_dict``; the fifth, ``initialize``, is in ``vexp.model.init.initialize``. Other than there, a file
in which nothing fits is refused, a strict load that fails leaves the net as it was, and other shapes are named.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from vexp.core.errors import UserError
from vexp.model.weights.file import WeightFile, read, unwrap
from vexp.model.weights.matching import MatchResult, best_prefix, match_tensors
from vexp.model.weights.report import LoadReport
from vexp.model.weights.source import Located, locate

Rename = Sequence[tuple[str, str]]


def read_checkpoint(filename: str | Path) -> dict[str, Any]:
    """The content of a weight file, as it is, on the CPU.

    Args:
        filename: a file, a run folder, ``https://...#sha256=...``, ``torchvision://NAME`` or
            ``torchvision://NAME:WEIGHTS``.

    Raises:
        UserError: it is not there, is damaged, fails its checksum, or holds code.
    """
    return read(locate(filename).path)


def read_checkpoint_with_prefix(prefix: str, filename: str | Path) -> dict[str, Tensor]:
    """The tensors below ``prefix`` (``backbone``: ``backbone.conv1.weight`` ...), without it.

    Raises:
        UserError: as ``read_checkpoint``; or no key begins with the prefix.
    """
    return _below(prefix, unwrap(read_checkpoint(filename), str(filename)).tensors, str(filename))


def load_state_dict(
    module: nn.Module,
    state_dict: Mapping[str, Any],
    *,
    min_match: float = 0.5,
    strict: bool = False,
    tell: Callable[[LoadReport], object] = print,
) -> LoadReport:
    """Copy the tensors that fit into ``module``; all checks are made before the first is copied.

    A tensor whose key is there in the same shape is matched; in a shape that differs by sides of 1 (a linear layer
    stored as a 1 x 1 x 1 convolution) it is reshaped. What else ``module`` has keeps its values: "re-initialised".

    Args:
        module: DataParallel and DistributedDataParallel may be wrapped around it.
        state_dict: tensors by key.
        min_match: least share of the module's tensors that must fit, 0..1; counters of batch norm are not counted.
        strict: refuse unless every key of both sides matches in its shape.
        tell: is given the report.

    Raises:
        UserError: too little fits; ``module`` is untouched.
    """
    file = WeightFile({str(k): v for k, v in state_dict.items() if isinstance(v, Tensor)}, "plain")
    return _load(_unwrapped(module), file, "state dict", min_match, strict, tell)


def load_checkpoint(
    model: nn.Module,
    filename: str | Path,
    *,
    prefix: str | None = None,
    rename: Rename = (),
    min_match: float = 0.5,
    strict: bool = False,
    tell: Callable[[LoadReport], object] = print,
) -> LoadReport:
    """Load weights from anywhere (see ``read_checkpoint``) as ``load_state_dict`` does.

    The state dict is found behind the wrapping of vexp (averaged weights where there are), mmaction2, Lightning,
    PySlowFast, torchvision's references; the marks of DataParallel and torch.compile are taken off, and a net of
    ``build_model`` reads the names that other programs have for its tensors. Where not one key
    fits, but many do without (or below) a prefix, that prefix is taken off (or put on) and the report says so.

    Args:
        model: any net.
        filename: see ``read_checkpoint``.
        prefix: take only the keys below it, without it.
        rename: (pattern, replacement) pairs, regular expressions applied to every key in turn.
        min_match, strict, tell: see ``load_state_dict``.

    Raises:
        UserError: as ``read_checkpoint`` and ``load_state_dict``; a prefix or pattern that no key has; two keys that
            become one.
    """
    located = locate(filename)
    file = open_weights(located, filename)
    module, source = _unwrapped(model), str(filename)
    if prefix is not None:
        file.tensors = _below(prefix, file.tensors, source)
        file.notes.append(f"keys below {prefix}")
    file.tensors = renamed(file.tensors, rename, source)
    own, as_read = module.state_dict().keys(), file.tensors
    adapt(module, file)
    if prefix is None and not file.tensors.keys() & own:
        file.tensors = as_read
        _find_prefix(module, file)
    return _load(module, file, source, min_match, strict, tell)


def open_weights(located: Located, named: str | Path) -> WeightFile:
    """The state dict of a located file, with what file and source know about it."""
    file = unwrap(read(located.path), str(named))
    if located.metadata is not None:
        file.metadata, file.kind = located.metadata, "torchvision"
    file.notes[:0] = located.notes
    return file


def adapt(module: nn.Module, file: WeightFile) -> None:
    """Put another program's names for the tensors of a net that knows them (``Model.adapt``) into its own."""
    known = getattr(module, "adapt_weights", None)
    if known is None or file.kind == "vexp":
        return
    tensors = dict(known(file.tensors, module))
    strangers = len(file.tensors.keys() - tensors.keys())
    if strangers:
        file.notes.append(f"{strangers} keys in this net's names")
    file.tensors = tensors


def load_exactly(module: nn.Module, content: Mapping[str, Any], source: str) -> None:
    """The weights of a vexp checkpoint's content (averaged where it has them) into the net that it was saved from.

    Raises:
        UserError: a key or a shape differs; nothing is loaded then.
    """
    _load(module, unwrap(content, source), source, 1.0, True, lambda _: None)


def renamed(tensors: Mapping[str, Tensor], rename: Rename, source: str) -> dict[str, Tensor]:
    """``tensors`` under the keys that the rules make.

    Raises:
        UserError: a rule that changes no key, is no regular expression, or makes two keys one.
    """
    result = dict(tensors)
    for pattern, replacement in rename:
        try:
            keys = {key: re.sub(pattern, replacement, key) for key in result}
        except (re.error, IndexError) as error:
            raise UserError(f"rename {pattern!r} -> {replacement!r}: is no regular expression: {error}") from None
        if all(old == new for old, new in keys.items()):
            raise UserError(f"rename {pattern!r}: changes no key of {source}; they are {_some(result)}")
        before: dict[str, str] = {}
        for old, new in keys.items():
            if new in before:
                raise UserError(f"rename {pattern!r} -> {replacement!r}: makes {before[new]} and {old} both {new}")
            before[new] = old
        result = {new: result[old] for new, old in before.items()}
    return result


def _below(prefix: str, tensors: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    start = prefix if prefix.endswith(".") else prefix + "."
    below = {key[len(start) :]: value for key, value in tensors.items() if key.startswith(start)}
    if not below:
        tops = ", ".join(sorted({key.partition(".")[0] for key in tensors})[:8])
        raise UserError(f"prefix={prefix}: no key of {source} begins with {start!r}; they begin with {tops}")
    return below


def _find_prefix(module: nn.Module, file: WeightFile) -> None:
    """Take off or put on the one prefix with which most fits, where nothing fits without."""
    found = best_prefix(module, file.tensors)
    if found is None:
        return
    if found.startswith("+"):
        file.tensors = {f"{found[1:]}{key}": value for key, value in file.tensors.items()}
        file.notes.append(f"prefix {found[1:]!r} put before every key: without it none fits")
    else:
        file.tensors = {k.removeprefix(found): v for k, v in file.tensors.items() if k.startswith(found)}
        file.notes.append(f"prefix {found!r} taken off: with it no key fits")


def _load(
    module: nn.Module,
    file: WeightFile,
    source: str,
    min_match: float,
    strict: bool,
    tell: Callable[[LoadReport], object],
) -> LoadReport:
    if not 0 <= min_match <= 1:
        raise UserError(f"min_match={min_match}: must be a share from 0 to 1")
    found = match_tensors(module, file.tensors)
    report = LoadReport(source, file.kind, found, file.metadata, file.notes)
    if strict and (found.reinitialised or found.ignored or found.reshaped):
        raise UserError(f"{_refusal(report, found)}\n  strict: every key and shape of both sides must match")
    if not found.tensors or found.share < min_match:
        raise UserError(
            f"{_refusal(report, found)}\n  at least min_match={min_match:g} of its tensors must fit; nothing was loaded"
        )
    module.load_state_dict(found.tensors, strict=False)
    tell(report)
    return report


def _refusal(report: LoadReport, found: MatchResult) -> str:
    return (
        f"{report.source}: is of another net: {found.fitting} of {found.counted} tensors fit, {len(found.ignored)} of "
        f"its own have no place\n{report.details()}"
    )


def _unwrapped(model: nn.Module) -> nn.Module:
    """The net inside DataParallel, DistributedDataParallel and torch.compile."""
    while True:
        inner = getattr(model, "_orig_mod", None) or (
            model.module if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel) else None
        )
        if not isinstance(inner, nn.Module):
            return model
        model = inner


def _some(keys: Mapping[str, object]) -> str:
    first = list(keys)[:4]
    return ", ".join(first) + (" ..." if len(keys) > len(first) else "")
