"""The net at step 0: its random values, then what the config says it starts from."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import nn

from vexp.config.schema import Config
from vexp.model import build_model
from vexp.model.weights.config import Weights
from vexp.model.weights.report import LoadReport


def build_model_with_weights(
    config: Config, classes: Sequence[str], say: Callable[[str], None], *, fresh: bool
) -> nn.Module:
    """The net, with ``model.init``, ``model.weights`` and ``init_from`` done and reported when the start is ``fresh``.

    Raises:
        UserError: weights that are not there or do not fit.
    """

    def tell(what: LoadReport | str) -> None:
        say(str(what))
        if isinstance(what, LoadReport):
            for warning in conflicts(what, config, classes):
                say(f"warning: weights from {what.source}: {warning}")

    model = build_model(config.model, len(classes), pretrained=fresh, tell=tell)
    if fresh and config.init_from is not None:
        way = getattr(config.model, "weights", None)
        (way if isinstance(way, Weights) else Weights()).load(model, config.init_from, tell)
    return model


def conflicts(report: LoadReport, config: Config, classes: Sequence[str]) -> list[str]:
    """Where the weights' own account of themselves and the run disagree."""
    norm = config.img_norm
    found = report.metadata.conflicts(mean=norm.mean, std=norm.std, to_bgr=norm.to_bgr)
    theirs = report.metadata.classes
    if theirs is not None and len(theirs) == len(classes) and not report.fit.heads and theirs != list(classes):
        at = next(i for i, (a, b) in enumerate(zip(theirs, classes, strict=True)) if a != b)
        found.append(
            f"their classes are others or in another order (class {at}: {theirs[at]} there, {classes[at]} here), and "
            "the classifier was taken over with them"
        )
    return found
