"""The part of a model behind its frozen encoder: which modules they are, and the model that consists of them alone.

One forward pass is followed backward from the logits: the trained part is a chain of modules, each of which takes the
output of the one before, that contains everything that is trained or random. Its input is a function of the clip alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from vexp.core.errors import ConfigError
from vexp.model.layers import is_batch_norm

KEY = "data.cache_features"


@dataclass(frozen=True, slots=True)
class TrainedPart:
    """The modules behind the frozen encoder, in their order, and their input for one clip."""

    paths: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def num_bytes(self) -> int:
        """Size of the input for one clip."""
        return torch.Size(self.shape).numel() * self.dtype.itemsize


@dataclass(eq=False, slots=True)
class _Call:
    """A call of a module: ``start`` and ``end`` count calls and returns. Calls that it makes lie between them."""

    path: str
    start: int
    input: Tensor | None  # None: it takes several arguments, or another type
    random_state: Tensor  # after the last call that it has made
    draws: bool = False  # whether its own code draws random numbers
    end: int = 0
    output: Any = None

    def contains(self, other: _Call) -> bool:
        return self.start <= other.start and other.end <= self.end


@dataclass(slots=True)
class _Recorder:
    """Forward hooks that record the calls of all modules of a model."""

    device: torch.device
    calls: list[_Call] = field(default_factory=list)
    _open: list[_Call] = field(default_factory=list)
    _time: int = 0

    def enter(self, path: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given = args[0] if len(args) == 1 and not kwargs and isinstance(args[0], Tensor) else None
        self.calls.append(_Call(path, self._tick(), given, self._random_state()))
        self._open.append(self.calls[-1])

    def leave(self, output: Any) -> None:
        self._random_state()
        call = self._open.pop()
        call.end, call.output = self._tick(), output

    def _tick(self) -> int:
        self._time += 1
        return self._time

    def _random_state(self) -> Tensor:
        """Return the state of the generator; if it has changed, the innermost open call has drawn numbers."""
        on_gpu = self.device.type in ("cuda", "mps")
        state = torch.get_device_module(self.device).get_rng_state(self.device) if on_gpu else torch.get_rng_state()
        if self._open and not torch.equal(state, self._open[-1].random_state):
            self._open[-1].draws = True
        for call in self._open:
            call.random_state = state
        return state


def trained_part(model: nn.Module, clips: Tensor) -> TrainedPart:
    """Find the trained part of a model by a forward pass in its present mode, float (N, C, T, H, W), N >= 2.

    Neither the generators nor the buffers of the model change.

    Raises:
        ConfigError: If it is not a chain of modules, or its input has not one row for each clip.
    """
    calls = _record(model, clips)
    needed = _reasons(model, calls)
    chain = _chain(calls, list(needed))
    if not chain or chain[0].input is None or chain[0].input is clips or len(chain[0].input) != len(clips):
        first = min(needed, key=lambda call: call.start)
        raise ConfigError(
            f"{needed[first]}, and what follows it is not a chain of modules that "
            "takes one row for each clip and returns the logits",
            key=KEY, value=True,
            hint="; freeze it (model.freeze), set its dropout or drop path to 0, or use model.probe with "
            "model.freeze=[encoder]",
        )  # fmt: skip
    value = chain[0].input
    return TrainedPart(tuple(call.path for call in chain), tuple(value.shape[1:]), value.dtype)


def _record(model: nn.Module, clips: Tensor) -> list[_Call]:
    recorder, handles = _Recorder(clips.device), []
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    for path, module in model.named_modules():

        def enter(_: nn.Module, args: Any, kwargs: Any, path: str = path) -> None:
            recorder.enter(path, args, kwargs)

        handles.append(module.register_forward_pre_hook(enter, with_kwargs=True))
        handles.append(module.register_forward_hook(lambda _module, _args, output: recorder.leave(output)))
    kind = clips.device.type if clips.device.type in ("cuda", "mps") else None
    devices = [clips.device] if kind else []
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=devices, device_type=kind or "cuda"):
            model(clips)
            for buffer, value in buffers:  # running means of batch norm
                buffer.copy_(value)
    finally:
        for handle in handles:
            handle.remove()
    return recorder.calls


def _reasons(model: nn.Module, calls: Sequence[_Call]) -> dict[_Call, str]:
    """Return the calls whose output is not a fixed function of their input, each with the reason."""
    called, trained = {call.path for call in calls}, dict[str, str]()
    for name, parameter in model.named_parameters():
        caller = name.rpartition(".")[0]
        while caller not in called:  # a module that reads the parameters of another one instead of calling it
            caller = caller.rpartition(".")[0]
        if parameter.requires_grad:
            trained.setdefault(caller, name)
    reasons: dict[_Call, str] = {}
    for call in calls:
        module = model.get_submodule(call.path)
        if call.path in trained:
            reasons[call] = f"{trained[call.path]} is trained"
        elif is_batch_norm(module) and module.training:
            reasons[call] = f"{call.path} is batch norm in training mode"
        elif call.draws:
            reasons[call] = f"{call.path or type(model).__name__} draws random numbers"
    return reasons


def _chain(calls: Sequence[_Call], needed: Sequence[_Call]) -> list[_Call]:
    """Return the shortest chain of calls from some tensor to the logits that contains all ``needed`` calls.

    A call is preferred to those that contain it, so that the input of the chain is as late as possible.
    """
    failed: set[int] = set()  # starts of calls before which the chain cannot be continued

    def before(tensor: Any, time: int) -> list[_Call]:
        for call in sorted((c for c in calls if c.output is tensor and c.end <= time), key=lambda c: -c.start):
            remaining = [other for other in needed if other.end <= time and not call.contains(other)]
            if any(other.end > call.start for other in remaining) or call.start in failed:
                continue
            if not remaining:
                return [call]
            if call.input is not None and (rest := before(call.input, call.start)):
                return [*rest, call]
            failed.add(call.start)
        return []

    root = calls[0]
    return before(root.output, root.end)


class _ReachedError(Exception):
    """The forward pass has reached the trained part."""


@contextmanager
def encoder(model: nn.Module, part: TrainedPart) -> Iterator[Callable[[Tensor], Tensor]]:
    """Yield a function that maps clips to the input of the trained part; it does not compute what follows."""
    reached: list[Tensor] = []

    def stop(_: nn.Module, args: tuple[Tensor, ...]) -> None:
        reached.append(args[0])
        raise _ReachedError

    def encode(clips: Tensor) -> Tensor:
        with suppress(_ReachedError):
            model.forward(clips)
        return reached.pop()

    handle = model.get_submodule(part.paths[0]).register_forward_pre_hook(stop)
    try:
        yield encode
    finally:
        handle.remove()


def take_features(model: nn.Module, part: TrainedPart) -> None:
    """Make ``model`` take the input of its trained part instead of clips. It applies to copies of the model, too."""
    model.forward = _Forward(model, part.paths)


class _Forward:
    """A replacement for the method ``forward`` of a model. Modules are identified by path, as in a copy of it."""

    def __init__(self, model: nn.Module, paths: tuple[str, ...]) -> None:
        self.model, self.paths = model, paths

    def __call__(self, features: Tensor) -> Tensor:
        for path in self.paths:
            features = self.model.get_submodule(path)(features)
        return features
