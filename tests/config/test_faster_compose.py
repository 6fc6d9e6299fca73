"""What is replaced in Hydra and OmegaConf composes the same configs and raises the same errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra._internal import defaults_list
from omegaconf import OmegaConf, _utils

from vexp.config import faster_compose
from vexp.config.compose import compose
from vexp.config.instantiate import to_dict
from vexp.config.search_path import conf_dir


@contextmanager
def _as_it_is(_: Path) -> Iterator[None]:
    yield


@pytest.mark.parametrize("overrides", [[], ["model=mvit_v1_b", "lr=chain", "debug=fast"]])
def test_composed_config_is_that_of_hydra_itself(overrides: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    faster = to_dict(compose(overrides), types=True)
    monkeypatch.setattr(faster_compose, "faster_compose", _as_it_is)
    assert to_dict(compose(overrides), types=True) == faster


def test_shipped_files_are_parsed_as_by_omegaconf() -> None:
    paths = sorted(conf_dir().rglob("*.yaml"))
    own = [OmegaConf.load(path) for path in paths]
    with faster_compose.faster_compose(conf_dir()):
        assert own == [OmegaConf.load(path) for path in paths]


@pytest.mark.parametrize(
    "text",
    [
        "a: 1e3\nb: 1_000\nc: 2020-01-01\nd: on\ne: .5\nf: [~, null, '']\ng: &x {h: 0o7}\ni: *x\n",
        "a: 1\na: 2\n",
        "a: [1\n",
        "a:\t1",
    ],
)
def test_yaml_has_the_values_or_the_error_of_omegaconf(text: str, tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    path.write_text(text)

    def outcome() -> Any:
        try:
            return OmegaConf.load(path)
        except yaml.YAMLError as error:
            return str(error)

    expected = outcome()
    with faster_compose.faster_compose(conf_dir()):
        assert outcome() == expected


def test_replaced_functions_exist_and_are_restored() -> None:
    before = defaults_list._create_interpolation_map, _utils.get_yaml_loader
    with faster_compose.faster_compose(conf_dir()):
        during = defaults_list._create_interpolation_map, _utils.get_yaml_loader
        assert not set(before) & set(during)
    assert before == (defaults_list._create_interpolation_map, _utils.get_yaml_loader)
