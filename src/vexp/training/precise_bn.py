"""Precise batch norm: the statistics of the weights as they are, in place of running means over earlier weights."""

from __future__ import annotations

import torch
from torch import nn
from torch.optim.swa_utils import update_bn

from vexp.config.schema import Config
from vexp.core.errors import ConfigError
from vexp.data.loading.bad_samples import BadSamples
from vexp.experiment.setup import Experiment
from vexp.model.layers import is_batch_norm
from vexp.training.batches import training_batches
from vexp.training.state import TrainState


def check_precise_bn(config: Config, model: nn.Module) -> None:
    """Check that ``eval.precise_bn`` can be applied to a model in training mode.

    Raises:
        ConfigError: If the model has no batch norm, some keep their statistics, or another model is evaluated.
    """
    norms = [layer for layer in model.modules() if is_batch_norm(layer)]
    reasons = {
        "is for recognition": config.data.task != "recognition",
        "conflicts with ema, whose average of the weights is evaluated": config.ema.decay is not None,
        "requires a model with batch norm": not norms,
        "conflicts with batch norms in eval mode (model.norm_eval, partial_bn, freeze)": not all(
            layer.training for layer in norms
        ),
    }
    for rule, applies in reasons.items():
        if config.eval.precise_bn is not None and applies:
            raise ConfigError(rule, key="eval.precise_bn", value=config.eval.precise_bn)


def update_batch_norms(exp: Experiment, state: TrainState, bad: BadSamples) -> None:
    """Set the statistics of the batch norms to their means over the batches of the next ``eval.precise_bn`` steps.

    After Wu and Johnson, "Rethinking 'Batch' in BatchNorm", 2021, section 3. Random generators are left as they were,
    and training does not depend on the statistics: a run continues as it would without.
    """
    steps, device = exp.config.eval.precise_bn, exp.device
    if steps is None:
        return
    batches = training_batches(exp, state.step, bad, steps=steps)
    clips = (exp.task.inputs(batch.to(device), training=True)[0][0] for batch in batches)
    with torch.random.fork_rng([device] if device.type == "cuda" else []), exp.config.amp.autocast(device):
        update_bn(clips, state.model)
    exp.world.sync_batch_norm_stats(state.model)
