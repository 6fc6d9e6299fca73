"""List the models that ``model=NAME`` accepts, with their task, size, paper and published numbers.

GFLOPs are multiply-accumulates of one clip in 10^9, as in papers: of convolutions, linear layers and attention; norms,
activations and poolings are not counted. The input of localizers is features, channels x length. With ``--memory``, the
memory of training is listed instead: of weights, gradients and the state of AdamW, and of the activations of one clip.
No model is run.

Usage: vexp models [NAME ...] [--memory]

Examples:
  vexp models
  vexp models x3d_s tsm_r50 bmn
  vexp models videomae_b videomae_l --memory
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

from rich.console import Console
from rich.table import Table

from vexp.cli.arguments import ORIGIN, CommandLine
from vexp.core.errors import ConfigError, did_you_mean
from vexp.core.fields import ValidatedConfig, option
from vexp.model.flops import activation_bytes, measure
from vexp.model.registry import LOCALIZERS, REGISTRY, Clip, ModelSize

WIDTH = 144  # characters; on a narrower terminal lines wrap, and none is cut

_MODELS = REGISTRY | LOCALIZERS
_LIBRARY = "hf"  # any model of transformers, whose size is not known
_GPUS = (8, 16, 24, 80)  # GB
_RESERVED = 1.5  # GB of a GPU for torch, its kernels and what only exists during a pass
_STATE_BYTES = 16  # per parameter in float32: weight, gradient and two moments


@dataclass(kw_only=True, slots=True)
class _Options(ValidatedConfig):
    memory: bool = option(False, "List the memory of training, and the clips that fit into GPUs, in float32.")


COMMAND = CommandLine(__doc__, _Options, composes=False)


def main(argv: Sequence[str]) -> int:
    """Run the command; return its exit status."""
    arguments = COMMAND.parse(argv)
    known = [*_MODELS, _LIBRARY]
    names = arguments.rest or known
    for name in names:
        if name not in known:
            raise ConfigError("no such model", key=name, origin=ORIGIN, hint=did_you_mean(name, known))
    console = Console(width=WIDTH, highlight=False, markup=False, emoji=False)
    if arguments.options.memory:
        console.print(_memory(names))
        return 0
    console.print(_sizes(names))
    if (comparison := _comparison(names)).rows:
        console.print(comparison)
    return 0


@cache  # most published numbers are those of the clip that the model is trained on
def _measured(name: str, clip: Clip) -> ModelSize:
    """Return the size of a model on a clip, with the number of classes of its published numbers."""
    model = _MODELS[name]
    return measure(model.option(), clip, model.published.classes if model.published else 400)


def _sizes(names: Iterable[str]) -> Table:
    """A table with the training clip (frames x height x width), size, paper and sources of weights of every model."""
    table = Table("model", "task", "clip", "M parameters", "GFLOPs", "paper", "weights from", box=None)
    for name in names:
        if name == _LIBRARY:
            table.add_row(name, "recognition", "", "", "", "video classifiers of transformers", "model.name=ORG/NAME")
            continue
        model = _MODELS[name]
        result = _measured(name, model.clip)
        numbers = (f"{result.parameters / 1e6:.2f}", f"{result.macs / 1e9:.2f}")
        table.add_row(name, model.option().task, _text(model.clip), *numbers, model.paper, model.weights)
    return table


def _memory(names: Iterable[str]) -> Table:
    """A table of the memory of training in float32, and of the clips per batch that fit into GPUs."""
    table = Table(
        "\nmodel", "\nclip", "weights, gradients,\nAdamW (GB)", "activations of\na clip (GB)",
        *(f"clips in\n{size} GB" for size in _GPUS), box=None,
    )  # fmt: skip
    for name in names:
        if name == _LIBRARY:
            continue
        model = _MODELS[name]
        state = _measured(name, model.clip).parameters * _STATE_BYTES / 1e9
        clip = activation_bytes(model.option(), model.clip, 400) / 1e9
        fitting = (max(0, int((size - _RESERVED - state) / clip)) for size in _GPUS)
        table.add_row(name, _text(model.clip), f"{state:.2f}", f"{clip:.2f}", *map(str, fitting))
    return table


def _comparison(names: Iterable[str]) -> Table:
    """A table of published numbers and the relative difference of vexp's on the same clip."""
    numbers = ("published\nM parameters", "\nours", "published\nGFLOPs", "\nours")
    table = Table("\nmodel", "\nclip", *numbers, "\nby", box=None)
    for name in names:
        published = _MODELS[name].published if name in _MODELS else None
        if published is not None:
            clip = _MODELS[name].published_clip
            parameters, macs = published.differences(_measured(name, clip))
            ours = (f"{published.parameters:g}", f"{parameters:+.1%}", f"{published.gmacs:g}", f"{macs:+.1%}")
            table.add_row(name, _text(clip), *ours, published.source)
    return table


def _text(clip: Clip) -> str:
    return "x".join(map(str, clip if len(clip) == 2 else clip[1:]))
