"""What differs between the versions of Hydra and Python that vexp supports: Hydra 1.3.8 and 1.4, Python up to 3.14."""

from __future__ import annotations

import argparse
import itertools
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from functools import partial
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, RangeSweep

from vexp.core.errors import UserError

MAX_VALUES = 100_000  # of a swept key


def version_base() -> dict[str, str]:
    """Return the argument ``version_base`` of Hydra's functions; Hydra 1.4 deprecates it."""
    return {} if _is_hydra_1_4() else {"version_base": "1.3"}


def store_config(name: str, node: Any) -> None:
    """Store a config of vexp with Hydra, in place of an earlier one of this name, which Hydra 1.4 has to be asked."""
    replace: dict[str, Any] = {"replace": True} if _is_hydra_1_4() else {}
    ConfigStore.instance().store(name=name, node=node, provider="vexp", **replace)


def _is_hydra_1_4() -> bool:
    major, minor = hydra.__version__.split(".")[:2]
    return (int(major), int(minor)) >= (1, 4)


@contextmanager
def lazy_argument_help() -> Iterator[None]:
    """Let Hydra 1.3.8 build its argument parser on Python 3.14.

    The help text of its ``--shell-completion`` is an object that is no string. Since Python 3.14 argparse formats each
    help text when an argument is added, and raises ``ValueError: badly formed help string`` (hydra issue 3121).
    """
    check = getattr(argparse.ArgumentParser, "_check_help", None)
    if check is None:  # before Python 3.14
        yield
        return

    def check_text(parser: argparse.ArgumentParser, action: argparse.Action) -> None:
        if isinstance(action.help, str):
            check(parser, action)

    argparse.ArgumentParser._check_help = check_text  # type: ignore[attr-defined]
    try:
        yield
    finally:
        argparse.ArgumentParser._check_help = check  # type: ignore[attr-defined]


def argument_parser() -> argparse.ArgumentParser:
    """Return Hydra's argument parser."""
    from hydra._internal.utils import get_args_parser

    with lazy_argument_help():
        return get_args_parser()


def overrides_parser(config_loader: Any = None) -> OverridesParser:
    """Return Hydra's parser of overrides, which writes a range out before it is sorted or cast.

    Hydra 1.3.8 computes new ends of the range instead: ``sort(range(0,5,2),reverse=true)`` is 3, 1, -1 (hydra issue
    3228), and ``int(range(0,2,0.5))`` has step 0.
    """
    parser = OverridesParser.create(config_loader=config_loader)
    functions = parser.functions.functions
    for name in ("sort", "int", "float"):
        functions[name] = partial(_apply_to_values, functions[name])
    return parser


def written_out(numbers: RangeSweep) -> ChoiceSweep:
    """Return the values of a range, at most ``MAX_VALUES`` + 1.

    They are computed in decimal. Hydra 1.3.8 adds binary fractions: its ``range(0.1,0.4,0.15)`` ends with 0.4.

    Raises:
        UserError: If the step is 0.
    """
    start, stop, step = (Decimal(str(number)) for number in (numbers.start, numbers.stop, numbers.step))
    if not step:
        raise UserError("the step of range(start,stop,step) must not be 0")
    numbered = (start + step * number for number in itertools.count())
    ends = itertools.takewhile(lambda value: value < stop if step > 0 else value > stop, numbered)
    is_whole = all(isinstance(number, int) for number in (numbers.start, numbers.stop, numbers.step))
    values: list[Any] = [int(value) if is_whole else float(value) for value in itertools.islice(ends, MAX_VALUES + 1)]
    if numbers.shuffle:
        random.shuffle(values)
    return ChoiceSweep(tags=numbers.tags, list=values)


def _apply_to_values(function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    def replaced(value: Any) -> Any:
        return written_out(value) if isinstance(value, RangeSweep) else value

    return function(*map(replaced, arguments), **{name: replaced(value) for name, value in named.items()})
