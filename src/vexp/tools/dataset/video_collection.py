"""The videos of a collection: those in a folder, or those that lists name."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vexp.core.errors import UserError
from vexp.data import storage
from vexp.data.annotations.annotation import Annotation
from vexp.data.annotations.folders import is_video, read_folder
from vexp.data.annotations.list_files import read_list
from vexp.data.annotations.packed import PackedStrings
from vexp.data.sources.splits import SPLITS


@dataclass(slots=True, eq=False)
class Collection:
    """The videos of a collection, all of which are in the folder ``root``."""

    root: Path | str  # text of an archive or a server
    names: list[str]  # sorted paths relative to ``root``; those of folders for a list of raw frames
    splits: dict[str, Annotation]  # from the lists or from the folders of classes; empty if there are neither


def collect(
    root: Path | str,
    lists: Mapping[str, Path] | None = None,
    *,
    format: str = "auto",
    classes: Sequence[str] | None = None,
    file_name: str | None = None,
    leave_out: Path | None = None,
) -> Collection:
    """Return the videos that the lists name or, without lists, all videos in ``root`` except those in ``leave_out``.

    ``root`` is a folder, or as text an archive or a server (``vexp.data.storage``).
    ``lists`` are list files by split, with names relative to ``root`` (``data_prefix``); ``format``, ``classes`` and
    ``file_name`` are those of ``read_list``. By default all lists have the classes of the first.

    Raises:
        UserError: If the folder does not exist, a list is invalid or names a file outside ``root``, or there is no
            video.
    """
    if isinstance(root, Path) and not root.is_dir():
        raise UserError(f"{root}: no such folder of videos")
    if not lists:
        names = videos_below(root, leave_out)
        if not names:
            raise UserError(f"{root}: contains no video")
        return Collection(root, names, _splits_of_folders(root, classes))
    splits: dict[str, Annotation] = {}
    for split, path in lists.items():
        multi_label = next((rows.multi_label for rows in splits.values()), None)
        rows = read_list(
            path, format=format, prefix=str(root), split=split, classes=classes, file_name=file_name,
            multi_label=multi_label,
        )  # fmt: skip
        if isinstance(root, str) and "frames" in rows.format:
            raise UserError(f"{path}: lists folders of frames, which are only read from a folder here, not from {root}")
        classes = rows.classes  # all splits have the same classes
        splits[split] = replace(rows, names=PackedStrings.pack(_relative_name(root, name, path) for name in rows.names))
    return Collection(root, sorted({name for rows in splits.values() for name in rows.names}), splits)


def videos_below(root: Path | str, leave_out: Path | None = None) -> list[str]:
    """Return the sorted paths, relative to ``root``, of all videos except in hidden files and folders."""
    if isinstance(root, str):
        return [name for name in storage.names(root) if is_video(name) and "/." not in f"/{name}"]
    names = []
    for folder, inner, files in os.walk(root):
        inner[:] = [name for name in inner if not name.startswith(".") and Path(folder, name) != leave_out]
        names += [os.path.relpath(os.path.join(folder, name), root) for name in files if is_video(name)]
    return sorted(names)


def _splits_of_folders(root: Path | str, classes: Sequence[str] | None) -> dict[str, Annotation]:
    """Read ``root/SPLIT/CLASS/VIDEO`` or ``root/CLASS/VIDEO``; return nothing if the folders are not classes."""
    splits: dict[str, Annotation] = {}
    try:
        parts = {split: os.path.join(root, split) for split in SPLITS}
        there = {s: bool(storage.names(p)) if isinstance(root, str) else os.path.isdir(p) for s, p in parts.items()}
        if not there["train"]:
            return {"train": read_folder(root, classes)}
        for split in (split for split in SPLITS if there[split]):
            rows = read_folder(parts[split], classes)
            classes = rows.classes
            names = PackedStrings.pack(os.path.join(split, name) for name in rows.names)
            splits[split] = replace(rows, names=names, prefix=str(root))
    except UserError:
        return {}
    return splits


def _relative_name(root: Path | str, name: str, path: Path) -> str:
    """Normalize a name relative to ``root``, so that its target lies in the target folder."""
    inside = os.path.relpath(os.path.join(root, name), root)
    if inside == os.curdir or inside.startswith(os.pardir):
        raise UserError(f"{path}: names {name}, which is not in {root}; specify the folder that contains all videos")
    return inside
