"""Errors that a user can cause and fix. Any other exception that leaves vexp is a bug in vexp or in a plugin."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

#: Characters of a key or value that a message repeats; of more it shows the beginning and the end.
_LONGEST_SHOWN = 200
#: A URL with its user and password, which may have a slash, and its query.
_URL = re.compile(
    r"(?P<begin>\w://)(?P<user>(?:[^/\s@]*|[^/\s@:]*:(?!\d+/)[^\s@]*)@)?"
    r"(?P<path>[^\s,\]'\"?]*)(?P<query>\?[^\s,\]'\"]+)?"
)


class _Unset:
    def __repr__(self) -> str:
        return "UNSET"

    def __reduce__(self) -> str:  # pickled by name, so that it stays one object in other processes
        return "UNSET"


#: The value of a ``ConfigError`` that is not about one value.
UNSET: Any = _Unset()


class UserError(Exception):
    """An error in the user's input or environment; the message states what is wrong, where, and how to fix it.

    Commands print it without a traceback and exit with status 2. It is not a ``ValueError``, so that code around a
    plugin can catch a plugin's own exceptions without hiding it.
    """


def missing_package(extra: str) -> str:
    """Return the rule of an error about a value that needs a package of an extra that is not installed."""
    return f"needs a package that is not installed: pip install 'vexp[{extra}]'"


def did_you_mean(word: str, names: Iterable[str], *, count: int = 1, shown: Callable[[str], str] = str) -> str:
    """Return ``; did you mean A or B?`` with up to ``count`` of the ``names`` closest to ``word``, empty without one.

    ``shown`` turns a name into what the message repeats, for example into a whole key.
    """
    meant = dict.fromkeys(map(shown, difflib.get_close_matches(word, list(names), n=count)))
    return f"; did you mean {' or '.join(meant)}?" if meant else ""


class ConfigError(UserError, ValueError):
    """An invalid config value or override. Also a ``ValueError``, as for any invalid argument in Python.

    Attributes:
        rule: What the value must satisfy ("must be >= 0"), or the whole message where no single key is at fault.
        key: Dotted key of the value; relative to the dataclass that raised it until the config is instantiated.
        value: The offending value; ``UNSET`` if there is none.
        origin: Where the value was written ("command line", "my.yaml:3"); empty if unknown.
        hint: What to do, appended to the message after the origin.
    """

    def __init__(self, rule: str, *, key: str = "", value: Any = UNSET, origin: str = "", hint: str = "") -> None:
        super().__init__(rule)
        self.rule, self.key, self.value, self.origin, self.hint = rule, key, value, origin, hint

    @property
    def errors(self) -> Sequence[ConfigError]:
        """The single errors: this one, or those that a ``CombinedConfigError`` gathers."""
        return (self,)

    def below(self, path: str) -> ConfigError:
        """Prefix the key with ``path``, the place in the config of the dataclass that raised the error; return self."""
        if path:
            self.key = f"{path}.{self.key}" if self.key else path
        return self

    def __str__(self) -> str:
        value = "" if self.value is UNSET else f"={without_secrets(format_value(self.value))}"
        shown = shorten(f"{self.key}{value}", _LONGEST_SHOWN)
        message = f"{shown}: {self.rule}" if self.key else self.rule
        if self.origin:
            message += f" ({self.origin})"
        return message + self.hint


class CombinedConfigError(ConfigError):
    """Several config errors, raised as one; the message has those of all."""

    def __init__(self, errors: Iterable[ConfigError]) -> None:
        self._errors = tuple(errors)
        super().__init__("\n".join(map(str, self._errors)))

    @property
    def errors(self) -> Sequence[ConfigError]:
        return self._errors

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._errors,)

    def __str__(self) -> str:
        return "\n".join(map(str, self._errors))


class MissingInputError(ConfigError):
    """A list, file or folder named in the config does not exist."""


def raise_all(errors: Sequence[ConfigError]) -> None:
    """Raise the only error, or all as one ``CombinedConfigError``; return if there is none."""
    if errors:
        raise errors[0] if len(errors) == 1 else CombinedConfigError(errors)


def shorten(text: str, limit: int) -> str:
    """Return a text of more than ``limit`` characters without its middle."""
    if len(text) <= limit:
        return text
    return f"{text[: limit - 40]}...{text[-20:]} ({len(text)} characters)"


def without_secrets(text: str) -> str:
    """Return a text with *** for the user, password and query of each URL in it."""

    def masked(url: re.Match[str]) -> str:
        return f"{url['begin']}{'***@' * bool(url['user'])}{url['path']}{'?***' * bool(url['query'])}"

    return _URL.sub(masked, text) if "://" in text else text


def has_password(text: str) -> bool:
    """Return whether a URL in a text has a user or a password."""
    return "://" in text and any(url["user"] for url in _URL.finditer(text))


def format_value(value: Any) -> str:
    """Format a value as it is written on the command line (``null``, ``true``, ``[1,2]``)."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return "[" + ",".join(format_value(item) for item in value) + "]"
    return str(value)
