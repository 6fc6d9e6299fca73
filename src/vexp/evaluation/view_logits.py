"""view_logits.npz: what the net said about every view, kept so that it can be scored again without net or data."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from vexp.core.errors import UserError
from vexp.core.files import atomic_write
from vexp.evaluation.config import Eval
from vexp.evaluation.predictions import Predictions

_FIELDS = ("logits", "ids", "labels", "loss", "classes", "names", "protocol", "options")
FILE_NAME = "view_logits.npz"


@dataclass(frozen=True, slots=True)
class ViewLogits:
    """``logits`` float32 (n, views, classes); ``ids``, ``labels`` and ``loss`` as in ``Predictions``; ``names`` of the
    videos; ``protocol`` and ``options`` (the ``eval`` group) of the evaluation that made them."""

    logits: NDArray[np.float32]
    ids: NDArray[np.int64]
    labels: NDArray[np.int64] | NDArray[np.float32]
    loss: float
    classes: list[str]
    names: list[str]
    protocol: dict[str, Any]
    options: dict[str, Any]


def save_view_logits(
    path: Path,
    predictions: Predictions,
    *,
    classes: Sequence[str],
    name: Callable[[int], str],
    protocol: dict[str, Any],
    options: Eval,
) -> None:
    """Write the file whole or not at all; ``predictions`` hold view logits."""
    assert predictions.view_logits is not None
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        np.savez(
            file,
            logits=predictions.view_logits,
            ids=predictions.ids,
            labels=predictions.labels,
            loss=np.float64(predictions.loss),
            classes=np.array(list(classes)),
            names=np.array([name(int(i)) for i in predictions.ids]),
            protocol=np.array(json.dumps(protocol)),
            options=np.array(json.dumps(asdict(options))),
        )


def load_view_logits(path: Path) -> ViewLogits:
    """Raises UserError where the file is not there, or is no such file."""
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            values = {name: file[name] for name in _FIELDS}
    except FileNotFoundError:
        raise UserError(
            f"{path}: no such file; python -m vexp.cli.evaluate run=RUN eval.save_view_logits=true writes it"
        ) from None
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        raise UserError(f"{path}: is no view_logits.npz of vexp, or it is damaged") from None  # NumPy advises pickle
    return ViewLogits(
        logits=values["logits"],
        ids=values["ids"],
        labels=values["labels"],
        loss=float(values["loss"]),
        classes=values["classes"].tolist(),
        names=values["names"].tolist(),
        protocol=json.loads(str(values["protocol"])),
        options=json.loads(str(values["options"])),
    )
