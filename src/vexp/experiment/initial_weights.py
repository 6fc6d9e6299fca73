"""The model at step 0: random initialization, then pretrained weights."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from torch import nn

from vexp.config.schema import Config
from vexp.model import build_model
from vexp.model.adapters.lora import check_magnitudes
from vexp.model.config import Model
from vexp.model.weights.config import Weights
from vexp.model.weights.report import LoadReport

logger = logging.getLogger(__name__)


def build_model_with_weights(config: Config, classes: Sequence[str], *, fresh: bool) -> nn.Module:
    """Build the model; with ``fresh`` also apply ``model.init``, ``model.weights`` and ``init_from``."""
    option = config.model
    if not fresh:
        return build_model(option, len(classes), pretrained=False)
    reports: list[LoadReport] = []
    if isinstance(option, Model):
        model = option.build_base(len(classes))
        reports += option.initialize_weights(model, load=config.init_from is None)
    else:
        model = build_model(option, len(classes))
    if config.init_from is not None:
        weights = option.weights if isinstance(option, Model) else Weights()
        reports.append(weights.load(model, config.init_from))
    if isinstance(option, Model):
        option.set_trained_parts(model, len(classes))  # adapters are inserted into the loaded weights
        check_magnitudes(model)
    for report in reports:
        for warning in conflicts(report, config, classes):
            logger.warning(f"weights from {report.source}: {warning}")
    return model


def conflicts(report: LoadReport, config: Config, classes: Sequence[str]) -> list[str]:
    """Return how the metadata of loaded weights contradict the config: normalization and class names."""
    norm = config.img_norm
    messages = report.metadata.conflicts(mean=norm.mean, std=norm.std, to_bgr=norm.to_bgr)
    names = report.metadata.classes
    if names is not None and len(names) == len(classes) and not report.match.heads and names != list(classes):
        index = next(i for i, (a, b) in enumerate(zip(names, classes, strict=True)) if a != b)
        messages.append(
            f"the classifier was loaded, but its classes differ or are in another order (class {index} is "
            f"{names[index]} in the file and {classes[index]} in the data)"
        )
    return messages
