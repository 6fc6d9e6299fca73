"""Convert weights of other programs to a vexp checkpoint or to safetensors.

IN is a file of mmaction2, PySlowFast, torchvision or Lightning, a safetensors file, a folder or ``hf://ORG/NAME`` in
the layout of Hugging Face, ``https://...#sha256=...``, ``torchvision://NAME`` or a vexp run. Without ``model=`` the
file holds the tensors under their own names, for ``init_from``, and that of a run also its config. With ``model=`` the
weights are loaded into that model, with a report, and the file contains a config, so that vexp evaluate, predict,
features and export accept it like that of a run. Other overrides change the config (``pipeline=clip_16x4_112``). The
mean and std are those of the file, unless an override sets them. The suffix of OUT selects the format.

Usage: vexp convert IN OUT.pth|OUT.safetensors [key=ENTRY] [num_classes=N] [classes=FILE] [model=... and overrides]

Examples:
  vexp convert mmaction2.pth out.pth model=tsm_r50
  vexp convert torchvision://r3d_18 r3d_18.pth model=r3d_18
  vexp convert vjepa2.pt encoder.safetensors key=target_encoder
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vexp.cli.arguments import CommandLine
from vexp.config.compose import compose
from vexp.config.instantiate import to_dict
from vexp.core.errors import ConfigError
from vexp.core.fields import ValidatedConfig, option
from vexp.model.weights.config import Weights
from vexp.model.weights.safetensors_file import SUFFIX
from vexp.model.weights.source import check

if TYPE_CHECKING:
    from vexp.config.schema import Config
    from vexp.model.weights.file import WeightFile


@dataclass(kw_only=True, slots=True)
class _Options(ValidatedConfig):
    key: str | None = option(None, "Entry of the file with the state dict; null: the only one.")
    num_classes: int | None = option(None, "Number of classes; null: that of the file.", ge=1, le=1_000_000)
    classes: Path | None = option(None, "File with the class names; null: those of the file.")


COMMAND = CommandLine(__doc__, _Options)


def main(argv: Sequence[str]) -> int:
    """Run the command; return its exit status."""
    arguments = COMMAND.parse(argv)
    options = arguments.options
    if len(arguments.rest) < 2:
        raise ConfigError("name the weights and the file to write: vexp convert IN OUT [model=...]")
    source, out, *overrides = arguments.rest
    if not out.endswith((".pth", ".pt", SUFFIX)):
        raise ConfigError(f"{out}: the file to write must end in .pth or {SUFFIX} (vexp convert IN OUT)")
    if not source.strip():  # it would be the working folder
        raise ConfigError("must not be empty", key="IN", value=source)
    check("IN", source)
    has_model = any(override.startswith(("model=", "experiment=")) for override in overrides)
    if overrides and not has_model:
        raise ConfigError(f"{overrides[0]}: needs model=..., the model of the weights")
    config = compose(overrides, config_dirs=arguments.config_dirs) if has_model else None

    from vexp.data.annotations.class_names import read_classes
    from vexp.model.weights.load import open_weights, save_weights
    from vexp.model.weights.source import locate

    weights = getattr(config.model, "weights", None) if config is not None else None
    if options.key is not None and isinstance(weights, Weights):
        weights.key = options.key
    file = open_weights(locate(source), source, key=weights.key if isinstance(weights, Weights) else options.key)
    classes = file.metadata.classes if options.classes is None else read_classes(options.classes)
    if config is None:
        metadata = file.metadata
        norm = {"mean": metadata.mean, "std": metadata.std, "to_bgr": metadata.to_bgr}
        content: dict[str, Any] = {"model": file.tensors, "classes": classes or [], "img_norm": norm}
        content |= {} if file.config is None else {"config": file.config}
        print(f"{len(file.tensors)} tensors of {source} (a {file.kind} file) under their own names")
    else:
        own_norm = any(override.startswith("img_norm") for override in overrides)
        content = _load_into_model(config, source, file, classes, options.num_classes, own_norm)
    save_weights(Path(out).expanduser().absolute(), content)
    print(f"written: {out}")
    return 0


def _load_into_model(
    config: Config, source: str, file: WeightFile, classes: list[str] | None, num_classes: int | None, own_norm: bool
) -> dict[str, Any]:
    """Return the content of a checkpoint of ``config``'s model with the weights of the file."""
    from vexp.model import build_model
    from vexp.model.adapters.config import Lora, lora_of

    if lora_of(config.model) is not None:  # of a run; the adapters of the file are merged
        config.model.lora = Lora()  # type: ignore[attr-defined]
    count = num_classes or (len(classes) if classes else None) or _class_count(config, file)
    if classes is not None and len(classes) != count:
        raise ConfigError(f"num_classes={count}: there are {len(classes)} class names; give classes=FILE")
    model = build_model(config.model, count, pretrained=False)
    weights = getattr(config.model, "weights", None)
    (weights if isinstance(weights, Weights) else Weights()).load(model, source)
    metadata = file.metadata
    if not own_norm and metadata.mean is not None and metadata.std is not None:
        config.img_norm.mean, config.img_norm.std = metadata.mean, metadata.std
        config.img_norm.to_bgr = bool(metadata.to_bgr)
    if hasattr(config.model, "weights"):
        config.model.weights.path = None  # the checkpoint holds the weights
    names = classes or [str(index) for index in range(count)]
    config_dict = to_dict(config, types=True)
    return {"step": 0, "epoch": 0, "model": model.state_dict(), "classes": names, "config": config_dict}


def _class_count(config: Config, file: WeightFile) -> int:
    """Read the number of classes off the classifier: the tensor whose shape differs between 3 and 5 classes.

    Raises:
        ConfigError: If the file has no such tensor.
    """
    from vexp.model.meta import meta_model
    from vexp.model.weights.load import adapt

    three, five = (meta_model(config.model, count) for count in (3, 5))
    adapt(three, file)
    wider = five.state_dict()
    for key, tensor in three.state_dict().items():
        if tensor.shape != wider[key].shape and key in file.tensors:
            return int(file.tensors[key].shape[0])
    raise ConfigError("num_classes: the weights have no classifier to read it from; give num_classes=N")
