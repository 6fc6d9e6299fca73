"""Errors that a user can cause and fix. Any other exception that leaves vexp is a bug in vexp or in a plugin."""

from __future__ import annotations

from typing import Any

#: The value of a ``ConfigError`` that is not about one value.
UNSET: Any = type("UNSET", (), {"__repr__": lambda self: "UNSET"})()


class UserError(Exception):
    """An error in the user's input or environment; the message states what is wrong, where, and how to fix it.

    Commands print it without a traceback and exit with status 2. It is not a ``ValueError``, so that code around a
    plugin can catch a plugin's own exceptions without hiding it.
    """


class MissingInputError(UserError):
    """A list, file or folder named in the config does not exist."""


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
        super().__init__(rule, key, value, origin, hint)
        self.rule = rule
        self.key = key
        self.value = value
        self.origin = origin
        self.hint = hint

    def __str__(self) -> str:
        shown = self.key if self.value is UNSET else f"{self.key}={format_value(self.value)}"
        message = f"{shown}: {self.rule}" if self.key else self.rule
        if self.origin:
            message += f" ({self.origin})"
        return message + self.hint


def format_value(value: Any) -> str:
    """Format a value as it is written on the command line (``null``, ``true``, ``[1,2]``)."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return "[" + ",".join(format_value(item) for item in value) + "]"
    return str(value)
