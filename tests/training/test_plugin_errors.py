"""An exception in the code of a plugin is shown as it is, with one line that states whose code it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vexp import compose, train

PLUGIN = """
from dataclasses import dataclass
from torch import nn


class Broken(nn.Module):
    def forward(self, frames):
        return frames[:, "x"]


@dataclass(kw_only=True)
class BrokenModel:
    def build(self, num_classes, *, pretrained=False, tell=print):
        model = Broken()
        model.head = nn.Linear(1, 1)
        return model
"""


def test_exception_of_a_plugin_names_its_module(
    tmp_path: Path, tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_plugin.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(str(tmp_path))
    conf = tmp_path / "conf" / "model"
    conf.mkdir(parents=True)
    (conf / "broken.yaml").write_text("_target_: my_plugin.BrokenModel\n")
    overrides = [*(override for override in tiny if "model" not in override), "plugins=[my_plugin]", "model=broken"]
    config = compose(overrides, config_dirs=[tmp_path / "conf"])
    with pytest.raises((TypeError, IndexError)):
        train.run(config, tmp_path / "run")
    log = (tmp_path / "run" / "log.txt").read_text()
    assert "code of a plugin, not of vexp: my_plugin.forward, line 8" in log
    assert 'return frames[:, "x"]' in log  # the traceback
    assert json.loads((tmp_path / "run" / "result.json").read_text())["status"] == "failed"
