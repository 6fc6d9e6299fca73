"""``model.weights``: what a net starts from."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vexp.core.fields import ValidatedConfig, option

if TYPE_CHECKING:
    from torch import nn

    from vexp.model.weights.report import LoadReport

_ARROW = re.compile(r"\s*->\s*")


def _rule(rules: list[str]) -> str | None:
    for rule in rules:
        if len(_ARROW.split(rule)) != 2:
            return f"{rule!r} must be 'PATTERN -> REPLACEMENT', as in '^backbone\\. -> '"
    return None


@dataclass(kw_only=True, slots=True)
class Weights(ValidatedConfig):
    """Weights that a run starts from (``vexp.model.weights.load.load_checkpoint``); resuming does not read them again."""

    path: str | None = option(
        None, "what to load: a file, a run folder, https://...#sha256=..., torchvision://NAME[:WEIGHTS]; null: none"
    )
    prefix: str | None = option(
        None, "load only the tensors whose names begin with it, under what is left of their names"
    )
    rename: list[str] = option(
        [], "rules 'PATTERN -> REPLACEMENT', regular expressions for keys, in order", check=_rule
    )
    min_match: float = option(0.5, "least share of the net's tensors that must fit, or the run is refused", ge=0, le=1)
    strict: bool = option(False, "refuse unless every key and shape of both sides matches")

    def load(self, net: nn.Module, path: str, tell: Callable[[LoadReport], Any]) -> None:
        """Load ``path`` into ``net`` in the way that the other options say.

        Raises:
            UserError: see ``vexp.model.weights.load.load_checkpoint``.
        """
        from vexp.model.weights.load import load_checkpoint

        load_checkpoint(
            net, path, prefix=self.prefix, rename=self.rules(), min_match=self.min_match, strict=self.strict, tell=tell
        )

    def rules(self) -> list[tuple[str, str]]:
        """``rename`` as pairs."""
        return [(pattern, replacement) for pattern, replacement in map(_ARROW.split, self.rename)]
