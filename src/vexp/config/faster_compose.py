"""A private function of Hydra that is replaced while vexp composes, with the same results: a sixth of the time.

Hydra 1.3.8 copies the chosen options for each of about 50 files, for a defaults list that refers to them. Where a
version does not have the function, its own code runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from hydra._internal import defaults_list

_NAME = "_create_interpolation_map"


@contextmanager
def faster_compose() -> Iterator[None]:
    """Copy the chosen options in this block only for a defaults list with ``${...}``."""
    original = getattr(defaults_list, _NAME, None)
    if original is None:
        yield
        return

    def create(overrides: Any, defaults: Sequence[Any], self_added: bool) -> Any:
        is_used = any(default.is_interpolation() for default in defaults)
        return original(overrides, defaults, self_added) if is_used else None

    setattr(defaults_list, _NAME, create)
    try:
        yield
    finally:
        setattr(defaults_list, _NAME, original)
