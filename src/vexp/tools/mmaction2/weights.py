"""Count the tensors of the weights that a config names which fit the model of its experiment."""

from __future__ import annotations

from collections.abc import Iterator

from vexp.config.schema import Config
from vexp.core.errors import UserError
from vexp.core.log import plural
from vexp.model.weights.config import Weights
from vexp.model.weights.source import is_local


def weight_lines(config: Config, num_classes: int, *, download: bool) -> Iterator[tuple[bool, str]]:
    """Yield for each weight file of an experiment whether a run would refuse it, and how many of its tensors fit.

    A file that is not on this machine is only read with ``download``.
    """
    given = getattr(config.model, "weights", None)
    weights = given if isinstance(given, Weights) else Weights()
    # init_from takes the place of the weights of the model
    key, name = ("init_from", config.init_from) if config.init_from else ("model.weights.path", weights.path)
    if not name:
        return
    try:
        if download or is_local(name):
            yield False, f"{key}: {_fit(config, weights, name, num_classes)}"
        else:
            yield False, f"{key}: {name} is not on this machine; --download reads it and counts the tensors that fit"
    except UserError as error:
        yield True, f"{key}: {str(error).splitlines()[0]}"


def _fit(config: Config, weights: Weights, name: str, num_classes: int) -> str:
    from vexp.model.meta import meta_model  # imports torch

    match = weights.load(meta_model(config.model, num_classes), name, copy=False).match
    others = f"; {plural(len(match.ignored), 'other tensor')} in the file" if match.ignored else ""
    return f"{name}: {match.matching} of the {match.counted} tensors of the model are in the file{others}"
