"""Reading of class names."""

from __future__ import annotations

import re
from pathlib import Path

from vexp.core.documents import parse_json
from vexp.core.errors import MissingInputError, UserError
from vexp.data.annotations.builder import Problems, is_unicode


def read_classes(path: Path) -> list[str]:
    """Read class names in the order of their indices.

    A text file has one name per line (as mmaction2's label maps), or one number from 1 and name per line (as UCF-101's
    ``classInd.txt``: ``1 ApplyEyeMakeup``). A JSON file has a list of names, or ``{name: index}`` (as
    Something-Something's ``labels.json``).

    Raises:
        UserError: If the file cannot be read, or a name is missing or repeated.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")  # with or without a byte order mark
    except FileNotFoundError:
        raise MissingInputError(f"{path}: no such file (class names)") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as class names: {error}") from None
    names = _from_json(path, text) if path.suffix.lower() == ".json" else _from_lines(path, text)
    if not names:
        raise UserError(f"{path}: contains no class name; write one per line")
    return names


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
    problems.raise_any()
    return names


def _from_json(path: Path, text: str) -> list[str]:
    content = parse_json(text, path)
    if isinstance(content, list | dict) and not all(is_unicode(name) for name in content if isinstance(name, str)):
        raise UserError(f"{path}: contains half of a UTF-16 surrogate pair, which is no character")
    if isinstance(content, dict):
        try:
            names = {int(index): str(name) for name, index in content.items()}
        except (TypeError, ValueError, OverflowError):
            raise UserError(f"{path}: the value of a class must be its index, {{name: 0, name: 1 ...}}") from None
        if sorted(names) != list(range(len(content))):
            count = len(content)
            raise UserError(f"{path}: the indices of the {count} classes must be 0..{count - 1}, each once")
        return [names[index] for index in range(len(content))]
    if not isinstance(content, list) or not all(isinstance(name, str) and name for name in content):
        raise UserError(f"{path}: must contain a list of class names, or {{name: index}}")
    if len(set(content)) < len(content):
        repeated = next(name for i, name in enumerate(content) if name in content[:i])
        raise UserError(f"{path}: contains the class {repeated!r} twice")
    return content
