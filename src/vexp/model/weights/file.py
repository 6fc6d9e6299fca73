"""What is in a weight file: the state dict behind the wrapping of the program that wrote it."""

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
from vexp.core.errors import UserError
from vexp.model.weights.metadata import Metadata, of_mmaction2, of_vexp

#: Where programs keep the state dict: mmcv, Lightning and many; PySlowFast; the references of torchvision; DeepSpeed.
_WRAPPINGS = ("state_dict", "model_state", "model_state_dict", "model", "net", "module")
_COMPILED = re.compile(r"(^|\.)_orig_mod\.")  # torch.compile


@dataclass(slots=True)
class WeightFile:
    """``tensors`` by key as the file has them, but for the marks of DataParallel and torch.compile; ``kind``: who wrote
    it: vexp, mmaction2, lightning, slowfast or plain."""

    tensors: dict[str, Tensor]
    kind: str
    metadata: Metadata = field(default_factory=Metadata)
    notes: list[str] = field(default_factory=list)


def read(path: Path) -> dict[str, Any]:
    """A file's content, on the CPU, read with ``weights_only=True``.

    NumPy's numbers, which mmcv leaves in ``meta`` (the best score, say), become Python's: stand-ins that can build
    nothing else take the place of NumPy's constructors while the file is read.

    Raises:
        UserError: no such file, not a checkpoint, damaged, or holding more than tensors, containers and numbers.
    """
    stand_ins: list[Any] = [
        (_DType, "numpy.dtype"),
        *((_number, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
    ]
    with torch.serialization.safe_globals(stand_ins):
        return checkpoint.load(path)


class _DType:
    """Stands for ``numpy.dtype`` while a file is read: a letter, and a byte order."""

    def __init__(self, code: str, *_: object) -> None:
        self.code = str(code)
        self.order = "<"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = str(state[1])


def _number(dtype: _DType, data: bytes | str) -> Any:
    """Stands for ``numpy.core.multiarray.scalar``: a plain Python number."""
    kind = np.dtype(dtype.code)
    if kind.kind not in "biuf":
        raise ValueError(f"a NumPy scalar of type {dtype.code}")
    raw = data.encode("latin-1") if isinstance(data, str) else data
    return np.frombuffer(raw, kind.newbyteorder(">" if dtype.order == ">" else "<"))[0].item()


def unwrap(content: Mapping[str, Any], source: str) -> WeightFile:
    """The state dict of a file's content; of a vexp checkpoint the averaged weights (EMA) where it has them.

    Raises:
        UserError: there is none.
    """
    kind, metadata = "plain", Metadata()
    notes: list[str] = []
    if isinstance(content.get("model"), Mapping) and "classes" in content:
        kind, metadata = "vexp", of_vexp(content)
        if "ema" in content:
            notes.append("the averaged weights (EMA)")
            averaged = content["ema"]
            found = {key[len("module.") :]: value for key, value in averaged.items() if key.startswith("module.")}
        else:
            found = dict(content["model"])
    else:
        wrapping = next((name for name in _WRAPPINGS if isinstance(content.get(name), Mapping)), None)
        found = dict(content[wrapping]) if wrapping is not None else dict(content)
        meta = content.get("meta")
        if "pytorch-lightning_version" in content:
            kind = "lightning"
        elif wrapping == "model_state":
            kind = "slowfast"
        elif isinstance(meta, Mapping):
            metadata = of_mmaction2(meta)
            if any(key.removeprefix("module.").startswith("backbone.") for key in found):
                kind = "mmaction2"
    tensors = {str(key): value for key, value in found.items() if isinstance(value, Tensor)}
    if not tensors:
        raise UserError(f"{source}: holds no weights; its keys are {', '.join(map(str, list(found)[:8])) or 'none'}")
    return WeightFile(_unmarked(tensors), kind, metadata, notes)


def _unmarked(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Keys without the ``module.`` of DataParallel and the ``_orig_mod.`` of torch.compile."""
    tensors = {_COMPILED.sub(r"\1", key): value for key, value in tensors.items()}
    while all(key.startswith("module.") for key in tensors):
        tensors = {key.removeprefix("module."): value for key, value in tensors.items()}
    return tensors
