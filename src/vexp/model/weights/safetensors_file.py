"""The safetensors format: the header is checked before a tensor is read.

A file begins with the length of its header (8 bytes, little-endian) and the header in JSON: of every tensor the type,
the shape and the range of its bytes; and ``__metadata__``, texts by name
(https://huggingface.co/docs/safetensors). It cannot contain code.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vexp.core.documents import check_schema, open_regular, parse_json
from vexp.core.errors import UserError
from vexp.core.file_content import describe_content

if TYPE_CHECKING:
    from torch import Tensor

SUFFIX = ".safetensors"
_METADATA = "__metadata__"
_LENGTH_BYTES = 8  # of the number that a file begins with
_MAX_HEADER = 100_000_000  # bytes; the limit of the safetensors library
#: Bytes of an element by the format's name of its type. Types of less than a byte (F4, F6) are not in torch.
_ELEMENT_BYTES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1, "U16": 2, "I16": 2, "F16": 2, "BF16": 2,
    "U32": 4, "I32": 4, "F32": 4, "U64": 8, "I64": 8, "F64": 8, "C64": 8,
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
    """Return the content of a file: its tensors by key, or that of the vexp checkpoint that it was written from.

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
    return dict(tensors)


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
        if dtype not in _ELEMENT_BYTES:
            raise UserError(f"{path}: the tensor {key} has the type {dtype}, which cannot be read")
        count = _ELEMENT_BYTES[dtype] * math.prod(shape)
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
