"""List the models that ``model=NAME`` accepts, with their size, paper and published numbers.

GFLOPs are multiply-accumulates of one clip in 10^9, as in papers: of convolutions, linear layers and attention; norms,
activations and poolings are not counted. No model is run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache

from rich.console import Console
from rich.table import Table

from vexp.cli.arguments import CommandLine, NoOptions
from vexp.config.errors import near
from vexp.core.errors import ConfigError
from vexp.model.flops import measure
from vexp.model.registry import REGISTRY, Clip, ModelSize

WIDTH = 132  # characters; on a narrower terminal lines wrap, and none is cut
Measure = Callable[[str, Clip], ModelSize]

COMMAND = CommandLine(
    usage=["models [NAME ...]"],
    options=NoOptions,
    examples=["models", "models x3d_s tsm_r50", "models slowfast_r50"],
    composes=False,
)


def main(argv: Sequence[str]) -> int:
    names = COMMAND.parse(argv).rest or list(REGISTRY)
    for name in names:
        if name not in REGISTRY:
            raise ConfigError("no such model", key=name, origin="command line", hint=near(name, list(REGISTRY)))
    size = cache(measured)  # most published numbers are those of the clip that the model is trained on
    console = Console(width=WIDTH, highlight=False, markup=False, emoji=False)
    console.print(sizes(names, size))
    console.print(comparison(names, size))
    return 0


def measured(name: str, clip: Clip) -> ModelSize:
    """Return the size of a model on a clip, with the number of classes of its published numbers."""
    model = REGISTRY[name]
    return measure(model.option(), clip, model.published.classes if model.published else 400)


def sizes(names: Iterable[str], size: Measure) -> Table:
    """A table with the training clip (frames x height x width), size, paper and sources of weights of every model."""
    table = Table("model", "clip", "M parameters", "GFLOPs", "paper", "weights from", box=None)
    for name in names:
        model = REGISTRY[name]
        result = size(name, model.clip)
        numbers = (f"{result.parameters / 1e6:.2f}", f"{result.macs / 1e9:.2f}")
        table.add_row(name, _text(model.clip), *numbers, model.paper, model.weights)
    return table


def comparison(names: Iterable[str], size: Measure) -> Table:
    """A table of published numbers and the relative difference of vexp's on the same clip."""
    table = Table(
        "\nmodel", "\nclip", "published\nM parameters", "\nours", "published\nGFLOPs", "\nours", "\nby", box=None
    )
    for name in names:
        model = REGISTRY[name]
        if model.published is None:
            continue
        parameters, macs = model.published.differences(size(name, model.published_clip))
        clip = _text(model.published_clip)
        published = model.published
        table.add_row(
            *(name, clip, f"{published.parameters:g}", f"{parameters:+.1%}", f"{published.gmacs:g}", f"{macs:+.1%}"),
            published.source,
        )
    return table


def _text(clip: Clip) -> str:
    return "x".join(map(str, clip[1:]))
