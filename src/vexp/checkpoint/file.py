"""Save and load one checkpoint file: atomic writes, checksums, no arbitrary pickles; prune the older ones."""

from __future__ import annotations

import hashlib
import io
import pickle
import re
import shutil
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vexp.checkpoint.manifest import Manifest, ManifestEntry
from vexp.checkpoint.pruning import prune
from vexp.core.checksum import sha256
from vexp.core.documents import check_plain, check_schema, open_regular
from vexp.core.errors import UserError
from vexp.core.file_content import describe_archive, describe_content
from vexp.core.files import atomic_write, write_error_message

_MAGIC = (b"PK", b"\x80")  # torch's zip archive; a pickle, its format before 1.6
_FOREIGN_TYPE = re.compile(r"GLOBAL ([\w.]+)")  # how torch's unpickler names the types that it refuses


def save(path: Path, state: dict[str, Any], *, also: Sequence[str] = (), max_keep_ckpts: int = -1) -> None:
    """Write a checkpoint atomically, and its checksum to the folder's manifest.

    ``state`` holds tensors and plain containers; its ``step`` is recorded in the manifest. ``also`` are further names
    in the same folder: hard links, or copies if the file system has none.

    Raises:
        UserError: If the disk is full or the folder cannot be written; the previous files are intact.
    """
    with _write_errors(path):
        manifest = Manifest.readable(path.parent)
        with atomic_write(path) as temporary:
            digest, size = _serialize(state, temporary)
            step = int(state.get("step", 0))
            entries = [ManifestEntry(name, digest, step, size) for name in (path.name, *also)]
            manifest.announce(entries)
        for name in also:
            _link(path, name)
        prune(path.parent, max_keep_ckpts)
        manifest.commit(entries)


def complete(path: Path, *, max_keep_ckpts: int = -1) -> None:
    """Finish a save that a kill or a full disk interrupted: link the checkpoint's further names, and prune."""
    entry, manifest = check(path), Manifest.readable(path.parent)
    digest = entry.sha256 if entry is not None else None  # None: the manifest is damaged, or does not list the file
    entries = [each for each in manifest.entries if each.sha256 == digest and each == manifest.entries_of(each.name)[0]]
    with _write_errors(path):
        for each in entries:
            linked = path.with_name(each.name)
            if not linked.is_file() or sha256(linked) != digest:
                _link(path, each.name)
        prune(path.parent, max_keep_ckpts)
        manifest.commit(each for each in entries if path.with_name(each.name).exists())


def load(path: Path) -> dict[str, Any]:
    """Return a checkpoint's content, on the CPU.

    Raises:
        UserError: If there is no such file, it is no checkpoint, it is damaged (according to the manifest or to torch),
            or it holds more than tensors and plain containers.
    """
    check(path)
    return _read(path)


def verified_entry(path: Path) -> ManifestEntry:
    """Return the entry of a checkpoint of training according to the file alone.

    torch saves a zip archive, which holds a checksum of each tensor that ``torch.load`` does not compare.

    Raises:
        UserError: If the file is damaged, or no checkpoint of training.
    """
    state = _read(path)
    check_training_state(state, path)
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except (OSError, zipfile.BadZipFile, NotImplementedError) as error:
        raise UserError(f"{path}: is damaged: {error}") from None
    if damaged is not None:
        raise UserError(f"{path}: is damaged: the checksum of {damaged} does not match")
    return ManifestEntry(path.name, sha256(path), state["step"], path.stat().st_size)


def _read(path: Path) -> dict[str, Any]:
    """Load a checkpoint without comparing it with the manifest."""
    import torch

    try:
        open_regular(path).close()  # opening a pipe would wait for its writer
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch guesses what a foreign file may be
            state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{path}: no such checkpoint") from None
    except OSError as error:
        raise UserError(f"{path}: the checkpoint cannot be read: {error.strerror or error}") from None
    except Exception as error:  # a damaged pickle raises anything: IndexError, struct.error, TypeError ...
        raise UserError(f"{path}: {_load_error_message(path, error)}") from None
    if not isinstance(state, dict):
        raise UserError(f"{path}: holds a {type(state).__name__} and is no checkpoint")
    return state


def check_training_state(state: dict[str, Any], path: Path) -> None:
    """Check that the content of a checkpoint has the parts that training saves, each of its type.

    Raises:
        UserError: If it does not.
    """
    generators = {"python": list | tuple, "numpy": dict, "torch": object, "cuda": list}
    group = {"params": [int], "param_names?": [str], "name?": str}
    best = {"metric": str, "score?": int | float, "step": int, "epoch": int, "offered?": int, "waited": int}
    schema = {
        "step": int, "model": {str: object}, "ema?": {str: object}, "best?": best, "plan?": {str: object},
        "classes?": [str], "config?": dict, "optimizer?": {"state": dict, "param_groups": [group]},
    }  # fmt: skip
    if state.get("optimizer") is not None:
        schema |= {"scaler": dict, "meter": dict, "skipped": int, "nonfinite": int, "rng": [generators]}
    check_schema(state, schema, path)
    check_plain(state.get("config"), f"{path}: config")
    if state["step"] < 0 or not state.get("rng", [0]):
        raise UserError(f"{path}: is damaged: step {state['step']}, {len(state.get('rng', [0]))} processes")


def has_checkpoint_header(path: Path) -> bool:
    """Return whether a file begins as checkpoints do, unlike a web page, another kind of archive, or an empty file."""
    with path.open("rb") as file:
        return file.read(2).startswith(_MAGIC)


def check(path: Path) -> ManifestEntry | None:
    """Return the manifest's entry that matches a file; None if the manifest does not list it or is damaged.

    ``torch.load`` alone does not detect a flipped bit in a tensor.

    Raises:
        UserError: If the file is not the one that was written.
    """
    entries = Manifest.readable(path.parent).entries_of(path.name)
    if not entries or not path.is_file():
        return None
    try:
        size = path.stat().st_size
        digest = sha256(path) if any(entry.size == size for entry in entries) else ""
    except OSError as error:
        raise UserError(f"{path}: the checkpoint cannot be read: {error.strerror}") from None
    if (entry := next((entry for entry in entries if entry.sha256 == digest), None)) is not None:
        return entry
    reason = "its checksum differs from that" if digest else f"it has {size} bytes instead of the {entries[0].size}"
    raise UserError(f"{path}: is damaged, or not the file that was saved: {reason} in manifest.json")


class _HashingFile(io.FileIO):
    """A file that computes the checksum of its content, and keeps the error of a failed write."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "wb")
        self.sha256 = hashlib.sha256()
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            written = super().write(data)
        except OSError as error:  # torch raises a RuntimeError without it
            self.error = error
            raise
        self.sha256.update(memoryview(data)[:written])
        return written


def _serialize(state: dict[str, Any], path: Path) -> tuple[str, int]:
    """Write ``state``; return (sha256, size). To a file object: with a path, torch writes its name into the archive."""
    import torch

    hashing = _HashingFile(path)
    try:
        with io.BufferedWriter(hashing, 1 << 20) as file:  # torch writes in small pieces
            torch.save(state, file)
    except RuntimeError:
        if hashing.error is not None:
            raise hashing.error from None
        raise
    return hashing.sha256.hexdigest(), path.stat().st_size


def _link(source: Path, name: str) -> None:
    with atomic_write(source.with_name(name)) as temporary:
        try:
            temporary.hardlink_to(source)
        except OSError:
            shutil.copyfile(source, temporary)


@contextmanager
def _write_errors(path: Path) -> Iterator[None]:
    """Raise errors of writing as UserErrors."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{path}: the checkpoint cannot be written: {write_error_message(path.parent, error)}. Earlier checkpoints "
            "are intact: free space or set checkpoint.out_dir=FOLDER, then resume with `vexp train --resume RUN`"
        ) from error
    except RuntimeError as error:  # how torch reports an error of its own writer
        raise UserError(f"{path}: the checkpoint cannot be written: {error}; earlier checkpoints are intact") from error


def _load_error_message(path: Path, error: Exception) -> str:
    """Describe why a file cannot be loaded; torch recommends weights_only=False, which runs the code of the file."""
    if not has_checkpoint_header(path):
        return describe_content(path, "checkpoint")
    foreign = _FOREIGN_TYPE.search(str(error)) if isinstance(error, pickle.UnpicklingError) else None
    if foreign is not None:
        return f"refused: holds more than tensors and plain containers: {foreign[1]}"
    unreadable = "is no checkpoint that torch.load(weights_only=True) can read, or it is damaged"
    return describe_archive(path) or unreadable
