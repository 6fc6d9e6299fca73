"""How the processes of a run share its model: replicated (DDP) or sharded (FSDP2), behind the methods of one class.

Each strategy averages gradients over the processes, and saves and loads the same checkpoints: those of one process.
"""

from __future__ import annotations

import copy
import inspect
import warnings
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from vexp.core.errors import ConfigError
from vexp.model.repeated_blocks import repeated_blocks
from vexp.model.sharded import is_sharded, whole_tensor
from vexp.runtime.amp import Amp
from vexp.runtime.config import Dist
from vexp.runtime.distributed import World


class SingleProcess:
    """A model that one process trains, and the base class of the strategies of several.

    Attributes:
        model: The model.
        module: The module that training calls: ``model`` or a wrapper of it.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = self.module = model

    def no_sync(self) -> AbstractContextManager[Any]:
        """Return the context of a batch after which gradients are not yet averaged over the processes."""
        return nullcontext()

    def whole(self, model: nn.Module) -> AbstractContextManager[nn.Module]:
        """Return the context in which this process has all weights of ``model`` or its moving average, to evaluate."""
        return nullcontext(model)

    def gather(self, state: Any) -> Any:
        """Return nested containers with whole tensors, in the main process. All processes must call it."""
        return state

    def load_model(self, model: nn.Module, state: Mapping[str, Any]) -> None:
        """Load a state dict of whole tensors into ``model`` or its moving average."""
        model.load_state_dict(state)

    def load_optimizer(self, optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
        """Load a state dict of whole tensors into an optimizer over the parameters of ``model``."""
        optimizer.load_state_dict(dict(state))


class Ddp(SingleProcess):
    """Every process has all weights and optimizer states: DistributedDataParallel."""

    def __init__(self, model: nn.Module, options: Dist, device: torch.device) -> None:
        super().__init__(model)
        wrapper: Any = nn.parallel.DistributedDataParallel
        newer = "forward_sync_buffers" in inspect.signature(wrapper).parameters  # the name from torch 2.15 on
        # Convolutions of 1 x 1 x 1 cause it; the strides of their gradients have no meaning.
        warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
        self.module = wrapper(
            model,
            device_ids=[device] if device.type == "cuda" else None,
            gradient_as_bucket_view=True,
            find_unused_parameters=options.find_unused_parameters,
            # sync_batch_norm_stats uses the statistics of every process, where a broadcast keeps those of one.
            **{"forward_sync_buffers" if newer else "broadcast_buffers": False},
        )

    def no_sync(self) -> AbstractContextManager[Any]:
        return self.module.no_sync()  # type: ignore[no-any-return, operator]


class Fsdp(SingleProcess):
    """Every process has a part of each weight, gradient and optimizer state: FSDP2 (``fully_shard``).

    A block (``repeated_blocks``) has its whole weights while it is computed, forward and backward; the other parameters
    of the model are one more unit. Buffers are whole in every process. With mixed precision the weights of a unit are
    gathered in ``amp.dtype``, and gradients are averaged in float32.
    """

    def __init__(
        self, model: nn.Module, ema: AveragedModel | None, amp: Amp, device: torch.device, world: World
    ) -> None:
        """Shard ``model`` and its moving average in place; both are on the CPU or on ``device`` before.

        Raises:
            ConfigError: If the model has parameters that FSDP2 cannot shard.
        """
        from torch.distributed.device_mesh import init_device_mesh

        super().__init__(model)
        _check_shardable(model)
        self._world, self._device = world, device
        self._whole = copy.deepcopy(model).to("meta")
        mesh = init_device_mesh(device.type, (world.world_size,))
        for module in (model,) if ema is None else (model, ema.module):
            _shard(module, mesh, amp)

    @contextmanager
    def no_sync(self) -> Iterator[None]:
        self.model.set_requires_gradient_sync(False)  # type: ignore[operator]
        yield
        self.model.set_requires_gradient_sync(True)  # type: ignore[operator]

    @contextmanager
    def whole(self, model: nn.Module) -> Iterator[nn.Module]:
        # Processes may have different numbers of batches to evaluate, so their forward passes must not communicate.
        whole = self._whole.to_empty(device=self._device)
        with torch.no_grad():
            for target, source in zip(_tensors(whole), _tensors(model), strict=True):
                target.copy_(whole_tensor(source))
        try:
            yield whole
        finally:
            whole.to("meta")

    def gather(self, state: Any) -> Any:
        if isinstance(state, torch.Tensor):
            tensor = whole_tensor(state)  # in every process, but only the main one keeps it
            return tensor.cpu() if self._world.is_main_process else None
        if isinstance(state, dict):
            gathered = copy.copy(state)  # keeps the _metadata of a state dict
            gathered.update((name, self.gather(value)) for name, value in state.items())
            return gathered
        return [self.gather(value) for value in state] if isinstance(state, list) else state

    def load_model(self, model: nn.Module, state: Mapping[str, Any]) -> None:
        loaded: Any = copy.copy(state)  # with its _metadata
        for name, current in model.state_dict().items():  # in the same order in all processes
            if name in loaded:
                loaded[name] = _shard_like(loaded[name], current)
        model.load_state_dict(loaded)

    def load_optimizer(self, optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        loaded = {
            index: {name: _shard_like(value, parameters[index]) for name, value in values.items()}
            for index, values in state["state"].items()
        }
        optimizer.load_state_dict({**state, "state": loaded})


def parallelize(
    model: nn.Module, ema: AveragedModel | None, options: Dist, amp: Amp, device: torch.device, world: World
) -> SingleProcess:
    """Return the strategy ``dist.strategy`` of a model. Its optimizer must be built afterwards."""
    if world.is_single_process:
        return SingleProcess(model)
    if options.strategy == "fsdp":
        return Fsdp(model, ema, amp, device, world)
    return Ddp(model, options, device)


def _shard(model: nn.Module, mesh: Any, amp: Amp) -> None:
    """Shard the blocks of a model, then its other parameters, in place."""
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    # Autocast chooses the precision of every operation, so activations are not cast at the borders of blocks.
    policy = MixedPrecisionPolicy()
    if amp.torch_dtype is not None:
        policy = MixedPrecisionPolicy(amp.torch_dtype, reduce_dtype=torch.float32, cast_forward_inputs=False)
    for path in repeated_blocks(model):
        block = model.get_submodule(path)
        block.register_forward_hook(lambda module, inputs, output: _copy_views(output))
        fully_shard(block, mesh=mesh, mp_policy=policy)
    fully_shard(model, mesh=mesh, mp_policy=policy)


def _copy_views(output: Any) -> Any:
    """Copy outputs that are views of another tensor, on which FSDP2 loses its hook if they are changed in place."""
    if isinstance(output, torch.Tensor):
        return output if output._base is None else output.clone()
    return tuple(map(_copy_views, output)) if type(output) is tuple else output


def _check_shardable(model: nn.Module) -> None:
    scalars = [name for name, parameter in model.named_parameters() if parameter.ndim == 0]
    names: dict[int, str] = {}
    shared = [
        f"{names[id(parameter)]} = {name}"
        for name, parameter in model.named_parameters(remove_duplicate=False)
        if names.setdefault(id(parameter), name) != name
    ]
    for kind, found in (("scalar", scalars), ("shared", shared)):
        if found:
            rule = f"{type(model).__name__} has {kind} parameters, which cannot be sharded: {', '.join(found[:3])}; "
            raise ConfigError(f"{rule}use ddp", key="dist.strategy", value="fsdp")


def _tensors(model: nn.Module) -> Iterator[torch.Tensor]:
    yield from model.parameters()
    yield from model.buffers()


def _shard_like(value: Any, current: torch.Tensor) -> Any:
    """Return the shards of a whole tensor that belongs to the parameter ``current``; any other value as it is."""
    if not (is_sharded(current) and isinstance(value, torch.Tensor) and value.shape == current.shape):
        return value
    from torch.distributed.tensor import distribute_tensor

    sharded: Any = current
    return distribute_tensor(value.to(sharded.device), sharded.device_mesh, sharded.placements)
