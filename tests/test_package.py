"""The package's own face: what a bare ``import vexp`` gives."""

from __future__ import annotations

import subprocess
import sys

import pytest

import vexp

SCRIPT = """
import sys
import vexp
assert "vexp.train" not in sys.modules and "hydra" not in sys.modules
print(vexp.train.run.__module__, "torch" in sys.modules)
"""


def test_train_is_imported_on_first_use() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["vexp.train", "False"]


def test_unknown_attribute_raises() -> None:
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        vexp.trian  # noqa: B018
