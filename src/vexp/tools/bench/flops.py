"""Operations of a training step, counted on the meta device."""

from __future__ import annotations

import torch
from torch.utils.flop_counter import FlopCounterMode

from vexp.config.schema import Config
from vexp.experiment.setup import Experiment
from vexp.model.auxiliary import losses
from vexp.model.meta import meta_model


def training_flops(config: Config, exp: Experiment) -> float | None:
    """Return the floating-point operations of forward and backward for one sample.

    Additions and multiplications of convolutions, linear layers and attention are counted, twice the
    multiply-accumulates of ``vexp models``. None if the model cannot be run on the meta device.
    """
    sample = exp.train_set[(0, 0)]
    frames = getattr(sample, "frames", None)
    if frames is None:
        return None  # the first video cannot be read
    views, length, height, width, channels = frames.shape
    try:
        model = meta_model(config.model, len(exp.classes)).train()
        for parameter in model.parameters():
            parameter.requires_grad_(True)
        clips = torch.empty(views, channels, length, height, width, device="meta")
        with FlopCounterMode(display=False) as counter:
            loss = losses(lambda logits, _: logits.sum(), model(clips), clips)["loss"]
            loss.backward()  # type: ignore[no-untyped-call]
    except (RuntimeError, NotImplementedError, TypeError, ValueError):
        return None
    return float(counter.get_total_flops())
