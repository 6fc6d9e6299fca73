"""How a file names the option of an open group or of a pipeline step.

A built-in option is named by its word in ``options()``, ``type: sgd``: its class may move to another module without
changing a file. ``_target_: PACKAGE.CLASS`` is for classes that are not part of vexp.
"""

from __future__ import annotations

from typing import Any

from vexp.config.errors import near
from vexp.config.schema import OPEN_GROUPS, options
from vexp.core.errors import UserError

#: The key that holds the word. No option may have a field of this name.
TYPE = "type"
TARGET = "_target_"
_BUILT_IN = "vexp."


def group_at(path: str) -> str | None:
    """The group whose option stands at a dotted path of the configuration; None where none does."""
    parts = path.split(".")
    if parts[0] == "pipeline" and len(parts) == 3:  # pipeline.SPLIT.NAME
        return "transform"
    return path if path in OPEN_GROUPS else None


def word_of(group: str, cls: type[Any]) -> str | None:
    """The word of a class, the first where it has several; None where it is no built-in option of the group."""
    return next((word for word, known in options()[group].items() if known is cls), None)


def is_built_in(target: str) -> bool:
    """Whether ``_target_: target`` means a built-in option, as files of vexp 0.1.0 name them."""
    return target.startswith(_BUILT_IN)


def class_of_word(group: str, word: str) -> type[Any]:
    """The class of ``type: word``.

    Raises:
        UserError: the group has no such option.
    """
    known = options()[group]
    if word not in known:
        raise UserError(f"{TYPE}={word}: must be one of {', '.join(known)}{near(word, known)}")
    return known[word]


def class_of_target(group: str | None, target: str) -> type[Any]:
    """The class of ``_target_: vexp.MODULE.CLASS``, found by the name of the class, wherever it is defined now.

    Args:
        group: None for a place within an option, where one of any group may stand.

    Raises:
        UserError: there is no such option.
    """
    for name in options() if group is None else [group]:
        word = _word_of_target(name, target)
        if word is not None:
            return options()[name][word]
    known = f"; {TYPE}: takes {', '.join(options()[group])}" if group is not None else ""
    raise UserError(f"{TARGET}={target}: vexp has no {group or 'option'} of that name{known}")


def _word_of_target(group: str, target: Any) -> str | None:
    name = str(target).rpartition(".")[2]
    words = (word for word, cls in options()[group].items() if cls.__name__ == name)
    return next(words, None) if is_built_in(str(target)) else None


def with_words(values: dict[str, Any], path: str = "") -> dict[str, Any]:
    """The values of a saved configuration, with the built-in options that vexp 0.1.0 named by ``_target_`` named by
    ``type``."""
    found = {
        key: with_words(value, f"{path}.{key}" if path else str(key)) if isinstance(value, dict) else value
        for key, value in values.items()
    }
    group = group_at(path)
    word = _word_of_target(group, found.get(TARGET)) if group is not None else None
    if word is None:
        return found
    return {TYPE: word, **{key: value for key, value in found.items() if key != TARGET}}
