"""The option classes as Hydra finds them."""

from __future__ import annotations

import sys

import pytest
from hydra._internal.config_search_path_impl import ConfigSearchPathImpl
from hydra.core.object_type import ObjectType
from omegaconf import OmegaConf

from hydra_plugins.vexp_schema import FindSchema, Schema
from vexp.config.schema import options
from vexp.config.sweep import SearchOptions

SOURCE = Schema("vexp", "vexp://")


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
        ("schema/hydra", ["sweeper"], []),
        ("schema/loss", [], ["bce", "cross_entropy"]),
        ("optimizer", [], []),  # its YAML is in conf/
    ],
)
def test_groups_and_configs(path: str, groups: list[str], configs: list[str]) -> None:
    assert SOURCE.list(path, ObjectType.GROUP) == groups
    assert SOURCE.list(path, ObjectType.CONFIG) == configs
    assert SOURCE.is_group(path) == bool(groups or configs)


def test_what_is_done_to_a_node_is_not_seen_in_the_next() -> None:
    SOURCE.load_config("schema").config.seed = 7
    assert SOURCE.load_config("schema").config.seed == 0


def test_other_programs_have_it_not_on_their_search_path(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = ConfigSearchPathImpl(), ConfigSearchPathImpl()
    FindSchema().manipulate_search_path(ours)
    monkeypatch.delitem(sys.modules, "vexp.config")
    FindSchema().manipulate_search_path(theirs)
    assert [entry.path for entry in ours.get_path()] == ["vexp://"]
    assert theirs.get_path() == []
