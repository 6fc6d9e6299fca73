"""Weights by timm's names: ``timm://NAME[.TAG]``, with the published normalization of timm's own list of models."""

from __future__ import annotations

from typing import Any

from vexp.core.errors import UserError
from vexp.model.image_models import name_problem
from vexp.model.weights.metadata import Metadata

SCHEME = "timm"


def problem(source: str) -> str | None:
    """Return why a name cannot be read here, without torch and network access; None if nothing is wrong with it."""
    return name_problem("timm", _name(source), f"{SCHEME}://")


def published(source: str) -> tuple[str, Metadata, str]:
    """Return where timm has published the weights of a name: an ``hf://`` name or a URL, their metadata, and a note.

    Without a tag, they are those that timm's ``pretrained=True`` stands for.

    Raises:
        UserError: If timm has published none of that name.
    """
    from timm.models import get_arch_pretrained_cfgs, get_pretrained_cfg, split_model_name_tag

    name = _name(source)
    architecture, tag = split_model_name_tag(name)
    configs = get_arch_pretrained_cfgs(architecture)
    config = configs.get(name) if tag else get_pretrained_cfg(architecture)
    if config is None or not (config.hf_hub_id or config.url):
        tags = [each.partition(".")[2] for each, one in configs.items() if one.hf_hub_id or one.url]
        raise UserError(f"{source}: the published weights of {architecture} are {', '.join(tags) or 'none'}")
    chosen = f"{architecture}.{config.tag}" if config.tag else architecture
    others = f" (of {len(configs)})" if len(configs) > 1 and not tag else ""
    file = f"/{config.hf_hub_filename}" if config.hf_hub_filename else ""
    url = config.url if isinstance(config.url, str) else next(iter(config.url or ()), "")
    address = f"hf://{config.hf_hub_id}{file}" if config.hf_hub_id else url
    return address, _metadata(config), f"timm's {chosen}{others}"


def _name(source: str) -> str:
    return source.partition("://")[2]


def _metadata(config: Any) -> Metadata:
    """Read the metadata of a ``PretrainedCfg``, whose mean and std are in 0..1."""
    mean, std = ([round(255 * value, 3) for value in values] for values in (config.mean, config.std))
    return Metadata(mean, std, to_bgr=False, input_size=list(config.input_size[1:]))
