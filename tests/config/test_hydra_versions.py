"""Hydra 1.3.8 and 1.4 on Python up to 3.14: the arguments of ``hydra.main``, its parser, ranges in overrides."""

from __future__ import annotations

import argparse
from typing import Any

import hydra
import pytest

from vexp import train
from vexp.config.hydra_versions import argument_parser, overrides_parser, version_base
from vexp.sweep.job_overrides import SweepOverrides


@pytest.fixture
def argparse_of_python_3_14(monkeypatch: pytest.MonkeyPatch) -> None:
    """Format the help of every argument that is added, as argparse does since Python 3.14."""
    if hasattr(argparse.ArgumentParser, "_check_help"):
        return
    add_argument = argparse.ArgumentParser.add_argument

    def check_help(parser: argparse.ArgumentParser, action: argparse.Action) -> None:
        if action.help:
            try:
                parser._get_formatter()._expand_help(action)
            except (ValueError, TypeError, KeyError) as error:
                raise ValueError("badly formed help string") from error

    def add_checked(parser: Any, *names: Any, **options: Any) -> argparse.Action:
        action = add_argument(parser, *names, **options)
        parser._check_help(action)
        return action

    monkeypatch.setattr(argparse.ArgumentParser, "_check_help", check_help, raising=False)
    monkeypatch.setattr(argparse.ArgumentParser, "add_argument", add_checked)


@pytest.mark.usefixtures("argparse_of_python_3_14")
def test_train_starts_with_argparse_of_python_3_14(capsys: pytest.CaptureFixture[str]) -> None:
    if version_base():  # Hydra 1.3.8: the premise of this test
        from hydra._internal.utils import get_args_parser

        with pytest.raises(ValueError, match="badly formed help string"):
            get_args_parser()
    assert "--multirun" in argument_parser()._option_string_actions
    assert train.main(["--cfg", "job", "optimizer=sgd"]) == 0
    assert "momentum: " in capsys.readouterr().out
    with pytest.raises(ValueError, match="badly formed"):  # other programs' arguments are checked as before
        argparse.ArgumentParser().add_argument("--own", help="%(nothing)s")


@pytest.mark.parametrize(("version", "base"), [("1.3.8", "1.3"), ("1.4.0rc3", None), ("1.4.2", None), ("1.10.0", None)])
def test_version_base_is_passed_to_hydra_before_1_4(
    version: str, base: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hydra, "__version__", version)
    assert version_base().get("version_base") == base


@pytest.mark.parametrize(
    ("typed", "values"),
    [
        ("sort(range(0,5,2),reverse=true)", "4 2 0"),  # Hydra 1.3.8: 3 1 -1
        ("sort(range(5,0,-2))", "1 3 5"),  # 2 4 6
        ("sort(range(0.1,0.5,0.15),reverse=true)", "0.4 0.25 0.1"),  # 0.35 0.2 0.05
        ("sort(tag(a,range(3)),reverse=true)", "2 1 0"),
        ("sort(3,1,2)", "1 2 3"),
        ("range(0.1,0.4,0.15)", "0.1 0.25"),  # 0.1 0.25 0.4
        ("range(1e-4,1e-3,3e-4)", "0.0001 0.0004 0.0007"),  # and 0.001
        ("range(0.6,0.9,0.1)", "0.6 0.7 0.8"),
        ("range(5,0,-2)", "5 3 1"),
        ("range(3)", "0 1 2"),
        ("float(range(3))", "0.0 1.0 2.0"),
        ("int(range(0,5,1.5))", "0 1 3 4"),  # 0 1 2 3 4
        ("int(range(0.5,2.5,0.5))", "0 1 2"),  # ValueError
    ],
)
def test_range_is_written_out_exactly(typed: str, values: str) -> None:
    jobs = SweepOverrides.parse([f"x={typed}"], loader=None).grid()
    assert jobs == [[f"x={value}"] for value in values.split()]


def test_shuffled_range_has_every_value_once() -> None:
    jobs = SweepOverrides.parse(["x=shuffle(range(50))"], loader=None).grid()
    assert sorted(jobs) == sorted([f"x={value}"] for value in range(50))


def test_parser_keeps_functions_of_hydra() -> None:
    parse = overrides_parser().parse_override
    assert parse("x=sort([3,1,2])").value() == [1, 2, 3]
    assert parse("x=int(1.5)").value() == 1
    assert parse("x=interval(0,1)").is_interval_sweep()
