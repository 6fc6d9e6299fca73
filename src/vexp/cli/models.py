"""List the models that ``model=NAME`` accepts, with their size, paper and published numbers.

GFLOPs are multiply-accumulates of one clip in 10^9, as in papers: of convolutions, linear layers and attention; norms,
activations and poolings are not counted. No model is run.

Usage: vexp models [NAME ...]

Examples:
  vexp models
  vexp models x3d_s tsm_r50
  vexp models slowfast_r50
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache

from rich.console import Console
from rich.table import Table

from vexp.cli.arguments import ORIGIN, CommandLine
from vexp.config.errors import near
from vexp.core.errors import ConfigError
from vexp.core.fields import ValidatedConfig
from vexp.model.flops import measure
from vexp.model.registry import REGISTRY, Clip, ModelSize

WIDTH = 132  # characters; on a narrower terminal lines wrap, and none is cut

COMMAND = CommandLine(__doc__, ValidatedConfig, composes=False)


def main(argv: Sequence[str]) -> int:
    """Run the command; return its exit status."""
    names = COMMAND.parse(argv).rest or list(REGISTRY)
    for name in names:
        if name not in REGISTRY:
            raise ConfigError("no such model", key=name, origin=ORIGIN, hint=near(name, list(REGISTRY)))
    console = Console(width=WIDTH, highlight=False, markup=False, emoji=False)
    console.print(_sizes(names))
    console.print(_comparison(names))
    return 0


@cache  # most published numbers are those of the clip that the model is trained on
def _measured(name: str, clip: Clip) -> ModelSize:
    """Return the size of a model on a clip, with the number of classes of its published numbers."""
    model = REGISTRY[name]
    return measure(model.option(), clip, model.published.classes if model.published else 400)


def _sizes(names: Iterable[str]) -> Table:
    """A table with the training clip (frames x height x width), size, paper and sources of weights of every model."""
    table = Table("model", "clip", "M parameters", "GFLOPs", "paper", "weights from", box=None)
    for name in names:
        model = REGISTRY[name]
        result = _measured(name, model.clip)
        numbers = (f"{result.parameters / 1e6:.2f}", f"{result.macs / 1e9:.2f}")
        table.add_row(name, _text(model.clip), *numbers, model.paper, model.weights)
    return table


def _comparison(names: Iterable[str]) -> Table:
    """A table of published numbers and the relative difference of vexp's on the same clip."""
    numbers = ("published\nM parameters", "\nours", "published\nGFLOPs", "\nours")
    table = Table("\nmodel", "\nclip", *numbers, "\nby", box=None)
    for name in names:
        clip, published = REGISTRY[name].published_clip, REGISTRY[name].published
        if published is not None:
            parameters, macs = published.differences(_measured(name, clip))
            ours = (f"{published.parameters:g}", f"{parameters:+.1%}", f"{published.gmacs:g}", f"{macs:+.1%}")
            table.add_row(name, _text(clip), *ours, published.source)
    return table


def _text(clip: Clip) -> str:
    return "x".join(map(str, clip[1:]))
