"""Folders in the layout of Hugging Face: model.safetensors, or shards with an index, and JSON descriptions beside them.

``model.safetensors.index.json`` states for every tensor the file of the folder that holds it (``weight_map``).
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vexp.core.documents import check_schema, parse_json, read_json, read_text
from vexp.core.errors import UserError
from vexp.core.files import leaves_folder
from vexp.model.weights.metadata import Metadata, of_huggingface
from vexp.model.weights.safetensors_file import SUFFIX, Header, read_header, read_safetensors

if TYPE_CHECKING:
    from torch import Tensor

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
#: Files with the mean and std of the model's input, of which a folder has one.
PROCESSORS = ("video_preprocessor_config.json", "preprocessor_config.json", "processor_config.json")
CONFIG = "config.json"
_PICKLES = (".bin", ".pt", ".pth", ".ckpt")
_SHOWN = 4  # names of files in a message


def is_index(path: Path) -> bool:
    """Whether a path is named as an index of shards."""
    return path.name.endswith(f"{SUFFIX}.index.json")


def find_weights(folder: Path) -> list[Path]:
    """Return the files of a folder that may be its weights: ``model.safetensors``, and the index of its shards."""
    return [path for path in (folder / SINGLE, folder / INDEX) if path.exists()]


def describe_missing(names: Iterable[str], place: str) -> str:
    """Describe why a folder with files of these names has no weights, and what to do; ``place`` is its path or name."""
    names = sorted(names)
    if "pytorch_model.bin" in names:
        quoted = shlex.quote(place)
        converted = SINGLE if "://" in place else f"{quoted}/{SINGLE}"
        return (
            "has its weights as a pickle only, pytorch_model.bin, which is not read unless it is named; convert it "
            f"without running its code: vexp convert {quoted}/pytorch_model.bin {converted}"
        )
    if "pytorch_model.bin.index.json" in names:
        return (
            "has its weights as pickles only (pytorch_model.bin.index.json), which are not read; load it with "
            f"transformers and save it with save_pretrained, which writes {SINGLE}"
        )
    files = [name for name in names if name.endswith((SUFFIX, *_PICKLES))]
    shown = ", ".join(files[:_SHOWN]) + (" ..." if len(files) > _SHOWN else "")
    if not files:
        return f"has no weights: no {SINGLE}, no {INDEX}, no checkpoint of a run"
    if any("-of-" in name for name in files):
        return f"has shards ({shown}) but no {INDEX}, which lists their tensors; download it as well"
    return f"has neither {SINGLE} nor {INDEX}; name one of its files ({shown}), as in {place}/{files[0]}"


def read_indexed(index: Path) -> dict[str, Any]:
    """Return the tensors of the shards that an index lists, by key; all headers are checked before a tensor is read.

    Raises:
        UserError: If the index is no index or names files outside of its folder, a shard is missing or damaged, or the
            tensors of the shards are not those that the index lists.
    """
    files = shard_files(index)
    headers: dict[str, Header] = {}
    for file in dict.fromkeys(files.values()):
        if not (index.parent / file).exists():
            count = len(set(files.values()))
            raise UserError(f"{index.parent / file}: is missing; it is one of the {count} shards of {index.name}")
        headers[file] = read_header(index.parent / file)
    _check_shards(index, files, headers)
    tensors: dict[str, Tensor] = {}
    for file in headers:
        tensors |= read_safetensors(index.parent / file)
    return {key: tensors[key] for key in files}


def shard_files(index: Path) -> dict[str, str]:
    """Return the name of the file of each tensor, by key, from an index.

    Raises:
        UserError: If it is no index, or names files outside of its folder.
    """
    try:
        content = parse_json(read_text(index), index, unique_keys=True)
    except FileNotFoundError:
        raise UserError(f"{index}: no such file") from None
    files: dict[str, str] = check_schema(content, {"weight_map": {str: str}}, index)["weight_map"]
    if not files:
        raise UserError(f"{index}: lists no tensor")
    for key, file in files.items():
        if leaves_folder(file) or "\\" in file or "\0" in file:
            raise UserError(f"{index}: refused: the file of {key} is outside of the folder: {file}")
        if not file.endswith(SUFFIX):
            raise UserError(f"{index}: refused: the file of {key}, {file}, does not end in {SUFFIX}")
    return files


def _check_shards(index: Path, files: dict[str, str], headers: dict[str, Header]) -> None:
    """Check that every tensor is in the file that the index states, and in no other."""
    for key, file in files.items():
        if key not in headers[file].shapes:
            raise UserError(f"{index}: is wrong: it states that {key} is in {file}, which has no such tensor")
    for file, header in headers.items():
        for key in header.shapes:
            if files.get(key) != file:
                problem = f"is in {files[key]} and in {file}" if key in files else f"in {file} is not listed"
                raise UserError(f"{index}: is wrong: {key} {problem}")


def read_metadata(folder: Path) -> Metadata:
    """Return what the JSON files of a folder state: the classes, and the mean and std of the input.

    A file that is missing, damaged or has other content states nothing: the weights can be used without it.
    """
    return of_huggingface(_read_optional(folder / CONFIG), *(_read_optional(folder / name) for name in PROCESSORS))


def _read_optional(path: Path) -> dict[str, Any]:
    try:
        content = read_json(path, dict)
    except (FileNotFoundError, UserError):
        return {}
    return dict(content)
