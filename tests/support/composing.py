"""Compose the options of a command line once a session: Hydra needs 0.15 seconds for its 45 small files."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import hydra
import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, open_dict, read_write

from vexp.config.search_path import conf_dir

compose_everything = hydra.compose
_composed: dict[tuple[str, ...], DictConfig] = {}
_GROUPS = {folder.relative_to(conf_dir()).as_posix() for folder in conf_dir().rglob("*") if folder.is_dir()}


def compose_from_options(name: str, overrides: Sequence[str], **arguments: Any) -> DictConfig:
    """Return what ``hydra.compose`` returns: set the values on a copy of a config with the same options.

    Hydra sets them on the composed options, too. It composes everything for the config of a run, for options of the
    user, and if an override cannot be set, so that errors are Hydra's own.
    """
    options = tuple(override for override in overrides if not _is_value(override))
    if name == "train" and not any("hydra" in override for override in overrides):
        if options not in _composed:
            _composed[options] = compose_everything(name, overrides=list(options), **arguments)
        values = OverridesParser.create().parse_overrides([o for o in overrides if o not in options])
        config = copy.deepcopy(_composed[options])
        try:
            if not any(value.is_sweep_override() for value in values):
                ConfigLoaderImpl._apply_overrides_to_config(values, config)
                with read_write(config.hydra), open_dict(config.hydra):
                    config.hydra.overrides.task = list(overrides)
                return config
        except Exception:  # composed again below
            pass
    return compose_everything(name, overrides=list(overrides), **arguments)


def _is_value(override: str) -> bool:
    """Whether an override only sets a value: it chooses, adds and removes nothing."""
    key = re.match(r"(?:\+\+)?([a-z][\w.]*)=", override)  # ``++`` is what vexp writes before dotted keys
    return key is not None and key[1].replace(".", "/") not in _GROUPS


@contextmanager
def composing_with(function: Callable[..., DictConfig]) -> Iterator[None]:
    """Compose with ``compose_from_options``, or with ``compose_everything``, in the block."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hydra, "compose", function)
        yield
