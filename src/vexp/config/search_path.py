"""Folders of YAML configs: the shipped ``conf/`` and the user's own."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from vexp.config.provenance import display_path
from vexp.core.documents import YAML_VALUE_ERRORS, check_yaml_events, read_text
from vexp.core.errors import ConfigError, UserError

_HEADER_WITHOUT_VALUE = re.compile(r"\A(?:\s*#.*\n)*\s*# *@\S+[ \t]*$", re.MULTILINE)
#: Names folders with custom config groups, separated as in PATH.
ENVIRONMENT_VARIABLE = "VEXP_CONFIG_PATH"


def conf_dir() -> Path:
    """Return the shipped folder: ``conf/`` of a checkout, ``vexp/conf`` of an installed wheel."""
    package = Path(__file__).resolve().parents[1]
    for candidate in (package / "conf", package.parents[1] / "conf"):
        if (candidate / "train.yaml").is_file():
            return candidate
    raise FileNotFoundError(f"no conf/train.yaml beside {package}: the installation is incomplete, install vexp again")


def environment_dirs() -> list[Path]:
    """Return the folders that the environment variable names."""
    return [
        Path(part).expanduser().absolute()
        for part in os.environ.get(ENVIRONMENT_VARIABLE, "").split(os.pathsep)
        if part
    ]


def check_option_file(path: Path) -> None:
    """Check a YAML file of the user: encoding, nesting, aliases, values, header and defaults list.

    Hydra reports the last three without the name of the file.

    Raises:
        ConfigError: If it is not.
    """
    import yaml

    if os.path.isfile(path):
        place = display_path(path)
        try:
            text = read_text(path)
            check_yaml_events(text, place, allow_aliases=True)
            content = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        except UserError as error:
            raise ConfigError(str(error)) from None
        except yaml.YAMLError:  # Hydra raises it again, with the file's name
            return
        except YAML_VALUE_ERRORS as error:
            raise ConfigError(f"{place}: is not valid YAML: {error}") from None
        if _HEADER_WITHOUT_VALUE.search(text):
            raise ConfigError(f"{place}: a header line must be # @package NAME")
        defaults = content.get("defaults") if isinstance(content, dict) else None
        items = defaults if isinstance(defaults, list) else [defaults] if defaults is not None else []
        if (items and items is not defaults) or not all(isinstance(item, str | dict) for item in items):
            raise ConfigError(f"{place}: defaults must be a list of GROUP: OPTION and names, such as - _self_")


_schema_enabled: ContextVar[bool] = ContextVar("schema_enabled", default=False)


@contextmanager
def schema_on_search_path() -> Iterator[None]:
    """Put vexp's schema on the search path of the Hydra that is initialized in this block (see ``hydra_plugins``).

    Hydra asks the plugins of all installed packages whenever any program initializes it: outside of this block the
    plugin must leave the search path alone.
    """
    from vexp.config.faster_compose import faster_compose  # imports Hydra

    token = _schema_enabled.set(True)
    try:
        with faster_compose():
            yield
    finally:
        _schema_enabled.reset(token)


def schema_enabled() -> bool:
    """Whether the schema belongs on the search path of the Hydra that is being initialized."""
    return _schema_enabled.get()
