"""Which videos exist and what they show: list files and folders -> packed arrays.

The lists of a large set hold a million rows, and every worker process gets a copy, so paths live in one byte string
with offsets instead of a Python object each.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vexp.errors import UserError

#: What a folder is searched for. Anything else PyAV may open, but a folder also holds lists, images and notes.
VIDEO_SUFFIXES = frozenset({".mp4", ".mkv", ".webm", ".avi", ".mov", ".m4v", ".mpg", ".mpeg", ".ts", ".flv", ".wmv"})
_SHOWN = 20  # bad lines named in one message
_LABEL_DIGITS = 6  # without class names there are as many classes as the largest label says: a slip must not make 1e12


@dataclass(slots=True)
class Annotation:
    """``len`` videos with a label each.

    ``labels``: int64 (n,), class numbers from 0; ``classes``: the name of each class; ``prefix``: the folder that the
    names of the videos are relative to.
    """

    labels: NDArray[np.int64]
    classes: list[str]
    prefix: str
    _text: bytes
    _ends: NDArray[np.int64]  # end of each name in _text

    @classmethod
    def pack(cls, names: Sequence[str], labels: Sequence[int], classes: Sequence[str], prefix: str = "") -> Annotation:
        encoded = [name.encode("utf-8", "surrogateescape") for name in names]
        ends = np.cumsum([len(name) for name in encoded], dtype=np.int64)
        return cls(np.asarray(labels, np.int64), list(classes), prefix, b"".join(encoded), ends)

    def __len__(self) -> int:
        return len(self.labels)

    def name(self, index: int) -> str:
        """The path as the list writes it: the video's identity in reports."""
        start = self._ends[index - 1] if index else 0
        return self._text[start : self._ends[index]].decode("utf-8", "surrogateescape")

    def path(self, index: int) -> Path:
        return Path(self.prefix, self.name(index))

    def take(self, chosen: Iterable[int]) -> Annotation:
        """The annotation of some videos, in the given order."""
        numbers = list(chosen)
        return Annotation.pack(
            [self.name(i) for i in numbers], [int(self.labels[i]) for i in numbers], self.classes, self.prefix
        )


def read_classes(path: Path) -> list[str]:
    """Class names, one a line, in the order of their numbers (mmaction2's label maps have this form)."""
    names = [line.strip() for line in _read_text(path, "class names").splitlines()]
    while names and not names[-1]:
        names.pop()
    problems = [(n, "is empty") for n, name in enumerate(names, 1) if not name]
    first: dict[str, int] = {}
    for n, name in enumerate(names, 1):
        if name and first.setdefault(name, n) != n:
            problems.append((n, f"repeats {name!r} of line {first[name]}"))
    if not names:
        raise UserError(f"{path}: holds no class name; write one a line")
    _refuse(path, problems)
    return names


def read_video_list(path: Path, prefix: str, classes: Sequence[str] | None) -> Annotation:
    """mmaction2's text list of videos: ``path label`` a line; the path may hold spaces, the label is the last word.

    Args:
        path: the list file.
        prefix: folder that the paths are relative to; empty: the folder of the list file.
        classes: names of all classes; None: they are called by their numbers, 0 to the largest label.
    """
    names: list[str] = []
    labels: list[int] = []
    problems: list[tuple[int, str]] = []
    for number, line in enumerate(_read_text(path, "annotation list").splitlines(), 1):
        if not line.strip():
            continue
        *name, word = line.rsplit(maxsplit=1)
        if not name:
            problems.append((number, f"{line.strip()!r} is not 'path label'"))
        elif not word.isdecimal() or len(word) > _LABEL_DIGITS:
            problems.append((number, f"the label {word!r} is not a whole number from 0 to {10**_LABEL_DIGITS - 1}"))
        elif classes is not None and int(word) >= len(classes):
            problems.append((number, f"label {word}, but there are {len(classes)} classes (0..{len(classes) - 1})"))
        else:
            names.append(name[0].strip())
            labels.append(int(word))
    _refuse(path, problems)
    if not names:
        raise UserError(f"{path}: holds no video; write one 'path label' a line")
    known = list(classes) if classes is not None else [str(i) for i in range(max(labels) + 1)]
    return Annotation.pack(names, labels, known, prefix or str(path.parent))


def read_folder(root: Path, classes: Sequence[str] | None) -> Annotation:
    """A folder per class: ``root/CLASS/**/VIDEO``; classes are numbered in alphabetical order unless given.

    Videos are listed class by class in turn (first of each class, second of each class ...), so that the first n
    of them (``indices=n``) show all classes.
    """
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; it must hold one folder of videos a class")
    found = sorted(entry.name for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if not found:
        raise UserError(f"{root}: holds no folder; put the videos of each class into a folder named after it")
    names = list(classes) if classes is not None else found
    strangers = [name for name in found if name not in names]
    if strangers:
        raise UserError(f"{root}: folders {', '.join(strangers)} are not among the {len(names)} classes")
    rows: list[tuple[int, int, str]] = []
    for label, name in enumerate(names):
        videos = sorted(p for p in (root / name).rglob("*") if _is_video(p))
        rows += [(turn, label, str(video.relative_to(root))) for turn, video in enumerate(videos)]
    if not rows:
        raise UserError(f"{root}: its class folders hold no video ({', '.join(sorted(VIDEO_SUFFIXES))})")
    rows.sort()
    return Annotation.pack([row[2] for row in rows], [row[1] for row in rows], names, str(root))


def pick(annotation: Annotation, indices: int | Sequence[int] | None, key: str) -> Annotation:
    """The videos that ``indices`` names: n = the first n (negative: the last n), a list = those; None = all."""
    if indices is None:
        return annotation
    if isinstance(indices, int):
        chosen = range(len(annotation))[:indices] if indices > 0 else range(len(annotation))[indices:]
        return annotation.take(chosen)
    outside = [i for i in indices if not -len(annotation) <= i < len(annotation)]
    if outside:
        raise UserError(f"{key}: {outside[0]} is outside 0..{len(annotation) - 1}, the videos of this split")
    return annotation.take(i % len(annotation) for i in indices)


def _is_video(path: Path) -> bool:
    """Hidden files are left out: macOS puts one beside each file that it copies, ``._NAME.mp4``."""
    return path.suffix.lower() in VIDEO_SUFFIXES and not path.name.startswith(".") and path.is_file()


def _read_text(path: Path, what: str) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")  # with or without the mark that Windows' editors put first
    except FileNotFoundError:
        raise UserError(f"{path}: no such file ({what})") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as {what}: {error}") from None


def _refuse(path: Path, problems: Sequence[tuple[int, str]]) -> None:
    if not problems:
        return
    shown = [f"{path}:{line}: {why}" for line, why in problems[:_SHOWN]]
    more = len(problems) - len(shown)
    raise UserError("\n".join(shown) + (f"\n... and {more} more bad lines" if more else ""))
