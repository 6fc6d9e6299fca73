"""What Hydra finds of vexp: the schema, as one more place to look for configs. It looks here at every start.

Hydra's own ConfigStore would have to be filled with every class there is, and Hydra copies the store whenever it
composes; here a class becomes a config when it is asked for.
"""

from __future__ import annotations

import sys

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigResult, ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin


class Schema(ConfigSource):
    """``schema`` and ``schema/GROUP/OPTION``."""

    @staticmethod
    def scheme() -> str:
        return "vexp"

    def available(self) -> bool:
        return True

    def load_config(self, config_path: str) -> ConfigResult:
        from vexp.config.structured import node

        name = config_path.removesuffix(".yaml")
        return ConfigResult(provider=self.provider, path=self.full_path(), config=node(name), header={"package": None})

    def is_group(self, config_path: str) -> bool:
        return bool(self._below(config_path))

    def is_config(self, config_path: str) -> bool:
        from vexp.config.structured import classes

        return config_path.removesuffix(".yaml") in classes()

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        found: list[str] = []
        for name in sorted(self._below(config_path)):
            self._list_add_result(found, f"{config_path}/{name}".lstrip("/"), name, results_filter)
        return found

    def _below(self, group: str) -> set[str]:
        """The first parts of the names within ``group``."""
        from vexp.config.structured import classes

        prefix = f"{group.strip('/')}/".lstrip("/")
        return {name.removeprefix(prefix).partition("/")[0] for name in classes() if name.startswith(prefix)}


class FindSchema(SearchPathPlugin):
    """Puts the schema on Hydra's search path, behind the folders of YAML; not on that of other programs."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        if "vexp.config" in sys.modules:  # Hydra asks the plugins of every package that is installed
            search_path.append(provider="vexp", path=f"{Schema.scheme()}://")
