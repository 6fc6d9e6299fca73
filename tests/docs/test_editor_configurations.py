"""The run configurations of the editors are valid commands."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET

from support.paths import ROOT

from vexp import compose


def test_vs_code_configurations_compose() -> None:
    first = json.loads((ROOT / ".vscode" / "launch.json").read_text())["configurations"][0]
    assert first["module"] == "vexp.train"
    _is_for_breakpoints(first["args"])


def test_pycharm_configurations_compose() -> None:
    options = ET.parse(ROOT / ".run" / "debug step.run.xml").getroot().iter("option")
    values = {option.get("name"): option.get("value") for option in options}
    assert values["SCRIPT_NAME"] == "vexp.train"
    assert values["MODULE_MODE"] == "true"
    _is_for_breakpoints(str(values["PARAMETERS"]).split())


def _is_for_breakpoints(words: list[str]) -> None:
    config = compose(words)
    assert (config.device, config.data.batch_size, config.data.num_workers) == ("cpu", 1, 0)
