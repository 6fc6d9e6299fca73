"""The net at step 0: its random values, then what the config says it starts from."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from torch import nn

from vexp.config.schema import Config
from vexp.model import build_model
from vexp.model.config import Model
from vexp.model.weights.config import Weights
from vexp.model.weights.report import LoadReport

logger = logging.getLogger(__name__)


def build_model_with_weights(config: Config, classes: Sequence[str], *, fresh: bool) -> nn.Module:
    """The net, with ``model.init``, ``model.weights`` and ``init_from`` done and reported when the start is ``fresh``.

    Raises:
        UserError: weights that are not there or do not fit.
    """

    model = build_model(config.model, len(classes), pretrained=False)
    if not fresh:
        return model
    reports = config.model.initialize_weights(model) if isinstance(config.model, Model) else []
    if config.init_from is not None:
        weights = config.model.weights if isinstance(config.model, Model) else Weights()
        reports.append(weights.load(model, config.init_from))
    for report in reports:
        for warning in conflicts(report, config, classes):
            logger.warning(f"weights from {report.source}: {warning}")
    return model


def conflicts(report: LoadReport, config: Config, classes: Sequence[str]) -> list[str]:
    """Where the weights' own account of themselves and the run disagree."""
    norm = config.img_norm
    found = report.metadata.conflicts(mean=norm.mean, std=norm.std, to_bgr=norm.to_bgr)
    theirs = report.metadata.classes
    if theirs is not None and len(theirs) == len(classes) and not report.match.heads and theirs != list(classes):
        at = next(i for i, (a, b) in enumerate(zip(theirs, classes, strict=True)) if a != b)
        found.append(
            f"their classes are others or in another order (class {at}: {theirs[at]} there, {classes[at]} here), and "
            "the classifier was taken over with them"
        )
    return found
