"""Long tables of cases, each of which takes a part of a second."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from _pytest.mark import ParameterSet


def default_lane_has(count: int, rows: Iterable[Any]) -> list[Any]:
    """Return the rows of a parametrized test, all but the first ``count`` as integration tests."""
    table = list(rows)
    return [*table[:count], *map(_as_integration, table[count:])]


def _as_integration(row: Any) -> ParameterSet:
    if isinstance(row, ParameterSet):
        return pytest.param(*row.values, marks=[*row.marks, pytest.mark.integration], id=row.id)
    values = row if isinstance(row, tuple) else (row,)
    return pytest.param(*values, marks=pytest.mark.integration)
