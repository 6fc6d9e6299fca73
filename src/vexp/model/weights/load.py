"""Loading of pretrained weights into a model, with a report of every tensor.

The functions correspond to those of mmcv: ``read_checkpoint`` (``_load_checkpoint``), ``read_checkpoint_with_prefix``,
``load_checkpoint`` and ``load_state_dict``; ``initialize`` is in ``vexp.model.init``. Unlike in mmcv, a file that does
not match is an error, a failed strict load leaves the model unchanged, and mismatched shapes are reported.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from vexp import checkpoint
from vexp.core.errors import UserError
from vexp.model.adapters.merge import merge_tensors, saved_lora, without_adapters
from vexp.model.weights.file import WeightFile, read, unwrap
from vexp.model.weights.key_mapping import rename_keys
from vexp.model.weights.matching import best_prefix, copy_problem, match_tensors
from vexp.model.weights.report import LoadReport
from vexp.model.weights.safetensors_file import SUFFIX, write_safetensors
from vexp.model.weights.source import Located, locate

logger = logging.getLogger(__name__)

Rename = Sequence[tuple[str, str]]
WeightAdapter = Callable[[Mapping[str, Tensor], nn.Module], Mapping[str, Tensor]]

#: Attribute of a module with its ``WeightAdapter``. It is not part of the state dict and is copied with the module.
_ADAPTER = "_vexp_weight_adapter"


def set_weight_adapter(module: nn.Module, adapter: WeightAdapter) -> None:
    """Attach the function that converts other programs' weights for ``module``; ``load_checkpoint`` applies it."""
    setattr(module, _ADAPTER, adapter)


def read_checkpoint(filename: str | Path) -> dict[str, Any]:
    """Read a checkpoint file onto the CPU without changing its content.

    Args:
        filename: A file (of ``torch.save`` or safetensors), a run folder, a folder with ``model.safetensors`` or the
            index of its shards, ``https://...#sha256=...``, ``hf://ORG/NAME[@REVISION][/FILE]``,
            ``timm://NAME[.TAG]``, ``torchvision://NAME`` or ``torchvision://NAME:WEIGHTS``.

    Raises:
        UserError: If the file is missing, damaged, does not match its checksum, or contains code.
    """
    return read(locate(filename).path)


def read_checkpoint_with_prefix(prefix: str, filename: str | Path) -> dict[str, Tensor]:
    """Read the tensors whose keys start with ``prefix`` (``backbone`` for ``backbone.conv1.weight``), which is removed.

    Raises:
        UserError: As for ``read_checkpoint``, or if no key starts with the prefix.
    """
    return _below(prefix, unwrap(read_checkpoint(filename), str(filename)).tensors, str(filename))


def load_state_dict(
    module: nn.Module, state_dict: Mapping[str, Any], *, min_match: float = 0.5, strict: bool = False
) -> LoadReport:
    """Copy the matching tensors into ``module`` after all checks have passed, and log a report.

    A tensor matches if the module has its key with the same shape. If the shapes differ only in dimensions of size 1
    (a linear layer stored as a 1x1x1 convolution), it is reshaped. The other tensors of the module keep their values
    and are reported as re-initialized.

    Args:
        module: The module, possibly wrapped in DataParallel or DistributedDataParallel.
        state_dict: Tensors by key.
        min_match: Smallest fraction of the module's tensors that must match, not counting the counters of batch norm.
        strict: Whether every key and shape of both sides must match.

    Raises:
        UserError: If too few tensors match; the module is then unchanged.
    """
    file = WeightFile({str(k): v for k, v in state_dict.items() if isinstance(v, Tensor)}, "plain")
    return _load(_unwrapped(module), file, "state dict", min_match, strict)


def load_checkpoint(
    model: nn.Module,
    filename: str | Path,
    *,
    key: str | None = None,
    prefix: str | None = None,
    rename: Rename = (),
    class_map: str | Path | None = None,
    min_match: float = 0.5,
    strict: bool = False,
    copy: bool = True,
) -> LoadReport:
    """Load a checkpoint file (see ``read_checkpoint``) as ``load_state_dict`` does.

    The state dict is found in files of vexp (averaged weights if present), mmaction2, Lightning, PySlowFast and
    torchvision's references. Prefixes ``module.`` and ``_orig_mod.`` are stripped. For a model of ``build_model``, the
    keys that other programs use for its tensors are converted. If no key matches but many would without (or with)
    a prefix, the prefix is removed (or added) and reported.

    Args:
        model: Any model.
        filename: See ``read_checkpoint``.
        key: Entry of the file that holds the state dict, for files with several (``target_encoder``).
        prefix: Prefix of the keys to load; it is removed.
        rename: (pattern, replacement) pairs of regular expressions, applied to every key in turn.
        class_map: JSON file with a list: for each class of the model, its class in the file. The rows of the last layer
            are loaded in this order (the ``channel_map`` of mmaction2).
        min_match: See ``load_state_dict``.
        strict: See ``load_state_dict``.
        copy: Whether to copy the tensors; without, the model may be on the meta device, and nothing is logged.

    Raises:
        UserError: As for ``read_checkpoint`` and ``load_state_dict``, or if no key has the prefix or matches a pattern,
            two keys become equal, or ``class_map`` is not a list of classes of the file.
    """
    file = open_weights(locate(filename), filename, key=key)
    module, source = _unwrapped(model), str(filename)
    if prefix is not None:
        file.tensors = _below(prefix, file.tensors, source)
        file.notes.append(f"keys starting with {prefix}")
    file.tensors = _rename(file.tensors, rename, source)
    keys, tensors = module.state_dict().keys(), file.tensors
    adapt(module, file)
    if prefix is None and not file.tensors.keys() & keys:
        remove, add = best_prefix(module, tensors)
        file.tensors = {add + k.removeprefix(remove): v for k, v in tensors.items() if k.startswith(remove)}
        file.notes += [f"prefix {add!r} added to every key"] if add else []
        file.notes += [f"prefix {remove!r} removed from the keys"] if remove else []
    if class_map is not None:
        file.tensors = _select_classes(module, file.tensors, Path(class_map))
        file.notes.append(f"classes selected by {class_map}")
    return (_load if copy else _match)(module, file, source, min_match, strict)


def open_weights(located: Located, source: str | Path, *, key: str | None = None) -> WeightFile:
    """Read the state dict (see ``unwrap``) and the metadata of a located file; ``source`` is its name in messages.

    The adapters of a vexp run are merged into its weights.
    """
    content = read(located.path)
    file = unwrap(content, str(source), key=key)
    if file.kind == "vexp" and (lora := saved_lora(content)) is not None:
        file.tensors = merge_tensors(file.tensors, lora)
        file.config = without_adapters(content["config"])
        file.notes.append("adapters merged")
    if located.metadata is not None and file.kind != "vexp":  # a file of vexp has its own
        file.metadata, file.kind = located.metadata, located.kind or file.kind
    file.notes[:0] = located.notes
    return file


def save_weights(path: Path, content: dict[str, Any]) -> None:
    """Write the content of a vexp checkpoint to a safetensors file, if ``path`` is named so, or with ``torch.save``.

    Raises:
        UserError: If the file cannot be written, or a tensor has no values of its own.
    """
    if path.suffix != SUFFIX:
        checkpoint.save(path, content)
        return
    try:
        write_safetensors(path, content)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}") from None


def adapt(module: nn.Module, file: WeightFile) -> None:
    """Convert another program's tensors in ``file`` with the module's weight adapter, if it has one."""
    adapter: WeightAdapter | None = getattr(module, _ADAPTER, None)
    if adapter is None or file.kind == "vexp":
        return
    tensors = dict(adapter(file.tensors, module))
    if renamed := len(file.tensors.keys() - tensors.keys()):
        file.notes.append(f"{renamed} keys renamed for this model")
    file.tensors = tensors


def load_exactly(module: nn.Module, content: Mapping[str, Any], source: str) -> None:
    """Load the content of a vexp checkpoint (averaged weights if present) into the model it was saved from.

    Raises:
        UserError: If a key or a shape differs; the model is then unchanged.
    """
    report = _match(module, unwrap(content, source), source, 1.0, True)
    module.load_state_dict(report.match.tensors, strict=False)


def _rename(tensors: Mapping[str, Tensor], rename: Rename, source: str) -> dict[str, Tensor]:
    """Return the tensors under the keys given by the rules, each of which must change a key."""
    result = dict(tensors)
    for pattern, replacement in rename:
        try:
            renamed = rename_keys(result, [(pattern, replacement)])
        except (re.error, IndexError) as error:
            raise UserError(f"rename {pattern!r} -> {replacement!r}: not a valid regular expression: {error}") from None
        except ValueError as error:
            raise UserError(f"rename {pattern!r} -> {replacement!r}: {error}") from None
        if list(renamed) == list(result):
            keys = ", ".join(list(result)[:4]) + (" ..." if len(result) > 4 else "")
            raise UserError(f"rename {pattern!r}: matches no key of {source}; the keys are {keys}")
        result = renamed
    return result


def _select_classes(module: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Return the tensors with the rows of the classifier, the last layer of the module, that ``path`` names."""
    try:
        classes = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"class_map={path}: cannot be read: {error.strerror or error}") from None
    except ValueError:
        raise UserError(f"class_map={path}: is not a JSON file") from None
    classifier = next(reversed(module.state_dict()), "").rpartition(".")[0]
    rows = {key: tensor for key, tensor in tensors.items() if key.rpartition(".")[0] == classifier}
    count = min((len(tensor) for tensor in rows.values()), default=0)
    if not isinstance(classes, list) or not all(type(each) is int and 0 <= each < count for each in classes):
        raise UserError(
            f"class_map={path}: must be a list of classes of the file, whole numbers from 0 to {count - 1} "
            f"({classifier})"
        )
    return {**tensors, **{key: tensor[classes] for key, tensor in rows.items()}}


def _below(prefix: str, tensors: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    start = prefix if prefix.endswith(".") else prefix + "."
    below = {key[len(start) :]: value for key, value in tensors.items() if key.startswith(start)}
    if not below:
        tops = ", ".join(sorted({key.partition(".")[0] for key in tensors})[:8])
        raise UserError(f"prefix={prefix}: no key of {source} starts with {start!r}; the keys start with {tops}")
    return below


def _load(module: nn.Module, file: WeightFile, source: str, min_match: float, strict: bool) -> LoadReport:
    report = _match(module, file, source, min_match, strict)
    module.load_state_dict(report.match.tensors, strict=False)
    logger.info("%s", report)
    for warning in report.warnings():
        logger.warning(f"weights from {source}: {warning}")
    return report


def _match(module: nn.Module, file: WeightFile, source: str, min_match: float, strict: bool) -> LoadReport:
    if not 0 <= min_match <= 1:
        raise UserError(f"min_match={min_match}: must be a fraction from 0 to 1")
    for key, target in module.state_dict().items():
        if key in file.tensors and (problem := copy_problem(file.tensors[key], target)) is not None:
            raise UserError(f"{source}: the tensor {key} {problem}")
    match = match_tensors(module, file.tensors)
    report = LoadReport(source, file.kind, match, file.metadata, file.notes)
    if strict and (match.reinitialized or match.ignored or match.reshaped):
        rule = "strict=true requires every key and shape of both sides to match"
    elif not match.tensors or match.share < min_match:
        rule = f"at least min_match={min_match:g} of the model's tensors must match; nothing was loaded"
    else:
        return report
    raise UserError(
        f"{source}: does not belong to this model: {match.matching} of {match.counted} tensors match, "
        f"{len(match.ignored)} tensors of the file are not in the model\n{report.details()}\n  {rule}"
    )


def _unwrapped(model: nn.Module) -> nn.Module:
    """Return the module inside DataParallel, DistributedDataParallel and torch.compile."""
    is_wrapper = isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel)
    inner = model.module if is_wrapper else getattr(model, "_orig_mod", None)
    return _unwrapped(inner) if isinstance(inner, nn.Module) else model
