"""What limits the speed of a run, and the overrides that might raise it."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from vexp.config.schema import Config
from vexp.data.sources.base import VideoSource
from vexp.tools.bench.measure import CORES, LOADING, STEP, Measurement, SampleCost, Speeds

_GAIN = 0.03  # smaller ones are noise
_LIMITS = {
    "decode": "decoding",
    "resize": "resizing and the other transforms",
    "transport": "passing samples from the workers to the training process",
    "copy": "copying batches to the device",
    "step": "the training step",
}


@dataclass(frozen=True, slots=True)
class Candidate:
    """An override that might raise the speed."""

    override: str
    note: str  # what it changes besides the speed; empty if nothing


PROXIES = Candidate("data.cache=proxy", "from the second epoch on, with other pixel values")


@dataclass(frozen=True, slots=True)
class Trial:
    """The measured effect of a candidate."""

    candidate: Candidate
    before: float  # samples per second without it, measured alternately
    after: float
    is_certain: bool = True  # every measurement with it was faster than the one before it, or slower

    @property
    def gain(self) -> float:
        """Relative change of the speed: 0.1 for 10 % more samples per second."""
        return self.after / self.before - 1


def limit_of(speeds: Speeds, cost: SampleCost) -> str:
    """Return which part of a sample limits the speed: decode, resize, transport, copy or step."""
    names = ("copy", "step") if speeds.limit == STEP else ("decode", "resize", "transport")
    costs = asdict(cost)
    return max(names, key=lambda name: costs[name])


def candidates(measurement: Measurement, limit: str) -> list[Candidate]:
    """Return the overrides that are worth a trial, the most promising first; ``limit`` is that of ``Speeds``."""
    config, cores = measurement.config, _cores()
    on_gpu = measurement.exp.device.type == "cuda"
    if limit == STEP:
        return list(_step_candidates(config, on_gpu))
    exp, source, result = measurement.exp, measurement.exp.train_set.source, list[Candidate]()
    if isinstance(source, VideoSource) and config.data.cache is None and exp.total_steps > exp.plan.steps_per_epoch:
        result.append(PROXIES)
    counts = [cores, cores - 1, cores // 2]  # more workers than cores gain nothing, and torch warns of them
    workers = [count for count in dict.fromkeys(counts) if count > 0 and count != measurement.workers]
    if measurement.workers > 0 and limit == CORES:
        workers.append(0)
    result += [Candidate(f"data.num_workers={count}", "") for count in workers]
    if limit == CORES and not on_gpu and config.backend.threads != 1:
        result.append(Candidate("backend.threads=1", "sums in another order: last bits"))
    if limit == LOADING and source.backend in ("auto", "av") and importlib.util.find_spec("torchcodec") is not None:
        result.append(Candidate("data.decoding_backend=torchcodec", ""))
    return result


def _step_candidates(config: Config, on_gpu: bool) -> Iterator[Candidate]:
    if on_gpu and config.amp.dtype == "fp32":
        yield Candidate("amp=bf16", "rounds activations to 8 bits of mantissa")
    if on_gpu and config.backend.tf32 != "all":
        yield Candidate("backend.tf32=all", "rounds matrix products to 10 bits of mantissa")
    channels_last = config.backend.channels_last
    wanted = not (on_gpu if channels_last is None else channels_last)
    yield Candidate(f"backend.channels_last={str(wanted).lower()}", "")
    size = config.data.batch_size
    yield Candidate(f"data.batch_size={2 * size}", "changes the training: scale the learning rate")
    if on_gpu and not config.backend.compile:
        yield Candidate("backend.compile=true", "takes minutes before the first step")


def conclusion(speeds: Speeds, cost: SampleCost, trials: list[Trial], untried: Sequence[str] = ()) -> str:
    """Return in a sentence what limits the speed, and in others what helped and what was not tried."""
    return " ".join(filter(None, [_limit_sentence(speeds, cost), _advice_sentence(trials), _untried_sentence(untried)]))


def _limit_sentence(speeds: Speeds, cost: SampleCost) -> str:
    limit, costs = limit_of(speeds, cost), asdict(cost)
    text = f"The limit is {_LIMITS[limit]}"
    if speeds.limit != STEP:
        loading = costs["decode"] + costs["resize"] + costs["transport"]
        text += f" ({costs[limit] / loading:.0%} of the time to load a sample)"
    if speeds.limit == CORES:
        text += ", which competes with the training step for the CPU cores"
    return f"{text}: training reaches {min(speeds.share, 1):.0%} of the speed of the step alone."


def _advice_sentence(trials: list[Trial]) -> str:
    if not trials:
        return "No override was tried."
    gains = [trial for trial in trials if trial.gain >= _GAIN and trial.is_certain]
    if not gains:
        return f"No override that was tried gained {_GAIN:.0%} or more in every measurement."
    best = max(gains, key=lambda trial: trial.gain)
    note = f" ({best.candidate.note})" if best.candidate.note else ""
    return f"{best.candidate.override} gained {best.gain:.0%} when tried{note}."


def _untried_sentence(untried: Sequence[str]) -> str:
    return f"There was no time to try {', '.join(untried)}: raise seconds." if untried else ""


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
