"""view_logits.npz: the logits of every view, so that they can be scored again without model or data."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from vexp.core.documents import check_schema, open_regular, parse_json
from vexp.core.errors import UserError
from vexp.core.files import atomic_write
from vexp.evaluation.config import Eval
from vexp.evaluation.predictions import Predictions

FILE_NAME = "view_logits.npz"


@dataclass(frozen=True, slots=True)
class ViewLogits:
    """The content of the file: ``Predictions`` with the names of the videos, and how the evaluation was done."""

    logits: NDArray[np.float32]  # (n, views, classes)
    ids: NDArray[np.int64]
    labels: NDArray[np.int64] | NDArray[np.float32]
    loss: float
    classes: list[str]
    names: list[str]
    protocol: dict[str, Any]
    options: dict[str, Any]  # the ``eval`` group


def save_view_logits(
    path: Path,
    predictions: Predictions,
    classes: Sequence[str],
    names: Sequence[str],
    *,
    protocol: dict[str, Any],
    options: Eval,
) -> None:
    """Write the file atomically; ``predictions`` must contain view logits."""
    assert predictions.view_logits is not None
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        np.savez(
            file,
            logits=predictions.view_logits,
            ids=predictions.ids,
            labels=predictions.labels,
            loss=np.float64(predictions.loss),
            classes=np.array(list(classes)),
            names=np.array(names),
            protocol=np.array(json.dumps(protocol)),
            options=np.array(json.dumps(asdict(options))),
        )


def load_view_logits(path: Path) -> ViewLogits:
    """Read the file.

    Raises:
        UserError: If there is no such file, or it is damaged or not a view_logits.npz.
    """
    try:
        with open_regular(path) as opened, np.load(opened, allow_pickle=False) as file:
            if any(member.compress_type for member in file.zip.infolist()):
                raise ValueError("is compressed")  # NumPy does not compress it, and 1 MB may become 1 GB
            values: dict[str, Any] = {field.name: file[field.name] for field in fields(ViewLogits)}
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; vexp evaluate run=RUN eval.save_view_logits=true writes it") from None
    except (OSError, ValueError, KeyError, EOFError, OverflowError, AttributeError, BadZipFile):
        raise UserError(f"{path}: not a view_logits.npz of vexp, or damaged") from None  # NumPy suggests pickle
    values |= {name: values[name].tolist() for name in ("loss", "classes", "names")}
    values |= {name: parse_json(str(values[name]), f"{path}: {name}") for name in ("protocol", "options")}
    schema = {
        "loss": float,
        "classes": [str],
        "names": [str],
        "protocol": {"split": str, "views": str},
        "options": dict,
    }
    saved = ViewLogits(**check_schema(values, schema, path))
    if not _is_consistent(saved):
        shapes = f"logits {saved.logits.shape}, ids {saved.ids.shape}, labels {saved.labels.shape}"
        raise UserError(f"{path}: is damaged: {len(saved.names)} videos, {len(saved.classes)} classes, but {shapes}")
    return saved


def _is_consistent(saved: ViewLogits) -> bool:
    videos, classes, labels = len(saved.names), len(saved.classes), saved.labels
    kinds = saved.logits.dtype.kind + saved.ids.dtype.kind + labels.dtype.kind
    if kinds not in ("fii", "fif") or saved.logits.ndim != 3 or min(saved.logits.shape) == 0:
        return False
    shapes = saved.logits.shape[::2] == (videos, classes) and saved.ids.shape == (videos,)
    in_range = labels.ndim == 2 or bool(labels.min() >= 0 and labels.max() < classes)
    return shapes and labels.shape in ((videos,), (videos, classes)) and in_range
