"""The rows of a list while it is read: packed as they come, with every bad line gathered."""

from __future__ import annotations

import difflib
import os
from array import array
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vexp.core.errors import UserError
from vexp.data.annotations.annotation import Annotation
from vexp.data.annotations.packed import PackedLabels, TextPacker

_SHOWN = 20  # bad lines named in one message
_LABEL_DIGITS = 6  # without class names there are as many classes as the largest label says: a slip must not make 1e12


class Problems:
    """The bad lines of a file; the first are kept in words, the rest are counted."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0
        self.shown: list[str] = []

    def add(self, line: int, why: str, path: Path | None = None) -> None:
        self.count += 1
        if self.count <= _SHOWN:
            self.shown.append(f"{path or self.path}:{line}: {why}")

    def refuse(self) -> None:
        """Raises:
        UserError: there are any.
        """
        if self.count:
            more = self.count - len(self.shown)
            raise UserError("\n".join(self.shown) + (f"\n... and {more} more, {self.count} in all" if more else ""))


class AnnotationBuilder:
    """Collects the rows of one list. Columns that no row has cost nothing."""

    def __init__(
        self,
        path: Path,
        *,
        prefix: str = "",
        classes: Sequence[str] | None = None,
        label_names: bool | None = False,
        multi_label: bool | None = None,
        verify: bool = False,
    ) -> None:
        """Args:
        path: the list, for messages.
        prefix: folder that the names are relative to.
        classes: names of all classes; None: they follow from the labels.
        label_names: labels are names; False: numbers; None: names or numbers, whichever they all are.
        multi_label: samples may have several labels; None: they may if one has.
        verify: look whether each file is there.
        """
        self.problems = Problems(path)
        self.path, self.prefix, self.verify = path, prefix, verify
        self.classes = list(classes) if classes is not None else None
        self.label_names = label_names
        self.multi_label = multi_label
        self._numbers: dict[str, int] = {}  # of each label word met so far
        self._first_lines: dict[str, int] = {}  # where names were met whose final number is not known yet
        if self.classes is not None and label_names is not False:
            self._numbers = {name: number for number, name in enumerate(self.classes)}
        self._names = TextPacker()
        self._labels = array("i")
        self._label_ends: array[int] | None = None
        self._groups: TextPacker | None = None
        self._segments: array[float] | None = None
        self._frames: array[int] | None = None

    def __len__(self) -> int:
        return len(self._names)

    def bad(self, line: int, why: str, path: Path | None = None) -> None:
        self.problems.add(line, why, path)

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
        """A row; a bad one is remembered as a problem of its line."""
        numbers = [self._number(line, word) for word in labels]
        if len(labels) != 1 and not self._may_have(len(labels), line):
            return
        if -1 in numbers:
            return
        if self.verify and not os.path.exists(os.path.join(self.prefix, name)):
            self.bad(line, f"no such file {os.path.join(self.prefix, name)}")
            return
        before = len(self._names)
        if len(labels) != 1 and self._label_ends is None:
            self._label_ends = array("q", range(1, before + 1))
        if group and self._groups is None:
            self._groups = TextPacker(empty=before)
        if segment is not None and self._segments is None:
            self._segments = array("d", [np.nan]) * (2 * before)
        if frames is not None and self._frames is None:
            self._frames = array("i", [-1]) * (2 * before)
        self._names.add(name)
        self._labels.extend(numbers)
        if self._label_ends is not None:
            self._label_ends.append(len(self._labels))
        if self._groups is not None:
            self._groups.add(group)
        if self._segments is not None:
            self._segments.extend(segment or (np.nan, np.nan))
        if self._frames is not None:
            self._frames.extend(frames or (-1, -1))

    def _may_have(self, count: int, line: int) -> bool:
        if count == 0 and not self.multi_label:
            self.bad(line, "has no label")
        elif count > 1 and self.multi_label is False:
            self.bad(line, f"has {count} labels; data.multi_label=true allows several")
        else:
            return True
        return False

    def _number(self, line: int, word: str) -> int:
        """The number of a label; -1 for a bad one."""
        known = self._numbers.get(word)
        if known is not None:
            return known
        number = -1
        if self.classes is None and self.label_names is not False:  # settled in finish
            if not word:
                self.bad(line, "has no label")
            else:
                number = len(self._numbers)
                self._first_lines[word] = line
        elif self.label_names is True or (self.label_names is None and not word.isdecimal()):
            near = difflib.get_close_matches(word, self.classes or (), 1) if self.problems.count < _SHOWN else []
            hint = f"; did you mean {near[0]!r}?" if near else ""
            self.bad(line, f"label {word!r} is none of the {len(self.classes or ())} classes{hint}")
        elif not word.isdecimal() or len(word) > _LABEL_DIGITS:
            self.bad(line, f"the label {word!r} is not a whole number from 0 to {10**_LABEL_DIGITS - 1}")
        elif self.classes is not None and int(word) >= len(self.classes):
            count = len(self.classes)
            self.bad(line, f"label {word}, but there are {count} classes (0..{count - 1})")
        else:
            number = int(word)
        if number >= 0:
            self._numbers[word] = number
        return number

    def finish(self, *, format: str, what: str, hint: str) -> Annotation:
        """The annotation.

        Args:
            format, what: what the list was read as, by its name and in words.
            hint: what to write into a list that is empty.

        Raises:
            UserError: bad lines, or none at all.
        """
        labels = np.frombuffer(self._labels, np.int32) if self._labels else np.empty(0, np.int32)
        classes = self._settle_classes(labels)
        self.problems.refuse()
        if not len(self):
            raise UserError(f"{self.path}: holds no video; {hint}")
        if self.multi_label and self._label_ends is None:
            self._label_ends = array("q", range(1, len(self) + 1))
        packed = PackedLabels(labels, np.frombuffer(self._label_ends, np.int64)) if self._label_ends else labels
        return Annotation(
            self._names.finish(),
            packed,
            classes,
            self.prefix,
            self._groups.finish() if self._groups is not None else None,
            np.frombuffer(self._segments, np.float64).reshape(-1, 2) if self._segments is not None else None,
            np.frombuffer(self._frames, np.int32).reshape(-1, 2) if self._frames is not None else None,
            format,
            f"{self.path}: {what}",
        )

    def _settle_classes(self, labels: np.ndarray) -> list[str]:
        """The class names; names that were numbered as they came get the number of their place in the alphabet."""
        if self.classes is not None:
            return self.classes
        words = list(self._numbers)
        if self.label_names is not False and words:
            numeric = [word.isdecimal() and len(word) <= _LABEL_DIGITS for word in words]
            if self.label_names is True or not any(numeric):
                classes = sorted(words)
                place = {name: number for number, name in enumerate(classes)}
                final = [place[word] for word in words]
            elif all(numeric):
                final = [int(word) for word in words]
                classes = []
            else:
                for word in (word for word, is_number in zip(words, numeric, strict=True) if not is_number):
                    self.bad(
                        self._first_lines[word],
                        f"the label {word!r} is no number, though others are; data.classes=FILE gives all names",
                    )
                return []
            np.take(np.array(final, np.int32), labels.copy(), out=labels)
            if classes:
                return classes
        return [str(number) for number in range(int(labels.max()) + 1)] if len(labels) else []
