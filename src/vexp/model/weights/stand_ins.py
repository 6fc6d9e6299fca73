"""Reading other people's ``.pth`` files with ``weights_only=True``: replacements for the classes that they name.

Training scripts save their arguments, configuration, scores and random states beside the weights. A pickle names the
classes of such values, and torch refuses every class outside of its own list. While a file is read, each name of the
lists below stands for a class of this module, which is created in place of it: it takes any arguments and any state,
and does nothing with them. No class of another package is looked up, and no code of a file is executed. Other names
are refused.

Dict types become dicts, lists become lists, NumPy numbers become numbers of Python and numeric arrays become tensors.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from vexp.core.array_pickle import NUMPY_CORES, PickledArray, PickledType, pickled_scalar

#: Values that are ignored: module -> names, separated by spaces.
_IGNORED = {
    "argparse": "Namespace",
    "types": "SimpleNamespace",
    "typing": "Any Union Optional List Dict Tuple",
    "builtins": "object type int float bool str list dict tuple frozenset range slice",
    "pathlib": "Path PosixPath WindowsPath PurePath PurePosixPath PureWindowsPath",
    "pathlib._local": "Path PosixPath WindowsPath PurePath PurePosixPath PureWindowsPath",
    "datetime": "date datetime time timedelta timezone",
    "omegaconf.dictconfig": "DictConfig",
    "omegaconf.listconfig": "ListConfig",
    "omegaconf.base": "ContainerMetadata Metadata",
    "omegaconf.nodes": "AnyNode BooleanNode BytesNode EnumNode FloatNode IntegerNode PathNode StringNode UnionNode",
    "mmengine.logging.history_buffer": "HistoryBuffer",
    "numpy.random._pickle": "__randomstate_ctor __bit_generator_ctor __generator_ctor",
    "numpy.random._mt19937": "MT19937",
    "numpy.random._pcg64": "PCG64",
    "torch.torch_version": "TorchVersion",
    "torchvision.transforms.functional": "InterpolationMode",
    "deepspeed.runtime.fp16.loss_scaler": "LossScaler DynamicLossScaler",
    "deepspeed.runtime.zero.config": "ZeroStageEnum",
    "pytorch_lightning.callbacks.model_checkpoint": "ModelCheckpoint",
    "lightning.pytorch.callbacks.model_checkpoint": "ModelCheckpoint",
}
#: Dict types, whose items are kept.
_DICTS = {
    "collections": "defaultdict",
    "easydict": "EasyDict",
    "addict.addict": "Dict",
    "munch": "Munch DefaultMunch",
    "yacs.config": "CfgNode",
    "fvcore.common.config": "CfgNode",
    "mmcv.utils.config": "ConfigDict",
    "mmengine.config.config": "ConfigDict",
    "ml_collections.config_dict.config_dict": "ConfigDict",
    "pytorch_lightning.utilities.parsing": "AttributeDict",
    "lightning.pytorch.utilities.parsing": "AttributeDict",
    "lightning_fabric.utilities.data": "AttributeDict",
    "lightning.fabric.utilities.data": "AttributeDict",
}


class Ignored:
    """A value whose type is not read; the subclasses have the names of the types."""

    type_name = ""

    def __new__(cls, *_: object, **__: object) -> Ignored:
        return object.__new__(cls)

    def __init__(self, *_: object, **__: object) -> None: ...

    def __setstate__(self, state: object) -> None: ...

    def __repr__(self) -> str:
        return f"<ignored {self.type_name}>"


class _Dict:
    """Replaces dict types. The result is an ``OrderedDict``, the only mapping whose attributes torch's reader sets."""

    def __new__(cls, *arguments: object) -> OrderedDict[Any, Any]:  # type: ignore[misc]
        return OrderedDict(next((item for item in arguments if isinstance(item, dict)), {}))


class _List:
    """Replaces ``collections.deque``."""

    def __new__(cls, *arguments: object) -> list[Any]:  # type: ignore[misc]
        return list(next((item for item in arguments if isinstance(item, list)), []))


class _Bytes(Ignored):
    """Replaces ``bytes``: without arguments, as empty data is stored, the result is ``b""``; others are ignored."""

    type_name = "builtins.bytes"

    def __new__(cls, *arguments: object) -> Any:
        return super().__new__(cls) if arguments else b""


class _Array(PickledArray, Ignored):
    """Replaces ``numpy.ndarray``."""

    type_name = "numpy.ndarray"


def _new_array(*_: object) -> _Array:
    """Replaces NumPy's ``_reconstruct``, which creates an empty array; its state follows in the file."""
    return _Array()


def _new_object(kind: object, *_: object) -> Any:
    """Replaces ``copyreg._reconstructor``, which creates an object of a class without calling its constructor."""
    return kind() if isinstance(kind, type) and issubclass(kind, Ignored | _Dict) else Ignored()


def _named(names: Mapping[str, str], base: type) -> Iterator[tuple[type, str]]:
    for module, words in names.items():
        for word in words.split():
            name = f"{module}.{word}"
            yield type(word, (base,), {"type_name": name}), name


#: (replacement, full name), as ``torch.serialization.safe_globals`` takes them.
STAND_INS: list[Any] = [
    *_named(_IGNORED, Ignored),
    *_named(_DICTS, _Dict),
    (_List, "collections.deque"),
    (_Bytes, "builtins.bytes"),
    (PickledType, "numpy.dtype"),
    (_Array, "numpy.ndarray"),
    *((pickled_scalar, f"{core}.scalar") for core in NUMPY_CORES),
    *((_new_array, f"{core}._reconstruct") for core in NUMPY_CORES),
    (_new_object, "copyreg._reconstructor"),
]


def convert_arrays(content: Any) -> None:
    """Replace the numeric arrays in the dicts and lists of a file's content by tensors, in place."""
    for container, key, value in _items(content):
        if isinstance(value, _Array) and value.values is not None and not isinstance(container, tuple):
            container[key] = torch.from_numpy(value.values)


def ignored_types(value: Any) -> list[str]:
    """Return the names of the types of the ignored values in ``value``, each once."""
    found = [value, *(item for _, _, item in _items(value))]
    return list(dict.fromkeys(item.type_name for item in found if isinstance(item, Ignored) or _is_ignored_type(item)))


def _is_ignored_type(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, Ignored)


def _items(content: Any) -> Iterator[tuple[Any, Any, Any]]:
    """Yield (container, key, value) of all nested dicts, lists and tuples; a container in itself is visited once."""
    remaining, visited = [content], set()
    while remaining:
        container = remaining.pop()
        if id(container) in visited or not isinstance(container, dict | list | tuple):
            continue
        visited.add(id(container))
        pairs = list(container.items() if isinstance(container, dict) else enumerate(container))
        remaining += [value for _, value in reversed(pairs)]
        for key, value in pairs:
            yield container, key, value
