"""Errors of invalid command lines: their fields, and that a run is refused before torch is imported."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from omegaconf.errors import OmegaConfBaseException
from support.messages import check_golden
from support.tables import default_lane_has

from vexp import compose, train
from vexp.config.command import run_command
from vexp.config.errors import to_config_error
from vexp.config.preflight import check_inputs
from vexp.config.provenance import Provenance
from vexp.core.errors import UNSET, ConfigError, MissingInputError, UserError

FILES = {
    "experiment/typo_key.yaml": "# @package _global_\noptimizer: {lrr: 0.1}\n",
    "experiment/bad_yaml.yaml": "# @package _global_\nepochs: 3\n  seed: 2\n",
    "experiment/bad_value.yaml": "# @package _global_\nepochs: 3\noptimizer:\n  lr: -1\n",
    "experiment/bad_option.yaml": "# @package _global_\ndefaults:\n  - override /optimizer: sdg\n",
    "model/not_allowed.yaml": "_target_: somewhere.Net\n",
    "model/no_class.yaml": "width: 3\n",
}
CLI = "command line"

#: (overrides, key, value, fragment of the rule or hint, origin)
INVALID: list[tuple[list[str], str, Any, str, str]] = [
    # a wrong option
    (["optimizer=sdg"], "optimizer", "sdg", "did you mean sgd?", CLI),
    (["experiment=nope"], "experiment", "nope", "bad_yaml", CLI),
    (["experiment=bad_option"], "optimizer", "sdg", "adamw", "my_conf/experiment/bad_option.yaml:3"),
    (["optimizer=null"], "optimizer", "null", "adamw", CLI),
    (["eval=3"], "eval", "3", "every_epoch", CLI),
    (["lr=0.01"], "lr", "0.01", "optimizer.lr=0.01", CLI),
    (["lr=step", "lr_policy=cosine"], "lr_policy", UNSET, "lr=step", CLI),
    # a wrong key
    (["optimizer.lrr=0.1"], "optimizer.lrr", UNSET, "did you mean optimizer.lr?", CLI),
    (["momentum=0.5"], "momentum", UNSET, "did you mean optimizer.momentum?", CLI),
    (["+optimizer.lrr=0.1"], "optimizer.lrr", UNSET, "did you mean optimizer.lr?", CLI),
    (["pipeline.train.crop.aera_range=[0.2,1]"], "pipeline.train.crop.aera_range", UNSET, "crop.area_range?", CLI),
    (["experiment=typo_key"], "optimizer.lrr", UNSET, "optimizer.lr?", "my_conf/experiment/typo_key.yaml:2"),
    # a wrong type
    (["optimizer.lr=fast"], "optimizer.lr", "fast", "a number", CLI),
    (["epochs=1.5"], "epochs", "1.5", "whole number", CLI),
    (["deterministic=maybe"], "deterministic", "maybe", "true or false", CLI),
    (["seed=null"], "seed", None, "null", CLI),
    # a wrong value
    (["optimizer.lr=-1"], "optimizer.lr", -1.0, ">= 0", CLI),
    (["eval.rule=smaller"], "eval.rule", "smaller", "greater, less", CLI),
    (["pipeline.train.crop.area_range=[0.2]"], "pipeline.train.crop.area_range", [0.2], "exactly 2", CLI),
    (["device=gpu"], "device", "gpu", "cuda:N", CLI),
    (["epochs=3", "max_steps=4"], "epochs", 3, "max_steps=4", CLI),
    (["deterministic=true", "cudnn_benchmark=true"], "deterministic", True, "cudnn_benchmark", CLI),
    (["resume=a", "init_from=b"], "resume", "a", "init_from", CLI),
    (["init_from=a", "model.weights.path=b"], "init_from", "a", "model.weights.path", CLI),
    (["dist.nproc=2", "device=cuda:1"], "device", "cuda:1", "dist.nproc=2", CLI),
    (["dist.nproc=2", "device=mps"], "device", "mps", "nproc=1", CLI),
    (["data=motion_segments", "device=mps"], "device", "mps", "float64", CLI),
    (["dist.nproc=2", "backend=fast", "backend.compile_mode=max-autotune"],
     "backend.compile_mode", "max-autotune", "CUDA graphs", CLI),
    (["sweep.objective=val/top7_acc"], "sweep.objective", "val/top7_acc", "val/top1_acc", CLI),
    (["experiment=bad_value"], "optimizer.lr", -1.0, ">= 0", "my_conf/experiment/bad_value.yaml:4"),
    (["data.directional=true"], "data.directional", True, "~pipeline.train.flip", CLI),
    (["+transform@pipeline.val.ten=ten_crop", "pipeline.val.ten.crop_size=64"],
     "pipeline.val.ten", UNSET, "flip_label_map", ""),
    # a missing value
    (["~optimizer"], "optimizer", UNSET, "adamw", CLI),
    (["data=video_list"], "data.train.ann_file", None, "train split", f"{CLI}: data=video_list"),
    (["data=video_list", "data.train.ann_file=a.txt"],
     "data.val.ann_file", None, "eval=never", f"{CLI}: data=video_list"),
    (["data=folder", "data.train.data_prefix=a"], "data.val.data_prefix", None, "eval=never", f"{CLI}: data=folder"),
    (["data=video_list", "data.train.ann_file=no.txt", "eval=never"],
     "data.train.ann_file", "no.txt", "no such file", CLI),
    (["data=folder", "data.root=nowhere"], "data.train", UNSET, "nowhere", f"{CLI}: data=folder"),
    (["data=folder", "data.root=clips.zip"], "data.root", "clips.zip", "no such archive", CLI),
    (["init_from=no.pth"], "init_from", "no.pth", "no such checkpoint", CLI),
    (["resume=no"], "resume", "no", "no such checkpoint", CLI),
    # an override or a file that cannot be read
    (["experiment=bad_yaml"], "my_conf/experiment/bad_yaml.yaml:3:7", UNSET, "not valid YAML", ""),
    (["optimizer.lr=1=2"], "optimizer.lr", "1=2", "quotes", CLI),
    (["epochs=1,"], "epochs", "1,", "its end", CLI),
    (["run_name=it's"], "run_name", "it's", "quotes", CLI),
    (["epoch"], "epoch", UNSET, "did you mean epochs=...?", CLI),
    (["seed=${nope.x}"], "seed", UNSET, "${nope.x}", CLI),
    # a custom class
    (["model=not_allowed"], "model._target_", "somewhere.Net", "plugins=[somewhere]", f"{CLI}: model=not_allowed"),
    (["model=not_allowed", "plugins=[somewhere]"],
     "model._target_", "somewhere.Net", "no module somewhere", f"{CLI}: model=not_allowed"),
    (["model=no_class"], "model", UNSET, "_target_", CLI),
]  # fmt: skip

#: Command lines that only ``vexp train`` refuses, or that give several errors.
COMMANDS = [
    ["data=folder"],
    ["eval.save_best=mAP@0.5IOU"],
    ["data=video_list", "data.train.ann_file=no.txt", "data.val.ann_file=no.txt"],
    ["optimizer.lr=-1", "eval.topk=[0]", "data.batch_size=0"],
    ["optimizer.lr=1,2"],
    ["-m", "optimizer=sgd,sdg"],
    ["--rerun", "nowhere"],
    ["--resume"],
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("options")
    for name, text in FILES.items():
        path = folder / "my_conf" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


@pytest.fixture
def errors(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., ConfigError]:
    """The working folder has files of options; return the function that composes."""
    monkeypatch.chdir(folder)
    return error_of


@cache
def error_of(*overrides: str) -> ConfigError:
    """The error with which a run of these overrides is refused; each is composed once for all tests."""
    with pytest.raises(ConfigError) as caught:
        check_inputs(compose(overrides, config_dirs=["my_conf"]), Provenance(overrides=list(overrides)))
    return caught.value


@pytest.mark.parametrize(
    ("overrides", "key", "value", "fragment", "origin"),
    default_lane_has(12, INVALID),
    ids=[" ".join(row[0]) for row in INVALID],
)
def test_invalid_override_gives_error_with_fields(
    overrides: list[str], key: str, value: Any, fragment: str, origin: str, errors: Callable[..., ConfigError]
) -> None:
    error = errors(*overrides).errors[0]
    assert (error.key, error.value) == (key, value)
    assert fragment in error.rule + error.hint
    assert error.origin == origin


def test_several_invalid_overrides_give_all_errors(errors: Callable[..., ConfigError]) -> None:
    error = errors("optimizer.lr=-1", "data.batch_size=0", "device=gpu")
    assert {each.key for each in error.errors} == {"optimizer.lr", "data.batch_size"}  # device: a rule of the root
    assert str(error) == "\n".join(map(str, error.errors))


def test_missing_lists_give_all_errors(errors: Callable[..., ConfigError]) -> None:
    error = errors("data=video_list", "data.train.ann_file=no.txt", "data.val.ann_file=no.txt")
    assert [(type(each), each.key) for each in error.errors] == [
        (MissingInputError, "data.train.ann_file"), (MissingInputError, "data.val.ann_file"),
    ]  # fmt: skip


def check_messages(command: Callable[[Sequence[str]], int], folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All wording of errors is reviewed in tests/golden/messages.txt; other tests assert fields."""
    blocks = []
    for overrides in [*(row[0] for row in INVALID), *COMMANDS]:
        assert (train.main if overrides in COMMANDS else command)(["--config-dir", "my_conf", *overrides]) == 2
        blocks.append(f"$ vexp train {' '.join(overrides)}\n{capsys.readouterr().err}")
    assert not list(folder.glob("runs/*/*/config.yaml")), "a refused command makes no run folder"
    check_golden("messages.txt", "\n".join(blocks).replace(str(folder), "FOLDER"))


@pytest.mark.integration
def test_messages_are_those_of_the_golden_file(
    errors: Callable[..., ConfigError], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(argv: Sequence[str]) -> int:
        raise errors(*argv[2:])

    check_messages(lambda argv: run_command(refuse, argv), folder, capsys)


@pytest.mark.integration
@pytest.mark.usefixtures("errors")
def test_command_prints_the_messages_of_the_golden_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check_messages(train.main, folder, capsys)


def test_invalid_override_is_refused_before_torch_is_imported(tmp_path: Path) -> None:
    code = "import sys, vexp.train; vexp.train.main(['optimizer.lr=-1']); print('torch' in sys.modules)"
    before = os.times()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    after = os.times()
    assert done.stdout.strip() == "False"
    used = after.children_user + after.children_system - before.children_user - before.children_system
    assert used < 3.0  # about 0.8 s of CPU: what other programs do does not count


@pytest.mark.parametrize(
    ("override", "key", "fragment"),
    default_lane_has(
        2,
        [
            ("seed=" + "9" * 5000, "seed", "more than 4300 digits"),
            ("seed=" + "9" * 4000, "seed", "must be between"),
            ("epochs=" + "9" * 15, "epochs", "<= 1000000000"),
            ("grad.clip=" + "[" * 200 + "]" * 200, "grad.clip", "more than 40 nested"),
            ("loss=" + "x" * 5000, "loss", "takes the name of an option"),
            ("x" * 5000 + "=1", "x" * 5000, "longer than the name of any key"),
            ("x" * 5000, "x" * 5000, "longer than the name of any key"),
            ("optimizer=1_000", "optimizer", "takes the name of an option"),
            ("optimizer=true", "optimizer", "takes the name of an option"),
            ("+dist=1e3", "dist", "takes the name of an option"),
            ("++optimizer=inf", "optimizer", "takes the name of an option"),
            ("backend=[[1],[2]]", "backend", "takes the name of an option"),
            ("ema=[null]", "ema", "takes the name of an option"),
            ("init_from=", "init_from", "must not be empty"),
            ("resume=", "resume", "must not be empty"),
            ("dist.nproc=1000000", "dist.nproc", f"its {os.cpu_count()} CPU cores"),
            ("data.num_workers=100000", "data.num_workers", "must be <= 256"),
            ("img_norm.mean=[nan,0,0]", "img_norm.mean", "must be finite"),
            ("optimizer.weight_decay=inf", "optimizer.weight_decay", "must be finite"),
        ],
    ),
)
def test_absurd_override_raises_a_short_error_with_its_key(override: str, key: str, fragment: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_inputs(compose([override]), Provenance(overrides=[override]))
    error = caught.value
    assert error.key == key
    assert fragment in str(error)
    assert len(str(error)) < 500


def test_command_shortens_long_words_of_any_message(capsys: pytest.CaptureFixture[str]) -> None:
    def command(_: object) -> int:
        raise UserError(f"{'x' * 5000}: no such thing")

    assert run_command(command, []) == 2
    assert capsys.readouterr().err.endswith("xxx: (5001 characters) no such thing\n")


@pytest.mark.parametrize("name", ["x" * 5000, "loop"])
def test_command_names_a_path_that_no_file_can_have(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "loop").symlink_to("loop")
    assert run_command(lambda _: len((tmp_path / name).read_text()), []) == 2
    assert capsys.readouterr().err.startswith(f"vexp: error: {tmp_path}")


def test_ctrl_c_that_omegaconf_has_converted_is_no_error_of_the_config() -> None:
    error = OmegaConfBaseException("converted")
    error.__cause__ = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        to_config_error(error, Provenance())


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ImportError("libtorch_cpu.so: failed to map segment from shared object"), "out of memory (libtorch_cpu.so: "),
        (MemoryError(), "out of memory (MemoryError); "),
    ],
)
def test_command_without_memory_raises_no_traceback(
    error: Exception, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def command(argv: Sequence[str]) -> int:
        raise error

    assert run_command(command, []) == 2
    assert capsys.readouterr().err.startswith(f"vexp: error: {message}")


@pytest.mark.parametrize(
    ("flag", "fragment"),
    [("--optimzer=sgd", "an override has no dashes: optimzer=sgd"), ("--multirn", "did you mean --multirun?")],
)
def test_unknown_flag_of_train_is_refused_in_a_sentence(
    flag: str, fragment: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train.main([flag]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith(f"vexp: error: {flag}: no such option")
    assert fragment in printed
    assert printed.count("\n") == 1
