"""Reading a weight file and finding the state dict in it, whichever program wrote it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vexp import checkpoint
from vexp.core.documents import check_schema
from vexp.core.errors import UserError
from vexp.model.weights import hf_folder
from vexp.model.weights.metadata import Metadata, of_mmaction2, of_vexp
from vexp.model.weights.safetensors_file import is_safetensors, read_safetensors
from vexp.model.weights.stand_ins import STAND_INS, convert_arrays, ignored_types

#: Keys of the state dict: mmcv, Lightning and others; PySlowFast; torchvision's references; DeepSpeed.
_STATE_DICT_KEYS = ("state_dict", "model_state", "model_state_dict", "model", "net", "module")
_SHOWN = 3  # names in a note
_COMPILED = re.compile(r"(^|\.)_orig_mod\.")  # torch.compile


@dataclass(slots=True)
class WeightFile:
    """The content of a weight file."""

    tensors: dict[str, Tensor]  # by key, without the prefixes of DataParallel and torch.compile
    kind: str  # the program that wrote the file: vexp, mmaction2, lightning, slowfast, or plain if unknown
    metadata: Metadata = field(default_factory=Metadata)
    notes: list[str] = field(default_factory=list)  # how the file was obtained and read, for the report
    config: dict[str, Any] | None = None  # of the run that a vexp file was saved by


def read(path: Path) -> dict[str, Any]:
    """Read a file onto the CPU: safetensors, the shards of an index, or a file of ``torch.save``, which runs no code.

    The values of other packages' types in a file of ``torch.save`` are ignored, or become plain numbers, tensors and
    dicts (``vexp.model.weights.stand_ins``).

    Raises:
        UserError: If the file is missing, damaged, not a checkpoint, or names a type or function that is not listed.
    """
    if hf_folder.is_index(path):
        return hf_folder.read_indexed(path)
    if is_safetensors(path):
        return read_safetensors(path)
    with torch.serialization.safe_globals(STAND_INS):
        content = checkpoint.load(path)
    convert_arrays(content)
    return content


def unwrap(content: Mapping[str, Any], source: str, *, key: str | None = None) -> WeightFile:
    """Find the state dict in the content of a file; for vexp checkpoints, the averaged weights (EMA) if present.

    ``key`` is the name of the entry that holds it, nested ones with dots. Without it, it is the only entry with
    tensors, or the only one of ``_STATE_DICT_KEYS``, or the content itself if that has tensors.

    Raises:
        UserError: If there is no state dict, or if several entries may be it.
    """
    if key is None and isinstance(content.get("model"), Mapping) and "classes" in content:
        return _unwrap_vexp(content, source)
    state, notes = _select(content, source, key) if key is not None else _find_state_dict(content, source)
    kind, metadata, meta = "plain", Metadata(), content.get("meta")
    if "pytorch-lightning_version" in content:
        kind = "lightning"
    elif state is content.get("model_state"):
        kind = "slowfast"
    elif isinstance(meta, Mapping):
        metadata = of_mmaction2(meta)
        if any(name.removeprefix("module.").startswith("backbone.") for name, _ in _texts(state)):
            kind = "mmaction2"
    for name, value in _texts(content):
        if value is not state and (types := ignored_types(value)):
            notes.append(f"the file's {name!r} ({', '.join(types[:_SHOWN])}) was ignored")
    return WeightFile(_tensors(state, source), kind, metadata, notes)


def _unwrap_vexp(content: Mapping[str, Any], source: str) -> WeightFile:
    state, notes = content["model"], []
    if "ema" in content:
        notes, averaged = ["the averaged weights (EMA)"], check_schema(content["ema"], dict, f"{source}: ema")
        state = {key.removeprefix("module."): v for key, v in _texts(averaged) if key.startswith("module.")}
    config = content.get("config")
    return WeightFile(
        _tensors(state, source), "vexp", of_vexp(content), notes, config if isinstance(config, dict) else None
    )


def _find_state_dict(content: Mapping[Any, Any], source: str) -> tuple[Mapping[Any, Any], list[str]]:
    """Return the state dict of a file, and notes on the choice."""
    candidates = {str(key): value for key, value in content.items() if _has_tensors(value)}
    chosen = [key for key in _STATE_DICT_KEYS if key in candidates]
    if not chosen:
        if any(isinstance(value, Tensor) for value in content.values()):
            return content, []
        chosen = list(candidates)
    if not chosen:  # the caller raises
        wrapper = next((key for key in _STATE_DICT_KEYS if isinstance(content.get(key), Mapping)), None)
        return content if wrapper is None else content[wrapper], []
    if len(chosen) > 1:
        counts = [f"{key} ({_count(candidates[key])} tensors)" for key in candidates]
        hint = f"name the one to load: model.weights.key={chosen[0]} (vexp convert: key={chosen[0]})"
        raise UserError(f"{source}: has several sets of weights: {', '.join(counts)}; {hint}")
    (name,), others = chosen, [key for key in candidates if key != chosen[0]]
    if others:
        note = f"its {name!r}; model.weights.key loads {' or '.join(map(repr, others[:_SHOWN]))} instead"
        return candidates[name], [note]
    return candidates[name], [] if name in _STATE_DICT_KEYS else [f"its {name!r}"]


def _select(content: Mapping[Any, Any], source: str, key: str) -> tuple[Mapping[Any, Any], list[str]]:
    """Return the entry of ``key``, and a note on it."""
    state: Any = content
    for part in key.split("."):
        inner = {str(name): value for name, value in state.items()} if isinstance(state, Mapping) else {}
        state = inner.get(part)
        if not isinstance(state, Mapping):
            names = ", ".join(name for name, value in inner.items() if isinstance(value, Mapping)) or "none"
            raise UserError(f"key={key}: {source} has no entry {part!r} of tensors; its entries are {names}")
    return state, [f"its {key!r}"]


def _tensors(state: Mapping[Any, Any], source: str) -> dict[str, Tensor]:
    """Return the tensors of a state dict, without the prefixes of torch.compile and DataParallel.

    Raises:
        UserError: If it has none.
    """
    tensors = {key: value for key, value in _texts(state) if isinstance(value, Tensor)}
    if not tensors:
        raise UserError(f"{source}: contains no weights; its keys are {', '.join(map(str, list(state)[:8])) or 'none'}")
    tensors = {_COMPILED.sub(r"\1", key): value for key, value in tensors.items()}
    while all(key.startswith("module.") for key in tensors):  # of DataParallel
        tensors = {key.removeprefix("module."): value for key, value in tensors.items()}
    return tensors


def _has_tensors(value: Any) -> bool:
    return isinstance(value, Mapping) and _count(value) > 0


def _count(state: Mapping[Any, Any]) -> int:
    return sum(isinstance(value, Tensor) for value in state.values())


def _texts(state: Mapping[Any, Any]) -> list[tuple[str, Any]]:
    """Return the items with their keys as text; a file may have numbers as keys."""
    return [(str(key), value) for key, value in state.items()]
