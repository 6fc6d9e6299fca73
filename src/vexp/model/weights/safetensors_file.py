"""The safetensors format: the header is checked before a tensor is read.

A file begins with the length of its header (8 bytes, little-endian) and the header in JSON: of every tensor the type,
the shape and the range of its bytes; and ``__metadata__``, texts by name
(https://huggingface.co/docs/safetensors). It cannot contain code.
"""

from __future__ import annotations

import json
import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import vexp
from vexp.core.documents import check_schema, open_regular, parse_json
from vexp.core.errors import UserError
from vexp.core.file_content import describe_content
from vexp.core.files import atomic_write

if TYPE_CHECKING:
    from torch import Tensor

SUFFIX = ".safetensors"
_METADATA = "__metadata__"
_VERSION = "vexp"  # name of the metadata of a file that vexp wrote
_DESCRIPTIONS = ("classes", "config", "img_norm", "step", "epoch")  # what of a checkpoint the metadata contain
_LENGTH_BYTES = 8  # of the number that a file begins with
_MAX_HEADER = 100_000_000  # bytes; the limit of the safetensors library
#: The format's name of a type -> (torch's name, bytes of an element). Types of less than a byte are not in torch.
_DTYPES = {
    "BOOL": ("bool", 1), "U8": ("uint8", 1), "U16": ("uint16", 2), "U32": ("uint32", 4), "U64": ("uint64", 8),
    "I8": ("int8", 1), "I16": ("int16", 2), "I32": ("int32", 4), "I64": ("int64", 8), "C64": ("complex64", 8),
    "F64": ("float64", 8), "F32": ("float32", 4), "F16": ("float16", 2), "BF16": ("bfloat16", 2),
    "F8_E4M3": ("float8_e4m3fn", 1), "F8_E5M2": ("float8_e5m2", 1), "F8_E4M3FNUZ": ("float8_e4m3fnuz", 1),
    "F8_E5M2FNUZ": ("float8_e5m2fnuz", 1),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Header:
    """The checked header of a file."""

    shapes: dict[str, tuple[int, ...]]  # by key, in the order of the file
    dtypes: dict[str, str]  # by key, as the format names them: F32, BF16, I64
    metadata: dict[str, str]


def is_safetensors(path: Path) -> bool:
    """Whether a file has the suffix of the format, or begins as its files do."""
    if path.suffix == SUFFIX:
        return True
    try:
        with open_regular(path) as file:
            start = file.read(_LENGTH_BYTES + 1)
            return start[_LENGTH_BYTES:] == b"{" and 2 <= _number(start) <= path.stat().st_size - _LENGTH_BYTES
    except OSError:
        return False


def read_header(path: Path) -> Header:
    """Read and check the header of a file.

    Raises:
        UserError: If the file is missing, is not of this format, is incomplete, or if its header contradicts itself.
    """
    try:
        with open_regular(path) as file:
            start, size = file.read(_LENGTH_BYTES), path.stat().st_size
            length = _number(start)
            if len(start) < _LENGTH_BYTES or length > _MAX_HEADER:
                raise UserError(f"{path}: {describe_content(path, 'safetensors file')}")
            text = file.read(length)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except OSError as error:
        raise UserError(f"{path}: the weights cannot be read: {error.strerror or error}") from None
    if not text.startswith(b"{"):
        raise UserError(f"{path}: {describe_content(path, 'safetensors file')}")
    if len(text) < length:
        raise UserError(f"{path}: is incomplete: the header has {len(text)} of {length} bytes; download it again")
    try:
        entries = parse_json(text.decode("utf-8"), f"{path}: the header", unique_keys=True)
    except UnicodeDecodeError:
        raise UserError(f"{path}: the header is not UTF-8 text") from None
    return _check_header(check_schema(entries, {str: dict}, f"{path}: the header"), path, size - len(start) - length)


def read_safetensors(path: Path) -> dict[str, Any]:
    """Return the content of a file: its tensors by key, or the content that was given to ``write_safetensors``.

    Raises:
        UserError: As for ``read_header``.
    """
    from safetensors import SafetensorError, safe_open

    header = read_header(path)
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            tensors: dict[str, Tensor] = {key: file.get_tensor(key) for key in header.shapes}
    except (SafetensorError, OSError, RuntimeError) as error:
        raise UserError(f"{path}: the weights cannot be read: {error}") from None
    tied = {key: kept for key, kept in header.metadata.items() if kept in tensors and key not in tensors}
    tensors |= {key: tensors[kept] for key, kept in tied.items()}
    if _VERSION not in header.metadata:
        return dict(tensors)
    described = {key: header.metadata[key] for key in _DESCRIPTIONS if key in header.metadata}
    values = {key: parse_json(text, f"{path}: the metadata: {key}") for key, text in described.items()}
    return {"model": tensors, **values}


def write_safetensors(path: Path, content: Mapping[str, Any]) -> None:
    """Write the ``model`` of a checkpoint's content; ``classes``, ``config`` and the like become texts of the metadata.

    A tensor that has several keys (tied weights) is written once; its other keys are in the metadata, as the library's
    ``save_model`` writes them. The library itself is not used, since it writes the metadata in random order: equal
    content would have different checksums.

    Raises:
        UserError: If a tensor has no values of its own, or a type that the format does not have.
        OSError: If the file cannot be written.
    """
    import torch

    tensors, tied = _untie(content["model"])
    texts = {key: json.dumps(content[key], ensure_ascii=False) for key in _DESCRIPTIONS if content.get(key) is not None}
    header: dict[str, Any] = {_METADATA: {"format": "pt", _VERSION: vexp.__version__, **texts, **tied}}
    names = {getattr(torch, name): short for short, (name, _) in _DTYPES.items()}
    tensors = dict(sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0])))  # aligned in the file
    end = 0
    for key, tensor in tensors.items():
        if tensor.dtype not in names:
            raise UserError(f"{path}: the tensor {key} is {tensor.dtype}, which the format does not have")
        start, end = end, end + tensor.nbytes
        header[key] = {"dtype": names[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _LENGTH_BYTES)
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        file.write(len(text).to_bytes(_LENGTH_BYTES, "little") + text)
        for tensor in tensors.values():
            file.write(tensor.reshape(-1).view(torch.uint8).numpy().data)


def _untie(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return contiguous tensors on the CPU that share no memory, and for each other key of a tensor its first key."""
    from vexp.model.weights.matching import copy_problem

    tensors: dict[str, Tensor] = {}
    tied: dict[str, str] = {}
    first_keys: dict[Hashable, str] = {}
    storages = set()
    for key, tensor in state.items():
        if (problem := copy_problem(tensor)) is not None:
            raise UserError(f"the tensor {key} {problem}")
        storage = tensor.untyped_storage().data_ptr()
        memory = (storage, tensor.storage_offset(), tensor.shape, tensor.stride(), tensor.dtype)
        if tensor.numel() and (first := first_keys.setdefault(memory, key)) != key:
            tied[key] = first
            continue
        own = tensor.detach().to("cpu").contiguous()
        tensors[key] = own.clone() if storage in storages else own
        storages.add(storage)
    return tensors, tied


def _check_header(entries: Mapping[str, Any], path: Path, size: int) -> Header:
    """Check that the tensors fill the ``size`` bytes after the header without gap or overlap."""
    metadata = check_schema(entries.get(_METADATA, {}), {str: str}, f"{path}: the header: {_METADATA}")
    header = Header({}, {}, metadata)
    ranges = []
    schema = {"dtype": str, "shape": [int], "data_offsets": [int]}
    for key, entry in entries.items():
        if key == _METADATA:
            continue
        check_schema(entry, schema, f"{path}: the header: {key}")
        dtype, shape, offsets = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
        if dtype not in _DTYPES:
            raise UserError(f"{path}: the tensor {key} has the type {dtype}, which cannot be read")
        count = _DTYPES[dtype][1] * math.prod(shape)
        if min(shape, default=0) < 0 or len(offsets) != 2 or offsets[0] < 0 or offsets[1] - offsets[0] != count:
            raise UserError(
                f"{path}: the header is wrong: {key} is {dtype} of shape {list(shape)}, its bytes are {offsets}"
            )
        header.shapes[key], header.dtypes[key] = shape, dtype
        ranges.append((*offsets, key))
    end = 0
    for first, last, key in sorted(ranges):
        if first != end:
            raise UserError(f"{path}: the header is wrong: the bytes of {key} begin at {first} instead of {end}")
        end = last
    if size != end:
        problem = "is incomplete" if size < end else "is longer than its header states"
        raise UserError(f"{path}: {problem}: has {size} of {end} bytes of tensors; download it again")
    return header


def _number(start: bytes) -> int:
    return int.from_bytes(start[:_LENGTH_BYTES], "little")
