"""Annotations of datasets with one folder of videos per class."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from vexp.core.errors import MissingInputError, UserError
from vexp.core.lazy import np
from vexp.data.annotations.annotation import Annotation
from vexp.data.annotations.packed import TextPacker
from vexp.data.storage import is_stored, names

#: Suffixes of the videos in a folder; PyAV can open other files, but a folder may also contain lists and images.
VIDEO_SUFFIXES = frozenset({".mp4", ".mkv", ".webm", ".avi", ".mov", ".m4v", ".mpg", ".mpeg", ".ts", ".flv", ".wmv"})
#: Suffixes of the images that a list may name; each is a video of one frame.
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp"})


def read_folder(root: str | Path, classes: Sequence[str] | None) -> Annotation:
    """Read ``root/CLASS/**/VIDEO``; classes are numbered in alphabetical order unless ``classes`` is given.

    ``root`` may be in an archive or on a server. The first video of each class is followed by the second of each class,
    and so on, so that the first n samples (``indices=n``) cover all classes.

    Raises:
        UserError: If the folder does not exist, has no videos, or has a folder that is not one of ``classes``.
    """
    videos = _stored_videos(str(root)) if is_stored(root) else None
    if videos is not None:
        folders = sorted(videos)
    else:
        root = Path(root)
        if not root.is_dir():
            raise MissingInputError(f"{root}: no such folder; it must contain one folder of videos per class")
        folders = sorted(entry.name for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if not folders:
        raise UserError(f"{root}: contains no folder; put the videos of each class into a folder named after it")
    class_names = list(classes) if classes is not None else folders
    unknown = sorted(set(folders) - set(class_names))
    if unknown:
        raise UserError(f"{root}: folders {', '.join(unknown)} are not among the {len(class_names)} classes")
    packer, counts = TextPacker(), []
    for name in class_names:
        found = sorted(_videos(str(root), name) if videos is None else videos.get(name, ()))  # packed class by class
        counts.append(len(found))
        for video in found:
            packer.add(video)
    if not len(packer):
        raise UserError(f"{root}: its class folders contain no video ({', '.join(sorted(VIDEO_SUFFIXES))})")
    labels = np.repeat(np.arange(len(class_names), dtype=np.int32), counts)
    ranks = np.concatenate([np.arange(count, dtype=np.int32) for count in counts])
    annotation = Annotation(
        packer.finish(), labels, class_names, str(root), format="folder", origin=f"{root}: one folder per class"
    )
    return annotation.take(np.lexsort((labels, ranks)))


def _stored_videos(root: str) -> dict[str, list[str]]:
    """Return the videos of each folder of an archive or server; a folder without videos is not known there."""
    videos: dict[str, list[str]] = {}
    for name in names(root):
        folder, slash, _ = name.partition("/")
        if slash and is_video(name) and not folder.startswith("."):
            videos.setdefault(folder, []).append(name)
    return videos


def is_video(name: str) -> bool:
    """Return whether a name is that of a video. Hidden files are none: macOS writes a ``._NAME.mp4`` with each copy."""
    return os.path.splitext(name)[1].lower() in VIDEO_SUFFIXES and not os.path.basename(name).startswith(".")


def is_image(name: str) -> bool:
    """Return whether a name is that of an image."""
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def _videos(root: str, folder: str) -> Iterator[str]:
    """Yield the videos of a folder and its subfolders, relative to ``root``."""
    try:
        entries = list(os.scandir(os.path.join(root, folder)))
    except FileNotFoundError:
        return  # a class without videos in this split
    except OSError as error:  # a link to itself, a file, no permission
        raise UserError(
            f"{os.path.join(root, folder)}: cannot be read as a folder of videos: {error.strerror}"
        ) from None
    for entry in entries:
        name = os.path.join(folder, entry.name)
        if entry.is_dir(follow_symlinks=False):
            yield from _videos(root, name)
        elif is_video(name) and os.path.isfile(entry.path):  # False for links to nothing and to themselves
            yield name
