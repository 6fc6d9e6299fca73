"""Long tables of cases, each of which takes a part of a second."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest


def default_lane_has(count: int, rows: Sequence[Any]) -> list[Any]:
    """Return the rows of a parametrized test, all but the first ``count`` as integration tests."""
    rest = [row if isinstance(row, tuple) else (row,) for row in rows[count:]]
    return [*rows[:count], *(pytest.param(*row, marks=pytest.mark.integration) for row in rest)]
