"""Check that a config is reproducible: repeat its first steps and compare them tensor by tensor."""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from vexp.config.schema import Config
from vexp.core.errors import UserError
from vexp.data.batch.batch import Batch
from vexp.data.loading.bad_samples import BadSamples
from vexp.data.loading.dataloader import available_workers
from vexp.experiment.initial_weights import build_model_with_weights
from vexp.experiment.setup import Experiment, apply_switches, build_experiment
from vexp.training.batches import training_batches
from vexp.training.run import new_state
from vexp.training.step import set_learning_rates, train_step

_NO_DETERMINISTIC = re.compile(r"^(.+?) does not have a deterministic implementation")
_CUBLAS = re.compile(r"CuBLAS|CUBLAS_WORKSPACE_CONFIG")


@dataclass(slots=True)
class Trace:
    """Digests of everything that a few steps computed, and the loss of each step.

    A step maps the name of each sample, loss, gradient, weight and buffer to its digest.
    """

    steps: list[dict[str, str]] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Difference:
    """The first difference of two traces: ``what`` at ``step`` (1-based), and how many more in that step (``also``)."""

    step: int
    what: str
    also: int
    losses: tuple[float, float]

    def __str__(self) -> str:
        more = f" ({self.also} more tensors of this step differ)" if self.also else ""
        return f"first differs at step {self.step}: {self.what}{more}; loss {self.losses[0]!r} and {self.losses[1]!r}"


@dataclass(frozen=True, slots=True)
class Repetition:
    """A comparison with the first run; ``how`` describes the repetition."""

    how: str
    difference: Difference | None


@dataclass(frozen=True, slots=True)
class ReproducibilityReport:
    """The result of ``check_repeats``.

    Attributes:
        tensors: Number of tensors that were compared in each step.
        nondeterministic: Operations of the model for which torch has no deterministic implementation on this device.
    """

    device: str
    steps: int
    tensors: int
    repetitions: list[Repetition]
    nondeterministic: list[str]

    @property
    def equal(self) -> bool:
        return all(repetition.difference is None for repetition in self.repetitions)


def check_repeats(config: Config, steps: int) -> ReproducibilityReport:
    """Run the first ``steps`` optimizer steps three times, the third time with another number of workers; compare bits.

    Raises:
        UserError: If the config cannot be run, or deterministic=true and an operation has no such implementation.
    """
    if config.dist.nproc > 1:
        raise UserError(f"dist.nproc={config.dist.nproc}: the steps of one process are compared here; set nproc=1")
    nondeterministic = nondeterministic_operations(config)
    if config.deterministic and nondeterministic:
        raise UserError(
            f"deterministic=true: on this device there is no deterministic implementation of "
            f"{', '.join(nondeterministic)}, which this model uses, so a run would end at its first step. Use "
            "another model or layer, or deterministic=false"
        )
    workers = available_workers() if config.data.num_workers is None else config.data.num_workers
    other = 0 if workers else 1
    first, exp = trace(config, steps)
    again, _ = trace(config, steps)
    elsewhere, _ = trace(_with_workers(config, other), steps)
    repetitions = [
        Repetition(f"again ({_counted(workers)})", first_difference(first, again)),
        Repetition(f"with {_counted(other)}", first_difference(first, elsewhere)),
    ]
    return ReproducibilityReport(str(exp.device), len(first.steps), len(first.steps[0]), repetitions, nondeterministic)


def trace(config: Config, steps: int, *, warn_only: bool = False) -> tuple[Trace, Experiment]:
    """Record the first ``steps`` optimizer steps of a new run, or all of a shorter run.

    With ``warn_only``, operations without a deterministic implementation give a Python warning.
    """
    apply_switches(config)
    if warn_only:
        torch.use_deterministic_algorithms(True, warn_only=True)
    exp = build_experiment(config)
    model = config.backend.prepare(build_model_with_weights(config, exp.classes, fresh=True), exp.device)
    state, record = new_state(exp, model), Trace()
    steps = min(steps, exp.total_steps)
    bad_samples = BadSamples(exp.train_set, split="train", max_fraction=config.data.max_bad_fraction)
    batches = _recorded(training_batches(exp, 0, bad_samples, steps=steps), exp, record)
    state.model.train()

    def record_gradients(*_: Any) -> None:
        """Record the gradients that the optimizer receives, unscaled and clipped, from the last layer to the first."""
        parameters = list(state.model.named_parameters())[::-1]
        record.steps[-1] |= {f"gradient of {name}": digest(p.grad) for name, p in parameters if p.grad is not None}

    handle = state.optimizer.register_step_pre_hook(record_gradients)
    try:
        for _ in range(steps):
            record.steps.append({})
            set_learning_rates(exp, state)
            values = train_step(exp, state, batches)
            state.step += 1
            record.losses.append(float(values.get("loss", torch.nan)))
            record.steps[-1]["loss"] = record.losses[-1].hex()
            record.steps[-1] |= {f"weight {name}": digest(value) for name, value in model.named_parameters()}
            record.steps[-1] |= {f"buffer {name}": digest(value) for name, value in model.named_buffers()}
    finally:
        handle.remove()
    return record, exp


def _recorded(batches: Iterator[Batch], exp: Experiment, record: Trace) -> Iterator[Batch]:
    """Yield the batches; record each sample under its position in the step and its name."""
    for batch in batches:
        step = record.steps[-1]
        for frames, label, index in zip(batch.frames, batch.labels, batch.ids.tolist(), strict=True):
            position = sum(name.startswith("sample ") for name in step)
            step[f"sample {position} ({exp.train_set.source.name(index)})"] = digest(frames) + digest(label)
        yield batch


def first_difference(one: Trace, other: Trace) -> Difference | None:
    """Return the first difference of two traces, in the order samples, loss, gradients, weights, buffers."""
    order = ("sample", "loss", "gradient", "weight", "buffer")
    for step, (a, b) in enumerate(zip(one.steps, other.steps, strict=True)):
        different = [name for name in a | b if a.get(name) != b.get(name)]
        if different:
            first = min(different, key=lambda name: order.index(name.partition(" ")[0]))
            return Difference(step + 1, first, len(different) - 1, (one.losses[step], other.losses[step]))
    return None


def nondeterministic_operations(config: Config) -> list[str]:
    """List the operations of a training step for which torch has no deterministic implementation on this device.

    They are those of which ``torch.use_deterministic_algorithms`` warns.
    """
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            trace(_with_workers(replace(config, deterministic=False), 0), 1, warn_only=True)
    finally:
        torch.use_deterministic_algorithms(config.deterministic)
    names = []
    for text in (str(warning.message) for warning in caught):
        if match := _NO_DETERMINISTIC.match(text):
            names.append(match[1])
        elif _CUBLAS.search(text):
            names.append("matrix products of cuBLAS (deterministic=true gives it a fixed workspace)")
    return list(dict.fromkeys(names))


def digest(tensor: Tensor) -> str:
    """Return a digest of a tensor's bits, shape and dtype."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    kind = f"{tuple(tensor.shape)} {tensor.dtype} ".encode()
    return hashlib.blake2b(kind + flat.view(torch.uint8).numpy().tobytes(), digest_size=12).hexdigest()


def _with_workers(config: Config, workers: int) -> Config:
    return replace(config, data=replace(config.data, num_workers=workers))


def _counted(workers: int) -> str:
    return f"{workers or 'no'} worker{'s' * (workers != 1)}"
