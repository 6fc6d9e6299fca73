"""result.json: how a run ended."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vexp.core.documents import read_json

NAME = "result.json"
NUMBER = int | float
_BEST = {"metric": str, "score?": NUMBER, "step?": int, "epoch?": int}
_RESULT = {"status": str, "step?": int, "metrics?": {str: NUMBER | None}, "best?": _BEST, "seconds?": NUMBER,
           "error?": str, "overrides?": [str]}  # fmt: skip


def read_result(folder: Path) -> dict[str, Any] | None:
    """Return the content of a run's result.json: ``status`` and, as far as known, ``step``, ``metrics``, ``best``.

    Returns:
        None if there is no file: the run is still running, or was killed.

    Raises:
        UserError: If the file is damaged.
    """
    try:
        result: dict[str, Any] = read_json(folder / NAME, _RESULT)
    except FileNotFoundError:
        return None
    return result


def read_best(folder: Path) -> dict[str, Any] | None:
    """Return the content of best.json in a folder of checkpoints; None if there is no file.

    Raises:
        UserError: If the file is damaged.
    """
    try:
        best: dict[str, Any] = read_json(folder / "best.json", _BEST)
    except FileNotFoundError:
        return None
    return best
