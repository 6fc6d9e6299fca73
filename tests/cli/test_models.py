"""``vexp models``."""

from __future__ import annotations

import pytest

from vexp.cli import models
from vexp.core.errors import ConfigError


def test_models_lists_sizes_papers_and_published_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    models.main(["tiny3d", "x3d_s", "tsm_r50", "tiny3d_boxes", "actionformer_tiny", "hf"])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= models.WIDTH
    rows = {(" ".join(line.split())) for line in lines}
    assert "x3d_s recognition 13x160x160 3.79 1.96 Feichtenhofer, CVPR 2020 mmaction2" in rows
    assert "tsm_r50 8x224x224 24.3 +0.1% 33 -0.9% the paper, table 2" in rows
    assert sum("tiny3d " in row for row in rows) == 1  # nobody published it
    assert sum(row.startswith("tiny3d_boxes detection 8x64x64 0.") for row in rows) == 1
    assert sum(row.startswith("actionformer_tiny localization 400x80 0.") for row in rows) == 1
    assert "hf recognition video classifiers of transformers model.name=ORG/NAME" in rows


def test_models_lists_the_memory_of_a_localizer(capsys: pytest.CaptureFixture[str]) -> None:
    models.main(["actionformer_tiny", "hf", "--memory"])
    assert "actionformer_tiny 400x80 0.01 0.0" in " ".join(capsys.readouterr().out.split())


def test_models_rejects_unknown_name() -> None:
    with pytest.raises(ConfigError) as refused:
        models.main(["x3d_xs"])
    assert (refused.value.key, refused.value.hint) == ("x3d_xs", "; did you mean x3d_s?")
