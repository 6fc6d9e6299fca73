"""Reading a weight file and finding the state dict in it, whichever program wrote it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vexp import checkpoint
from vexp.core.documents import check_schema
from vexp.core.errors import UserError
from vexp.model.weights import hf_folder
from vexp.model.weights.metadata import Metadata, of_mmaction2, of_vexp
from vexp.model.weights.safetensors_file import is_safetensors, read_safetensors

#: Keys of the state dict: mmcv, Lightning and others; PySlowFast; torchvision's references; DeepSpeed.
_STATE_DICT_KEYS = ("state_dict", "model_state", "model_state_dict", "model", "net", "module")
_COMPILED = re.compile(r"(^|\.)_orig_mod\.")  # torch.compile


@dataclass(slots=True)
class WeightFile:
    """The content of a weight file."""

    tensors: dict[str, Tensor]  # by key, without the prefixes of DataParallel and torch.compile
    kind: str  # the program that wrote the file: vexp, mmaction2, lightning, slowfast, or plain if unknown
    metadata: Metadata = field(default_factory=Metadata)
    notes: list[str] = field(default_factory=list)  # how the file was obtained and read, for the report


def read(path: Path) -> dict[str, Any]:
    """Read a file onto the CPU: safetensors, the shards of an index, or a file of ``torch.save``, which runs no code.

    NumPy scalars, which mmcv stores in ``meta`` (such as the best score), are converted to Python numbers: while the
    file is read, NumPy's constructors are replaced by functions that cannot build anything else.

    Raises:
        UserError: If the file is missing, damaged, not a checkpoint, or contains more than tensors, containers and
            numbers.
    """
    if hf_folder.is_index(path):
        return hf_folder.read_indexed(path)
    if is_safetensors(path):
        return read_safetensors(path)
    scalars = [(_scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]
    with torch.serialization.safe_globals([(_DType, "numpy.dtype"), *scalars]):
        return checkpoint.load(path)


class _DType:
    """Replaces ``numpy.dtype`` while a file is read: a type code and a byte order."""

    def __init__(self, code: str, *_: object) -> None:
        self.code = str(code)
        self.order = "<"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = str(state[1])


def _scalar(dtype: _DType, data: bytes | str) -> Any:
    """Replaces ``numpy.core.multiarray.scalar``: returns a Python number."""
    kind = np.dtype(dtype.code)
    if kind.kind not in "biuf":
        raise ValueError(f"a NumPy scalar of type {dtype.code}")
    raw = data.encode("latin-1") if isinstance(data, str) else data
    return np.frombuffer(raw, kind.newbyteorder(">" if dtype.order == ">" else "<"))[0].item()


def unwrap(content: Mapping[str, Any], source: str) -> WeightFile:
    """Find the state dict in the content of a file; for vexp checkpoints, the averaged weights (EMA) if present.

    Raises:
        UserError: If there is no state dict.
    """
    kind, metadata, notes = "plain", Metadata(), []
    if isinstance(content.get("model"), Mapping) and "classes" in content:
        kind, metadata, state = "vexp", of_vexp(content), dict(content["model"])
        if "ema" in content:
            notes, averaged = ["the averaged weights (EMA)"], check_schema(content["ema"], dict, f"{source}: ema")
            state = {key.removeprefix("module."): v for key, v in _texts(averaged) if key.startswith("module.")}
    else:
        wrapper = next((name for name in _STATE_DICT_KEYS if isinstance(content.get(name), Mapping)), None)
        state = dict(content[wrapper]) if wrapper is not None else dict(content)
        meta = content.get("meta")
        if "pytorch-lightning_version" in content:
            kind = "lightning"
        elif wrapper == "model_state":
            kind = "slowfast"
        elif isinstance(meta, Mapping):
            metadata = of_mmaction2(meta)
            if any(key.removeprefix("module.").startswith("backbone.") for key, _ in _texts(state)):
                kind = "mmaction2"
    tensors = {key: value for key, value in _texts(state) if isinstance(value, Tensor)}
    if not tensors:
        raise UserError(f"{source}: contains no weights; its keys are {', '.join(map(str, list(state)[:8])) or 'none'}")
    tensors = {_COMPILED.sub(r"\1", key): value for key, value in tensors.items()}
    while all(key.startswith("module.") for key in tensors):  # of DataParallel
        tensors = {key.removeprefix("module."): value for key, value in tensors.items()}
    return WeightFile(tensors, kind, metadata, notes)


def _texts(state: Mapping[Any, Any]) -> list[tuple[str, Any]]:
    """Return the items with their keys as text; a file may have numbers as keys."""
    return [(str(key), value) for key, value in state.items()]
