"""The videos that a tool works on: those below a folder, or those that lists name."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vexp.core.errors import UserError
from vexp.data.annotations.annotation import Annotation
from vexp.data.annotations.folders import is_video, read_folder
from vexp.data.annotations.list_files import read_list
from vexp.data.annotations.packed import PackedStrings
from vexp.data.sources.splits import SPLITS


@dataclass(slots=True, eq=False)
class Collection:
    """Files below ``root``, each once: ``names``, relative to it, in alphabetical order.

    ``splits``: what the lists say of them, or the folders of classes; none of a folder that has no classes. Of a list
    of raw frames a name is that of a folder.
    """

    root: Path
    names: list[str]
    splits: dict[str, Annotation]


def collect(
    root: Path,
    lists: Mapping[str, Path] | None = None,
    *,
    format: str = "auto",
    classes: Sequence[str] | None = None,
    file_name: str | None = None,
    leave_out: Path | None = None,
) -> Collection:
    """The videos that the list of each split names; without lists, all below ``root``.

    Args:
        root: what ``data_prefix`` is: the folder that names are relative to.
        lists: by split ("train", "val", "test"), in any format of ``vexp.data.annotations.list_files``.
        format, classes, file_name: as in ``read_list``; classes None: those of the first list, for all.
        leave_out: a folder below root that is not looked into.

    Raises:
        UserError: no such folder, a list with bad lines or names outside of root, no video at all.
    """
    if not root.is_dir():
        raise UserError(f"{root}: no such folder of videos")
    if not lists:
        names = videos_below(root, leave_out)
        if not names:
            raise UserError(f"{root}: holds no video")
        return Collection(root, names, _splits_of_folders(root, classes))
    splits: dict[str, Annotation] = {}
    for split, path in lists.items():
        rows = read_list(
            path, format=format, prefix=str(root), split=split, classes=classes, file_name=file_name,
            multi_label=next((known.multi_label for known in splits.values()), None),
        )  # fmt: skip
        classes = rows.classes  # one numbering for all
        splits[split] = replace(rows, names=PackedStrings.pack(_below(root, name, path) for name in rows.names))
    return Collection(root, sorted({name for rows in splits.values() for name in rows.names}), splits)


def videos_below(root: Path, leave_out: Path | None = None) -> list[str]:
    """Their names relative to root, in alphabetical order; hidden files and folders are not looked at."""
    found = []
    for folder, inner, files in os.walk(root):
        inner[:] = [name for name in inner if not name.startswith(".") and Path(folder, name) != leave_out]
        found += [os.path.relpath(os.path.join(folder, name), root) for name in files if is_video(name)]
    return sorted(found)


def _splits_of_folders(root: Path, classes: Sequence[str] | None) -> dict[str, Annotation]:
    """``root/train/CLASS/VIDEO`` and so on, or ``root/CLASS/VIDEO``; none where the folders are no classes."""
    splits: dict[str, Annotation] = {}
    try:
        if not (root / "train").is_dir():
            return {"train": read_folder(root, classes)}
        for split in (split for split in SPLITS if (root / split).is_dir()):
            rows = read_folder(root / split, classes)
            classes = rows.classes
            names = PackedStrings.pack(os.path.join(split, name) for name in rows.names)
            splits[split] = replace(rows, names=names, prefix=str(root))
    except UserError:
        return {}
    return splits


def _below(root: Path, name: str, path: Path) -> str:
    """The name relative to root: what is made of a file must not land beside it, or anywhere else."""
    inside = os.path.relpath(os.path.join(root, name), root)
    if inside == os.curdir or inside.startswith(os.pardir):
        raise UserError(f"{path}: names {name}, which is not below {root}; name the folder that holds all videos")
    return inside
