"""A folder per class -> annotation."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from vexp.core.errors import MissingInputError, UserError
from vexp.data.annotations.annotation import Annotation
from vexp.data.annotations.packed import TextPacker

#: What a folder is searched for. Anything else PyAV may open, but a folder also holds lists, images and notes.
VIDEO_SUFFIXES = frozenset({".mp4", ".mkv", ".webm", ".avi", ".mov", ".m4v", ".mpg", ".mpeg", ".ts", ".flv", ".wmv"})


def read_folder(root: Path, classes: Sequence[str] | None) -> Annotation:
    """A folder per class: ``root/CLASS/**/VIDEO``; classes are numbered in alphabetical order unless given.

    Videos are listed class by class in turn (first of each class, second of each class ...), so that the first n
    of them (``indices=n``) show all classes.

    Raises:
        UserError: it is no such folder.
    """
    if not root.is_dir():
        raise MissingInputError(f"{root}: no such folder; it must hold one folder of videos a class")
    found = sorted(entry.name for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if not found:
        raise UserError(f"{root}: holds no folder; put the videos of each class into a folder named after it")
    names = list(classes) if classes is not None else found
    strangers = sorted(set(found) - set(names))
    if strangers:
        raise UserError(f"{root}: folders {', '.join(strangers)} are not among the {len(names)} classes")
    packer, counts = TextPacker(), []
    for name in names:
        videos = sorted(_videos(str(root), name))  # of one class only: packed before the next is looked at
        counts.append(len(videos))
        for video in videos:
            packer.add(video)
    if not len(packer):
        raise UserError(f"{root}: its class folders hold no video ({', '.join(sorted(VIDEO_SUFFIXES))})")
    labels = np.repeat(np.arange(len(names), dtype=np.int32), counts)
    turns = np.concatenate([np.arange(count, dtype=np.int32) for count in counts])
    listed = Annotation(packer.finish(), labels, names, str(root), format="folder", origin=f"{root}: a folder a class")
    return listed.take(np.lexsort((labels, turns)))


def is_video(name: str) -> bool:
    """Hidden files are left out: macOS puts one beside each file that it copies, ``._NAME.mp4``."""
    return os.path.splitext(name)[1].lower() in VIDEO_SUFFIXES and not os.path.basename(name).startswith(".")


def _videos(root: str, folder: str) -> Iterator[str]:
    """Relative to ``root``."""
    try:
        entries = list(os.scandir(os.path.join(root, folder)))
    except FileNotFoundError:
        return  # a given class without videos in this split
    for entry in entries:
        name = os.path.join(folder, entry.name)
        if entry.is_dir(follow_symlinks=False):
            yield from _videos(root, name)
        elif is_video(name) and entry.is_file():
            yield name
