"""``vexp explain --yaml``: a file that composes to the same config and explains every key."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.tables import default_lane_has

from vexp import compose
from vexp.__main__ import main
from vexp.config.compose import compose_with_provenance
from vexp.config.instantiate import to_dict
from vexp.config.json_schema import schema_line
from vexp.config.keys import config_keys
from vexp.tools.explain.config_file import experiment_file

CASES = {
    "the defaults": [],
    "other options and values": ["optimizer=sgd", "lr=chain", "epochs=7", "img_norm.mean=[1,2,3]", "log=all"],
    "changed transforms": ["~pipeline.train.flip", "+transform@pipeline.train.jitter=color_jitter"],
    "an experiment": ["experiment=r3d_18", "data=folder", "data.root=videos", "run_name=mine"],
    "a dollar sign": [r"log.wandb.tags=['\${x}']", "data.split_seed=3"],
}


@pytest.mark.parametrize("case", default_lane_has(1, CASES))
def test_config_file_composes_to_the_same_config(tmp_path: Path, case: str) -> None:
    config, provenance = compose_with_provenance(CASES[case])
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "same.yaml").write_text(experiment_file(config, provenance))
    again = to_dict(compose(["experiment=same"], config_dirs=[tmp_path]), types=True)
    expected = to_dict(config, types=True)
    if "run_name=mine" not in CASES[case]:
        assert again["run_name"] == "same"  # as in every experiment
        expected["run_name"] = "same"
    assert again == expected


def test_config_file_values_can_be_overridden(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "same.yaml").write_text(experiment_file(*compose_with_provenance([])))
    config = compose(
        ["experiment=same", "optimizer.lr=0.5", "pipeline.train.flip.flip_ratio=0"], config_dirs=[tmp_path]
    )
    assert (config.optimizer.lr, config.pipeline.train["flip"].flip_ratio) == (0.5, 0)  # type: ignore[attr-defined]


def test_config_file_has_a_comment_on_every_key(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "--yaml", "optimizer=sgd"]) == 0
    text = capsys.readouterr().out
    lines = text.splitlines()
    assert lines[1] + "\n" == schema_line()
    unwrapped = " ".join(line.strip().lstrip("# ") for line in lines)
    keys = list(config_keys(compose(["optimizer=sgd"])))
    assert [key.path for key, _ in keys if " ".join(key.doc.split()) not in unwrapped] == []
    for number, line in enumerate(lines):
        name = line.strip().partition(":")[0]
        if line and not line.strip().startswith(("#", "-")) and name not in ("defaults", "type"):
            assert lines[number - 1].strip().startswith("#"), line


def test_config_file_excludes_names_of_keys(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "--yaml", "eval"]) == 2
    assert "--yaml=[eval]: prints the whole config" in capsys.readouterr().err
