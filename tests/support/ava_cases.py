"""Recorded outputs of mmaction2 0.24.1 for spatio-temporal detection."""

import gzip
import json

import numpy as np

from support.paths import GOLDEN_DIR

FILE = json.loads(gzip.decompress((GOLDEN_DIR / "mmaction2_boxes.json.gz").read_bytes()))


def cases(group, kind):
    """The cases of one kind of ``losses`` or ``ava``."""
    return [case for case in FILE[group] if case["kind"] == kind]


def names(case):
    """What the recipe of a case defines."""
    found = {"np": np}
    exec(FILE["prelude"], found)
    exec(case["recipe"], found)
    return found
