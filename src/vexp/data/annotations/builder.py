"""Construction of an annotation row by row, with all bad lines collected."""

from __future__ import annotations

import itertools
import math
import operator
import os
from array import array
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any

from vexp.core.errors import UserError, did_you_mean
from vexp.core.lazy import np
from vexp.data.annotations.annotation import Annotation
from vexp.data.annotations.packed import PackedLabels, TextPacker
from vexp.data.storage import exists

_MAX_REPORTED = 20  # bad lines in one message
#: Columns with two values in each row: their type code (float64, int32) and the value of rows without them.
_PAIRS: dict[str, tuple[str, float]] = {"segments": ("d", math.nan), "frame_ranges": ("i", -1)}
_LABEL_DIGITS = 6  # without class names the largest label sets the number of classes; a typo must not make it 1e12


def is_unicode(text: str) -> bool:
    """Return whether a text can be written; bytes of file names that are not UTF-8 (surrogateescape) are allowed."""
    try:
        return text.isascii() or bool(text.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError:
        return False


class Problems:
    """The bad lines or entries of a file: messages for the first ones, and their number."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0
        self.messages: list[str] = []

    def add(self, line: int | str, reason: str, path: Path | None = None) -> None:
        """Add a bad line by its number, or an entry by its name."""
        self.count += 1
        if self.count <= _MAX_REPORTED:
            separator = ":" if isinstance(line, int) else ": "
            self.messages.append(f"{path or self.path}{separator}{line}: {reason}")

    def raise_any(self) -> None:
        """Raise an error that lists the bad lines, if there are any.

        Raises:
            UserError: If there are bad lines.
        """
        if self.count:
            more = self.count - len(self.messages)
            rest = [f"... and {more} more ({self.count} in total)"] if more else []
            raise UserError("\n".join([*self.messages, *rest]))


@dataclass(eq=False, repr=False)
class AnnotationBuilder:
    """Collects the rows of one list, or of several. Columns that are absent from all rows need no memory."""

    path: Path  # of the list that is read, for messages
    _: KW_ONLY
    prefix: str = ""  # folder that the names are relative to
    classes: Sequence[str] | None = None  # names of all classes; None: derived from the labels
    label_names: bool | None = False  # True: labels are names; False: labels are numbers; None: all of them are either
    multi_label: bool | None = None  # samples may have several labels; None: if any sample has
    own_classes: bool = False  # the lists after the first number classes of their own, which follow those of the first
    verify: bool = False  # check that each file exists

    def __post_init__(self) -> None:
        self.problems = Problems(self.path)
        self.bad = self.problems.add
        self._first_lines: dict[str, tuple[int, Path]] = {}  # by label, while the class indices are provisional
        self._lists: list[tuple[Path, int]] = []  # path of each list, and the number of rows before it
        self._joins_prefix = False  # whether names include the prefix
        known = () if self.classes is None or self.label_names is False else self.classes
        self._indices = {name: index for index, name in enumerate(known)}  # class index by label
        self._names = TextPacker()
        self._labels = array("i")
        self._label_ends: array[int] | None = None
        self._groups: TextPacker | None = None
        self._pairs: dict[str, array[Any]] = {}  # of _PAIRS

    def __len__(self) -> int:
        return len(self._names)

    def begin_list(self, path: Path, prefix: str, *, several: bool = False) -> None:
        """Begin with the rows of a list; with ``several`` lists, names include the prefix of their own list."""
        self.path = self.problems.path = path
        self.prefix, self._joins_prefix = prefix, several
        self._lists.append((path, len(self)))

    def add(
        self,
        line: int,
        name: str,
        labels: Sequence[str],
        *,
        group: str = "",
        segment: tuple[float, float] | None = None,
        frames: tuple[int, int] | None = None,
    ) -> None:
        """Add a row; an invalid row is recorded as a bad line."""
        if not all(map(is_unicode, (name, group, *labels))):
            return self.bad(line, "contains half of a UTF-16 surrogate pair, which is no character")
        indices = [self._class_index(line, label) for label in labels]
        if not labels and not self.multi_label:
            return self.bad(line, "has no label")
        if len(labels) > 1 and self.multi_label is False:
            return self.bad(line, f"has {len(labels)} labels; data.multi_label=true allows several")
        if -1 in indices:
            return None
        if self.verify and not exists(os.path.join(self.prefix, name)):
            return self.bad(line, f"no such file {os.path.join(self.prefix, name)}")
        before = len(self._names)
        if len(labels) != 1 and self._label_ends is None:
            self._label_ends = array("q", range(1, before + 1))
        if group and self._groups is None:
            self._groups = TextPacker(empty=before)
        for key, pair in (("segments", segment), ("frame_ranges", frames)):
            typecode, missing = _PAIRS[key]
            if pair is not None and key not in self._pairs:
                self._pairs[key] = array(typecode, [missing]) * (2 * before)
            if key in self._pairs:
                self._pairs[key].extend(pair or (missing, missing))
        self._names.add(os.path.join(self.prefix, name) if self._joins_prefix else name)
        self._labels.extend(indices)
        if self._label_ends is not None:
            self._label_ends.append(len(self._labels))
        if self._groups is not None:
            self._groups.add(group)
        return None

    def _class_index(self, line: int, label: str) -> int:
        """Return the class index of a label; -1 for an invalid one."""
        if self.own_classes and len(self._lists) > 1:
            if label.isdecimal() and len(label) <= _LABEL_DIGITS:
                return int(label)
            self.bad(line, f"the label {label!r} is not an integer, as data.train.own_classes requires")
            return -1
        if label in self._indices:
            return self._indices[label]
        index = -1
        if self.classes is None and self.label_names is not False:  # provisional; see finish
            if not label:
                self.bad(line, "has no label")
            else:
                index = len(self._indices)
                self._first_lines[label] = (line, self.path)
        elif self.label_names is True or (self.label_names is None and not label.isdecimal()):
            searched = (self.classes or ()) if self.problems.count < _MAX_REPORTED else ()
            hint = did_you_mean(label, searched, shown=repr)
            self.bad(line, f"label {label!r} is not one of the {len(self.classes or ())} classes{hint}")
        elif not label.isdecimal() or len(label) > _LABEL_DIGITS:
            self.bad(line, f"the label {label!r} is not an integer from 0 to {10**_LABEL_DIGITS - 1}")
        elif self.classes is not None and int(label) >= len(self.classes):
            self.bad(line, f"label {label}, but there are {len(self.classes)} classes (0..{len(self.classes) - 1})")
        else:
            index = int(label)
        if index >= 0:
            self._indices[label] = index
        return index

    def finish(self, *, formats: Sequence[str], descriptions: Sequence[str]) -> Annotation:
        """Return the annotation of the lists; ``formats`` and ``descriptions`` are those of each.

        Raises:
            UserError: If there are bad lines, or a list without rows.
        """
        labels = np.frombuffer(self._labels, np.int32) if self._labels else np.empty(0, np.int32)
        if self.own_classes and self._label_ends is not None:
            raise UserError(f"{self.path}: samples have several labels, data.train.own_classes allows one")
        first = self._lists[1][1] if self.own_classes and len(self._lists) > 1 else len(labels)
        classes = self._final_classes(labels[:first])
        self.problems.raise_any()
        labels[first:] += len(classes)
        ends = [start for _, start in self._lists[1:]] + [len(self)]
        sizes = [end - start for (_, start), end in zip(self._lists, ends, strict=True)]
        for (path, _), size, description in zip(self._lists, sizes, descriptions, strict=True):
            if not size:
                raise UserError(f"{path}: contains no video; expected: {description.removesuffix(' (detected)')}")
        if self.multi_label and self._label_ends is None:
            self._label_ends = array("q", range(1, len(self) + 1))
        return Annotation(
            self._names.finish(),
            PackedLabels(labels, np.frombuffer(self._label_ends, np.int64)) if self._label_ends else labels,
            classes,
            "" if self._joins_prefix else self.prefix,
            self._groups.finish() if self._groups is not None else None,
            **{key: np.frombuffer(values, values.typecode).reshape(-1, 2) for key, values in self._pairs.items()},
            parts=np.repeat(np.arange(len(sizes), dtype=np.int32), sizes) if self._joins_prefix else None,
            format=" ".join(dict.fromkeys(formats)),
            origin="; ".join(f"{path}: {text}" for (path, _), text in zip(self._lists, descriptions, strict=True)),
        )

    def _final_classes(self, labels: np.ndarray) -> list[str]:
        """Return the class names; provisional class indices are replaced by those of the alphabetical order."""
        if self.classes is not None:
            return list(self.classes)
        names = list(self._indices)
        classes: list[str] = []
        if self.label_names is not False and names:
            numeric = [name.isdecimal() and len(name) <= _LABEL_DIGITS for name in names]
            if self.label_names is True or not any(numeric):
                classes = sorted(names)
                position = {name: index for index, name in enumerate(classes)}
                final = [position[name] for name in names]
            elif all(numeric):
                final = [int(name) for name in names]
            else:
                hint = "is not a number, but others are; set data.classes=FILE to use names"
                for name in itertools.compress(names, map(operator.not_, numeric)):
                    line, path = self._first_lines[name]
                    self.bad(line, f"the label {name!r} {hint}", path)
                return []
            np.take(np.array(final, np.int32), labels.copy(), out=labels)
        return classes or [str(index) for index in range(int(labels.max()) + 1 if len(labels) else 0)]
