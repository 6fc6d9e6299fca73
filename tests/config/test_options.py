"""The table of built-in options."""

from __future__ import annotations

from vexp.config.options import options


def test_every_place_is_where_the_class_is_defined() -> None:
    """A saved config finds the name of an option by the place of its class."""
    for classes in options().values():
        assert {name: f"{cls.__module__}:{cls.__qualname__}" for name, cls in classes.items()} == classes.places
