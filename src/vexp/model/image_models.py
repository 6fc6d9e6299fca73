"""Names of the image models of torchvision and timm (``model.backbone``), checked before torch is imported."""

from __future__ import annotations

import difflib
import importlib.util
import re
from functools import cache
from pathlib import Path

from vexp.core.errors import ConfigError, missing_package

#: Prefix of timm's names in ``model.backbone``: timm/convnext_tiny, timm/convnext_tiny.fb_in1k.
TIMM_PREFIX = "timm/"

_REGISTERED = re.compile(r"^@register_model\b.*?^def (\w+)\(", re.MULTILINE | re.DOTALL)


def check_image_model(name: str) -> None:
    """Check that torchvision, or timm for ``timm/NAME[.TAG]``, has an image model of this name.

    Raises:
        ConfigError: If it has not, with similar names, or if timm is not installed.
    """
    library = "timm" if name.startswith(TIMM_PREFIX) else "torchvision"
    prefix = TIMM_PREFIX if library == "timm" else ""
    if (problem := name_problem(library, name.removeprefix(TIMM_PREFIX), prefix)) is not None:
        raise ConfigError(problem, key="model.backbone", value=name)


def name_problem(library: str, name: str, prefix: str) -> str | None:
    """Return why ``name`` is no image model of timm or torchvision; None if it is one.

    A name of timm may end in the tag of its weights, which is not checked: ``convnext_tiny.fb_in1k``. Similar names are
    suggested with ``prefix``.
    """
    is_timm = library == "timm"
    if is_timm and importlib.util.find_spec("timm") is None:
        return missing_package("timm")
    architecture = name.partition(".")[0] if is_timm else name
    names = registered_names(library)
    if architecture in names:
        return None
    near = [prefix + each for each in difflib.get_close_matches(architecture, sorted(names), n=3)]
    if not near and not is_timm and importlib.util.find_spec("timm") and name in registered_names("timm"):
        near = [TIMM_PREFIX + name]
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    return f"is not an image model of {library}{hint}"


@cache
def registered_names(library: str) -> frozenset[str]:
    """Return the names of all image models of timm or torchvision, without importing it.

    The modules of both register a model with a decorator on the function of its name. A contract test compares the
    result with that of their ``list_models``.
    """
    spec = importlib.util.find_spec(library)
    folders = [] if spec is None else spec.submodule_search_locations or []
    files = [file for folder in folders for file in Path(folder, "models").glob("*.py")]
    return frozenset(name for file in files for name in _REGISTERED.findall(file.read_text(encoding="utf-8")))
