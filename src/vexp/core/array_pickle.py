"""Read pickles of plain data and NumPy arrays: no class is looked up, and no code of a file is run.

A pickle names the functions that rebuild its arrays. The few that NumPy uses are replaced by those of this module, and
every other name is refused. ``vexp.model.weights.stand_ins`` uses the same replacements for ``.pth`` files.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vexp.core.documents import open_regular
from vexp.core.errors import UserError
from vexp.core.lazy import np

if TYPE_CHECKING:
    from numpy.typing import NDArray

NUMPY_CORES = ("numpy.core.multiarray", "numpy._core.multiarray")  # of NumPy 1 and 2
_PLAIN = (str, bytes, int, float, type(None))  # bool is an int


class PickledType:
    """Replaces ``numpy.dtype``: a type code and a byte order."""

    def __init__(self, code: str, *_: object) -> None:
        self.code = str(code)
        self.order = "<"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = str(state[1])

    @property
    def is_numeric(self) -> bool:
        """Whether the values are numbers: not objects, texts or dates."""
        return np.dtype(self.code).kind in "biuf"

    def numbers(self, data: bytes | bytearray | str) -> NDArray[Any]:
        """Return the numbers of ``data``, one-dimensional.

        Raises:
            ValueError: If they are no numbers.
        """
        if not self.is_numeric:
            raise ValueError(f"NumPy values of type {self.code}")
        raw, kind = data.encode("latin-1") if isinstance(data, str) else data, np.dtype(self.code)
        return np.frombuffer(raw, kind.newbyteorder(">" if self.order == ">" else "<")).astype(kind)


class PickledArray:
    """Replaces ``numpy.ndarray`` while a file is read; ``values`` is the array, None if it holds no numbers."""

    values: NDArray[Any] | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, is_fortran, data = state
        if isinstance(data, bytes | bytearray | str) and isinstance(kind, PickledType) and kind.is_numeric:
            values = kind.numbers(data).reshape(shape, order="F" if is_fortran else "C")
            self.values = np.ascontiguousarray(values).reshape(shape)


def pickled_scalar(kind: PickledType, data: bytes | str) -> Any:
    """Replaces NumPy's ``scalar``: returns a Python number."""
    return kind.numbers(data)[0].item()


def _from_buffer(data: bytes | bytearray, kind: PickledType, shape: tuple[int, ...], order: str) -> PickledArray:
    """Replaces NumPy's ``_frombuffer``, which pickle protocol 5 uses."""
    array = PickledArray()
    array.__setstate__((1, shape, kind, order == "F", data))
    return array


def _encoded(text: str, encoding: str) -> bytes:
    """Replaces ``_codecs.encode``, as which pickle protocol 2 stores bytes."""
    return text.encode(encoding if encoding in ("latin1", "latin-1") else "ascii")


_NAMES: dict[str, Callable[..., Any]] = {
    "numpy.dtype": PickledType,
    "numpy.ndarray": PickledArray,
    **{f"{core}._reconstruct": lambda *_: PickledArray() for core in NUMPY_CORES},
    **{f"{core}.scalar": pickled_scalar for core in NUMPY_CORES},
    **dict.fromkeys(("numpy.core.numeric._frombuffer", "numpy._core.numeric._frombuffer"), _from_buffer),
    "_codecs.encode": _encoded,
    **dict.fromkeys(("builtins.bytes", "__builtin__.bytes"), lambda *_: b""),  # empty ones
}


class _Function:
    """A function that a pickle may call but not change, as its opcode BUILD would."""

    __slots__ = ("_call",)
    _call: Callable[..., Any]

    def __init__(self, call: Callable[..., Any]) -> None:
        object.__setattr__(self, "_call", call)

    def __call__(self, *arguments: Any) -> Any:
        return self._call(*arguments)

    def __setattr__(self, name: str, value: object) -> None:
        raise UserError(f"changes the attribute {name} of a function")


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        full_name = f"{module}.{name}"
        if full_name not in _NAMES:
            raise UserError(f"contains {full_name}; only lists, dicts, texts, numbers and NumPy arrays are read")
        return _Function(_NAMES[full_name])


def read_pickle(path: object, content: bytes | None = None) -> Any:
    """Return the content of a pickle: lists, tuples, dicts, texts, bytes, numbers and numeric NumPy arrays.

    Args:
        path: The file.
        content: Its content, if it has been read; ``path`` is then for messages.

    Raises:
        FileNotFoundError: If there is no such file.
        UserError: If it cannot be read, is damaged, or contains anything else, which is named.
    """
    try:
        with open_regular(Path(str(path))) if content is None else BytesIO(content) as file:
            return _plain(_Unpickler(file).load(), set())
    except FileNotFoundError:
        raise
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    except Exception as error:  # a damaged pickle can raise anything
        reason = "is nested too deeply" if isinstance(error, RecursionError) else f"{type(error).__name__}: {error}"
        raise UserError(f"{path}: is no pickle, or damaged: {reason}") from None


def _plain(value: Any, outer: set[int]) -> Any:
    """Return ``value`` with its arrays; ``outer`` are the identities of the containers that it is in."""
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, PickledArray):
        if value.values is None:
            raise UserError("contains a NumPy array of objects, texts or dates; only numeric ones are read")
        return value.values
    if type(value) not in (list, tuple, dict) or id(value) in outer:
        raise UserError(f"contains a value of type {type(value).__name__}, or a list or dict within itself")
    outer.add(id(value))
    if isinstance(value, dict):
        result: Any = {_plain(key, outer): _plain(item, outer) for key, item in value.items()}
    else:
        result = type(value)(_plain(item, outer) for item in value)
    outer.discard(id(value))
    return result
