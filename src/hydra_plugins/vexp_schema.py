"""Hydra plugins: config sources for the schema of vexp and for folders of the user. Hydra imports this namespace.

With Hydra's ConfigStore every class would have to be stored in advance, and Hydra copies the store at each composition;
here a class is turned into a config when it is loaded.
"""

from __future__ import annotations

from pathlib import Path

from hydra._internal.core_plugins.file_config_source import FileConfigSource
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
        from vexp.config.structured import names

        return config_path.removesuffix(".yaml") in names()

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        results: list[str] = []
        for name in sorted(self._children(config_path)):
            self._list_add_result(results, f"{config_path}/{name}".lstrip("/"), name, results_filter)
        return results

    def _children(self, group: str) -> set[str]:
        """The names directly below ``group``."""
        from vexp.config.structured import names

        prefix = f"{group.strip('/')}/".lstrip("/")
        return {name.removeprefix(prefix).partition("/")[0] for name in names() if name.startswith(prefix)}


class UserFolder(FileConfigSource):
    """A folder with options of the user; Hydra's own reader does not end on a file whose aliases multiply its size."""

    @staticmethod
    def scheme() -> str:
        return "vexp-folder"

    def load_config(self, config_path: str) -> ConfigResult:
        from vexp.config.search_path import check_option_file

        check_option_file(Path(self.path) / self._normalize_file_name(config_path))
        return super().load_config(config_path)


class SchemaSearchPath(SearchPathPlugin):
    """Add the schema to Hydra's search path, after the folders with YAML files."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        from vexp.config.search_path import schema_enabled

        if schema_enabled():
            search_path.append(provider="vexp", path=f"{SchemaSource.scheme()}://")
