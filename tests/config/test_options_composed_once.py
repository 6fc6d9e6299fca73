"""The tests of other folders compose each choice of options once: they get the configs and errors of Hydra."""

from __future__ import annotations

from typing import Any

import pytest
from support.composing import compose_everything, compose_from_options, composing_with
from support.tables import default_lane_has

from vexp import compose
from vexp.core.errors import ConfigError


def outcome(overrides: list[str]) -> Any:
    try:
        return compose(overrides)
    except ConfigError as error:
        return [(each.key, each.value, str(each)) for each in error.errors]


@pytest.mark.parametrize(
    "values",
    default_lane_has(
        2,
        [
            ["epochs=3", "optimizer.betas=[0.8,0.9]", "pipeline.val.sample.num_clips=10", "run_name=a"],
            ["+transform@pipeline.train.mirror=flip", "~pipeline.train.flip", "pipeline.train.mirror.flip_ratio=0.1"],
            ["pipeline.train=${pipeline.val}", "grad.clip={max_norm: 40}"],
            ["optimizer.lr=-1", "data.batch_size=0"],
            ["optimizer.lrr=1"],
            ["optimizer.lr=1,2"],
            [],
        ],
    ),
    ids=" ".join,
)
def test_config_with_options_composed_once_is_that_of_hydra(values: list[str]) -> None:
    overrides = ["optimizer=adamw", "debug=fast", *values]
    with composing_with(compose_everything):
        expected = outcome(overrides)
    with composing_with(compose_from_options):
        assert outcome(overrides) == expected
