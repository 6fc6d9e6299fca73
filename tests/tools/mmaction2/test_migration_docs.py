"""docs/howto/migrate_mmaction2.md: its tables are those of the code, its commands are those that work."""

from __future__ import annotations

import re

import pytest
from support.import_table import PAGE as PATH
from support.import_table import table, written

from vexp.tools.mmaction2.backbones import BACKBONES
from vexp.tools.mmaction2.datasets import DATASETS
from vexp.tools.mmaction2.lr_config import POLICIES
from vexp.tools.mmaction2.optimizers import OPTIMIZERS
from vexp.tools.mmaction2.param_schedulers import PHASES
from vexp.tools.mmaction2.pipelines import NO_STEPS, STEPS
from vexp.tools.mmaction2.result import STATUSES

PAGE = PATH.read_text()


@pytest.mark.integration
def test_table_of_the_tests_configs_is_current() -> None:
    """``cd tests; python -m support.import_table`` writes it."""
    assert written() == table()
    assert table().splitlines()[-1].endswith("| 0 |")  # tracebacks


def section(title: str) -> str:
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("Models", {name: family.option for name, family in BACKBONES.items()}),
        ("Data", DATASETS),
        ("Transforms", {name: step.option for name, step in STEPS.items()}),
        ("Optimizers", OPTIMIZERS),
    ],
)
def test_documented_table_equals_the_rules(title: str, expected: dict[str, str]) -> None:
    assert dict(re.findall(r"^\| `([^`]+)` \| `([^`]+)` \|$", section(title), re.MULTILINE)) == expected


def test_documented_names_are_complete() -> None:
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \|$", section("Learning rate"), re.MULTILINE)
    policies, shapes = rows[: len(POLICIES)], rows[len(POLICIES) :]
    assert dict(shapes) == {name: shape for name, (shape, _) in PHASES.items()}
    assert {name.lower(): option for name, option in policies} == {name: known[0] for name, known in POLICIES.items()}
    assert re.findall(r"^\| ([a-z][^|]+) \|", section("Contents of the report"), re.MULTILINE) == [
        STATUSES[name]
        for name in ("carried", "changed", "default", "unsupported", "placeholder", "needless", "part", "replaced")
    ]
    assert set(re.findall(r"`(\w+)`", section("Transforms").partition("not transforms in vexp:")[2])) == set(NO_STEPS)
