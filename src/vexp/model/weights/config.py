"""``model.weights``: the pretrained weights that a model starts from."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vexp.core.fields import ValidatedConfig, option

if TYPE_CHECKING:
    from torch import nn

    from vexp.model.weights.report import LoadReport

_ARROW = re.compile(r"\s*->\s*")


def _check_rename(rules: list[str]) -> str | None:
    invalid = next((rule for rule in rules if len(_ARROW.split(rule)) != 2), None)
    return None if invalid is None else f"{invalid!r} must be 'PATTERN -> REPLACEMENT', as in '^backbone\\. -> '"


@dataclass(kw_only=True, slots=True)
class Weights(ValidatedConfig):
    """Pretrained weights that a run starts from (``vexp.model.weights.load_checkpoint``); ignored when resuming."""

    path: str | None = option(
        None,
        "File, run folder, folder with model.safetensors, https://...#sha256=..., hf://ORG/NAME, timm://NAME or "
        "torchvision://NAME to load; null for none.",
    )
    key: str | None = option(
        None, "Entry of the file with the state dict, such as target_encoder; null: the only one, or the file itself."
    )
    prefix: str | None = option(
        None, "Prefix of the keys to load; it is removed and tensors with other keys are ignored."
    )
    rename: list[str] = option(
        [], "Rules 'PATTERN -> REPLACEMENT' with regular expressions, applied to the keys in order.",
        check=_check_rename,
    )  # fmt: skip
    class_map: str | None = option(
        None,
        "JSON file with a list: for each class of the model its class in the file, so that the classifier is loaded.",
        see=("data.classes",),
    )
    min_match: float = option(0.5, "Smallest fraction of the model's tensors that must match.", ge=0, le=1)
    strict: bool = option(False, "Require every key and shape of the file and of the model to match.")

    def load(self, model: nn.Module, path: str, *, copy: bool = True) -> LoadReport:
        """Load ``path`` into ``model`` with these options, as ``vexp.model.weights.load_checkpoint``."""
        from vexp.model.weights.load import load_checkpoint

        return load_checkpoint(
            model,
            path,
            key=self.key,
            prefix=self.prefix,
            rename=self.rename_pairs(),
            class_map=self.class_map,
            min_match=self.min_match,
            strict=self.strict,
            copy=copy,
        )

    def rename_pairs(self) -> list[tuple[str, str]]:
        """Return ``rename`` as (pattern, replacement) pairs."""
        return [(pattern, replacement) for pattern, replacement in map(_ARROW.split, self.rename)]
