"""``vexp convert IN OUT [num_classes=N] [classes=FILE] [model=... and other words of vexp.train]``.

Makes a vexp checkpoint of weights from anywhere: a file of mmaction2, PySlowFast, torchvision or Lightning,
``https://...#sha256=...``, ``torchvision://NAME``, a vexp run. Without ``model=`` it holds the tensors under their own
names, for ``init_from``. With ``model=`` it is laid on that net, with a report, and the checkpoint carries a config:
vexp.cli.evaluate, predict, features and export take it as they take a run's. Other words are that config
(``pipeline=clip_16x4_112`` ...); mean and std are the weights' own where they say them and the words do not.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vexp.config.compose import compose
from vexp.config.instantiate import to_dict
from vexp.config.overrides import parse_command_options, run_command
from vexp.core.errors import ConfigError
from vexp.model.weights.source import check

if TYPE_CHECKING:
    from vexp.config.schema import Config
    from vexp.model.weights.file import WeightFile


def main() -> None:
    """The command line."""
    run_command(_main, __doc__)


def _main() -> None:
    argv = sys.argv[1:]
    if len(argv) < 2:
        raise ConfigError("name what to convert and the file to write: vexp convert IN OUT [model=...]")
    source, out, *rest = argv
    options, words = parse_command_options(rest, {"num_classes": None, "classes": None})
    given = options["num_classes"]
    if given is not None and (not given.isdecimal() or given == "0"):
        raise ConfigError(f"num_classes={given}: must be a number >= 1 (command line)")
    if not out.endswith((".pth", ".pt")):
        raise ConfigError(f"{out}: the file to write must end in .pth (vexp convert IN OUT)")
    check("IN", source)
    on_net = any(word.startswith(("model=", "experiment=")) for word in words)
    if words and not on_net:
        raise ConfigError(f"{words[0]}: goes with model=..., the net that the weights are for")
    config = compose(words) if on_net else None

    from vexp import checkpoint
    from vexp.model.weights.load import open_weights
    from vexp.model.weights.source import locate

    file = open_weights(locate(source), source)
    classes = _classes(options["classes"], file)
    if config is None:
        known = file.metadata
        norm = {"mean": known.mean, "std": known.std, "to_bgr": known.to_bgr}
        content: dict[str, Any] = {"model": file.tensors, "classes": classes or [], "img_norm": norm}
        print(f"{len(file.tensors)} tensors of {source} (a {file.kind} file) under their own names")
    else:
        content = _on_net(config, source, file, classes, int(given) if given else None, words)
    checkpoint.save(Path(out).expanduser().absolute(), content)
    print(f"written: {out}")


def _classes(named: str | None, file: WeightFile) -> list[str] | None:
    if named is None:
        return file.metadata.classes
    from vexp.data.annotations.class_names import read_classes

    return read_classes(Path(named).expanduser().absolute())


def _on_net(
    config: Config, source: str, file: WeightFile, classes: list[str] | None, given: int | None, words: Sequence[str]
) -> dict[str, Any]:
    """The content of a checkpoint of ``config``'s net with these weights in it."""
    from vexp.model import build_model
    from vexp.model.weights.config import Weights

    count = given or (len(classes) if classes else None) or _class_count(config, file)
    if classes is not None and len(classes) != count:
        raise ConfigError(f"num_classes={count}: but {len(classes)} class names are known; give classes=FILE")
    model = build_model(config.model, count, pretrained=False)
    weights = getattr(config.model, "weights", None)
    (weights if isinstance(weights, Weights) else Weights()).load(model, source)
    known = file.metadata
    if not any(word.startswith("img_norm") for word in words) and known.mean is not None and known.std is not None:
        config.img_norm.mean, config.img_norm.std = known.mean, known.std
        config.img_norm.to_bgr = bool(known.to_bgr)
    if hasattr(config.model, "weights"):
        config.model.weights.path = None  # they are in the file now
    names = classes or [str(number) for number in range(count)]
    return {
        "step": 0, "epoch": 0, "model": model.state_dict(), "classes": names,
        "config": to_dict(config, types=True),
    }  # fmt: skip


def _class_count(config: Config, file: WeightFile) -> int:
    """The number of classes that the file's classifier has: the shape of the tensor in which nets of 3 and of 5 classes
    differ.

    Raises:
        ConfigError: the file has no such tensor.
    """
    from vexp.model.meta import meta_model
    from vexp.model.weights.load import adapt

    three, five = (meta_model(config.model, count) for count in (3, 5))
    adapt(three, file)
    wider = five.state_dict()
    for key, tensor in three.state_dict().items():
        if tensor.shape != wider[key].shape and key in file.tensors:
            return int(file.tensors[key].shape[0])
    raise ConfigError("num_classes: the weights do not tell how many classes there are; give num_classes=N")


if __name__ == "__main__":
    main()
