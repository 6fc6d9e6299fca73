"""``vexp models [NAME ...]``: the nets that ``model=NAME`` takes, how large they are, and who measured what.

GFLOPs are multiply-accumulates of one clip in 10^9, as papers count them: of convolutions, linear layers and
attention; norms, activations and poolings are free. Nothing is computed for them, so that the list takes seconds.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from functools import cache

from rich.console import Console
from rich.table import Table

from vexp.config.errors import near
from vexp.config.overrides import run_command
from vexp.core.errors import ConfigError
from vexp.model.flops import ModelSize, measure
from vexp.model.registry import REGISTRY, Clip

WIDTH = 132  # characters: on a narrower terminal lines wrap, but none is cut
Measure = Callable[[str, Clip], ModelSize]


def main() -> None:
    """The command line."""
    run_command(_main, __doc__)


def _main() -> None:
    words = sys.argv[1:]
    for word in words:
        if word not in REGISTRY:
            raise ConfigError(f"{word}: no such net (command line){near(word, list(REGISTRY))}")
    names = words or list(REGISTRY)
    size = cache(measured)  # most nets' published numbers are of the clip they are trained on
    console = Console(width=WIDTH, highlight=False, markup=False, emoji=False)
    console.print(sizes(names, size))
    console.print(comparison(names, size))


def measured(name: str, clip: Clip) -> ModelSize:
    """The size of a named net on a clip, with the classes that its published numbers are of."""
    net = REGISTRY[name]
    return measure(net.option(), clip, net.published.classes if net.published else 400)


def sizes(names: Iterable[str], size: Measure) -> Table:
    """What each net is: frames x height x width it is trained on, its size there, paper, sources of weights."""
    table = Table("model", "clip", "M parameters", "GFLOPs", "paper", "weights from", box=None)
    for name in names:
        net = REGISTRY[name]
        ours = size(name, net.clip)
        numbers = (f"{ours.parameters / 1e6:.2f}", f"{ours.macs / 1e9:.2f}")
        table.add_row(name, _text(net.clip), *numbers, net.paper, net.weights)
    return table


def comparison(names: Iterable[str], size: Measure) -> Table:
    """Published numbers, and by how much ours differ on the same clip."""
    table = Table(
        "\nmodel", "\nclip", "published\nM parameters", "\nours", "published\nGFLOPs", "\nours", "\nby", box=None
    )
    for name in names:
        net = REGISTRY[name]
        if net.published is None:
            continue
        parameters, macs = net.published.differences(size(name, net.published_clip))
        clip = _text(net.published_clip)
        published = net.published
        table.add_row(
            *(name, clip, f"{published.parameters:g}", f"{parameters:+.1%}", f"{published.gmacs:g}", f"{macs:+.1%}"),
            published.source,
        )
    return table


def _text(clip: Clip) -> str:
    return "x".join(map(str, clip[1:]))


if __name__ == "__main__":
    main()
