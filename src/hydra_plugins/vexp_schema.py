"""Hydra plugins that add the schema of vexp as a config source. Hydra imports this namespace whenever it starts.

With Hydra's ConfigStore every class would have to be stored in advance, and Hydra copies the store at each composition;
here a class is turned into a config when it is loaded.
"""

from __future__ import annotations

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigResult, ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin


class SchemaSource(ConfigSource):
    """The configs ``schema`` and ``schema/GROUP/OPTION``."""

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
        return bool(self._children(config_path))

    def is_config(self, config_path: str) -> bool:
        from vexp.config.structured import classes

        return config_path.removesuffix(".yaml") in classes()

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        results: list[str] = []
        for name in sorted(self._children(config_path)):
            self._list_add_result(results, f"{config_path}/{name}".lstrip("/"), name, results_filter)
        return results

    def _children(self, group: str) -> set[str]:
        """The names directly below ``group``."""
        from vexp.config.structured import classes

        prefix = f"{group.strip('/')}/".lstrip("/")
        return {name.removeprefix(prefix).partition("/")[0] for name in classes() if name.startswith(prefix)}


class SchemaSearchPath(SearchPathPlugin):
    """Add the schema to Hydra's search path, after the folders with YAML files."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        from vexp.config.search_path import schema_enabled

        if schema_enabled():
            search_path.append(provider="vexp", path=f"{SchemaSource.scheme()}://")
