"""The names of the classes, in the order of their numbers."""

from __future__ import annotations

import json
import re
from pathlib import Path

from vexp.core.errors import MissingInputError, UserError
from vexp.data.annotations.builder import Problems


def read_classes(path: Path) -> list[str]:
    """Class names from a text file, one a line in the order of their numbers (as mmaction2's label maps), or each
    behind its number as UCF-101's ``classInd.txt`` has them (``1 ApplyEyeMakeup``); or from JSON: a list of names, or
    ``{name: number}`` as Something-Something's ``labels.json``.

    Raises:
        UserError: the file cannot be read, or its names do not number classes.
    """
    text = _read(path)
    names = _from_json(path, text) if path.suffix.lower() == ".json" else _from_lines(path, text)
    if not names:
        raise UserError(f"{path}: holds no class name; write one a line")
    return names


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")  # with or without the mark that Windows' editors put first
    except FileNotFoundError:
        raise MissingInputError(f"{path}: no such file (class names)") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as class names: {error}") from None


def _from_lines(path: Path, text: str) -> list[str]:
    names = [line.strip() for line in text.splitlines()]
    while names and not names[-1]:
        names.pop()
    if names and all(re.fullmatch(rf"{number}\s+\S.*", name) for number, name in enumerate(names, 1)):
        names = [name.split(maxsplit=1)[1] for name in names]
    problems = Problems(path)
    first: dict[str, int] = {}
    for line, name in enumerate(names, 1):
        if not name:
            problems.add(line, "is empty")
        elif first.setdefault(name, line) != line:
            problems.add(line, f"repeats {name!r} of line {first[name]}")
    problems.refuse()
    return names


def _from_json(path: Path, text: str) -> list[str]:
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{path}:{error.lineno}: is no JSON: {error.msg}") from None
    if isinstance(found, dict):
        try:
            numbers = {int(number): str(name) for name, number in found.items()}
        except (TypeError, ValueError):
            raise UserError(f"{path}: a class's value must be its number, {{name: 0, name: 1 ...}}") from None
        if sorted(numbers) != list(range(len(found))):
            raise UserError(f"{path}: the numbers of its {len(found)} classes must be 0..{len(found) - 1}, each once")
        return [numbers[number] for number in range(len(found))]
    if not isinstance(found, list) or not all(isinstance(name, str) and name for name in found):
        raise UserError(f"{path}: must hold a list of class names, or {{name: number}}")
    if len(set(found)) < len(found):
        repeated = next(name for i, name in enumerate(found) if name in found[:i])
        raise UserError(f"{path}: holds the class {repeated!r} twice")
    return found
