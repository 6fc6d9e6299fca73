"""The option classes as Hydra finds them."""

from __future__ import annotations

import pytest
from hydra._internal.config_search_path_impl import ConfigSearchPathImpl
from hydra.core.object_type import ObjectType
from omegaconf import OmegaConf

from hydra_plugins.vexp_schema import SchemaSearchPath, SchemaSource
from vexp.config.options import options
from vexp.config.search_path import schema_on_search_path
from vexp.config.sweep import SearchOptions

SOURCE = SchemaSource("vexp", "vexp://")


def test_every_option_class_is_a_config() -> None:
    for group, classes in options().items():
        assert SOURCE.list(f"schema/{group}", ObjectType.CONFIG) == sorted(classes)
        for name, cls in classes.items():
            assert SOURCE.is_config(f"schema/{group}/{name}")
            assert OmegaConf.get_type(SOURCE.load_config(f"schema/{group}/{name}").config) is cls
    assert OmegaConf.get_type(SOURCE.load_config("schema/hydra/sweeper/optuna.yaml").config) is SearchOptions


@pytest.mark.parametrize(
    ("path", "groups", "configs"),
    [
        ("", ["schema"], ["schema"]),
        ("schema", sorted([*options(), "hydra"]), []),
        ("schema/hydra", ["launcher", "sweeper"], []),
        ("schema/loss", [], ["actionformer", "bce", "bmn", "cross_entropy", "focal"]),
        ("optimizer", [], []),  # its YAML is in conf/
    ],
)
def test_groups_and_configs(path: str, groups: list[str], configs: list[str]) -> None:
    assert SOURCE.list(path, ObjectType.GROUP) == groups
    assert SOURCE.list(path, ObjectType.CONFIG) == configs
    assert SOURCE.is_group(path) == bool(groups or configs)


def test_node_returns_independent_copies() -> None:
    SOURCE.load_config("schema").config.seed = 7
    assert SOURCE.load_config("schema").config.seed == 0


def test_schema_is_on_the_search_path_only_inside_of_vexp() -> None:
    ours, theirs = ConfigSearchPathImpl(), ConfigSearchPathImpl()
    with schema_on_search_path():
        SchemaSearchPath().manipulate_search_path(ours)
    SchemaSearchPath().manipulate_search_path(theirs)
    assert [entry.path for entry in ours.get_path()] == ["vexp://"]
    assert theirs.get_path() == []
