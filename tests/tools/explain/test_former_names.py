"""Every name in mmaction2 and SlowFast that ``vexp explain`` has known finds the same keys as before."""

from __future__ import annotations

import json

import pytest
from support.paths import GOLDEN_DIR

from vexp import compose
from vexp.config.schema import Config
from vexp.tools.explain.lookup import find

ANSWERS = json.loads((GOLDEN_DIR / "former_names.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def config() -> Config:
    return compose([])


def test_former_names_find_the_recorded_keys(config: Config) -> None:
    """A recorded answer is a group with a slash, a list of keys, or the text for a name without a key."""
    for name, answer in ANSWERS.items():
        match = find(name, config)
        paths = {key.path for key, _ in match.entries} or {key.path for key in match.unused}
        assert (f"{match.group}/" if match.group else sorted(paths) or match.note) == answer, name


def test_former_names_are_derived_from_import_rules(config: Config) -> None:
    """Names of rules that no table lists by hand."""
    for name, path in (
        ("model.backbone.gamma_w", "model.width_factor"),
        ("param_scheduler[OneCycleLR].eta_max", "lr_policy.max_lr"),
        ("optim_wrapper.optimizer.amsgrad", "optimizer.amsgrad"),
    ):
        match = find(name, config)
        assert {key.path for key in (*match.unused, *(key for key, _ in match.entries))} == {path}, name
