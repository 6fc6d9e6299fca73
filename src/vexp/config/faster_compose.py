"""Two private functions of Hydra and OmegaConf that are replaced while vexp composes, with the same results.

Together they take a third of the time of a composition (Hydra 1.3.8, OmegaConf 2.3). Where a version does not have them
or libyaml is missing, its own code runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from hydra._internal import defaults_list
from omegaconf import _utils


@contextmanager
def faster_compose(shipped: Path) -> Iterator[None]:
    """Compose faster in the block; ``shipped`` is the folder of the shipped YAML files."""
    wrappers: list[tuple[Any, str, Callable[[Any], Any]]] = [
        (defaults_list, "_create_interpolation_map", _interpolation_map)
    ]
    if hasattr(yaml, "CSafeLoader"):
        wrappers.append((_utils, "get_yaml_loader", lambda original: _yaml_loader(original, str(shipped))))
    originals = [(*place, getattr(*place), wrap) for *place, wrap in wrappers if hasattr(*place)]
    for module, name, original, wrap in originals:
        setattr(module, name, wrap(original))
    try:
        yield
    finally:
        for module, name, original, _ in originals:
            setattr(module, name, original)


def _interpolation_map(original: Callable[..., Any]) -> Callable[..., Any]:
    """Make the map of the chosen options, which Hydra makes for each file, only where a defaults list refers to it."""

    def create(overrides: Any, defaults: Sequence[Any], self_added: bool) -> Any:
        is_used = any(default.is_interpolation() for default in defaults)
        return original(overrides, defaults, self_added) if is_used else None

    return create


@cache
def _yaml_loader(original: Callable[[], type[Any]], shipped: str) -> Callable[[], type[Any]]:
    """Parse the shipped files with libyaml; it accepts more than PyYAML, which still parses the files of the user."""
    from yaml.cyaml import CParser  # type: ignore[attr-defined]

    slow = original()

    class Fast(CParser, slow):  # type: ignore[misc, valid-type]  # C code in place of the parser of ``slow``
        def __init__(self, stream: Any) -> None:
            CParser.__init__(self, stream)
            yaml.constructor.SafeConstructor.__init__(self)
            yaml.resolver.Resolver.__init__(self)

    class Loader:
        def __init__(self, stream: Any) -> None:
            self._stream = stream

        def get_single_data(self) -> Any:
            is_shipped = str(getattr(self._stream, "name", "")).startswith(shipped)
            return (Fast if is_shipped else slow)(self._stream).get_single_data()

        def dispose(self) -> None:
            pass

    return lambda: Loader
