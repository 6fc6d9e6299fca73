"""``vexp``: the overview, the help of every command, unknown commands, and what is imported when."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import vexp
from vexp import train
from vexp.__main__ import main
from vexp.cli.commands import ALIASES, COMMANDS

CLI = Path(vexp.__file__).parent / "cli"
WITH_CONFIG_DIR = ["plan", "explain", "show", "repro-check", "evaluate", "predict", "features", "export", "convert"]


def test_overview_lists_every_command_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if line.startswith("  ")] == list(COMMANDS)
    assert max(map(len, lines)) <= 100


def test_every_module_of_cli_is_a_command_or_shared() -> None:
    modules = {path.stem if path.is_file() else path.name for path in CLI.iterdir() if path.name[0] != "_"}
    commands = {module.rpartition(".")[2] for module in COMMANDS.values()}
    assert modules - commands == {"arguments", "commands", "complete_words", "predict_boxes", "trained_model"}


def help_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main([*arguments, "--help"]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_usage_then_examples_then_options(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = help_of(capsys, name)
    assert re.match(rf"Usage: vexp {name} \S.*\n(       vexp {name} \S.*\n)*\n[A-Z]", text)
    examples = re.findall(r"^Examples:\n((?:  .*\n)+)", text, re.MULTILINE)
    (examples,) = [block.splitlines() for block in examples]
    assert 1 <= len(examples) <= 3
    assert all(example.startswith(f"  vexp {name}") for example in examples)
    if "\nOptions:" in text:
        assert name == "models" or text.index("\nExamples:") < text.index("\nOptions:")
    else:
        assert name == "completion"
    assert "``" not in text


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in ("train", "dataset", "sbatch")])
def test_help_lists_every_option(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = importlib.import_module(COMMANDS[name]).COMMAND
    text = help_of(capsys, name)
    for option in command.options.__dataclass_fields__:
        assert f"  {option}=" in text or f"  --{option}" in text
    assert ("--config-dir" in text) == command.composes


@pytest.mark.parametrize("name", ["index", "check", "lists", "rescale", "frames", "flow"])
def test_dataset_help_has_the_form_of_every_command(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        importlib.import_module(COMMANDS["dataset"]).main([name, "--help"])
    text = capsys.readouterr().out
    assert text.startswith(f"Usage: vexp dataset {name} VIDEOS ")
    assert "  --list-format auto " in text
    assert max(map(len, text.splitlines())) <= 120


def test_train_help_lists_groups_and_every_flag_of_hydra(capsys: pytest.CaptureFixture[str]) -> None:
    from vexp.config.hydra_versions import argument_parser

    text = help_of(capsys, "train")
    assert "  optimizer=adadelta|" in text
    for action in argument_parser()._actions:
        assert not action.option_strings or any(flag in text for flag in action.option_strings), action
    assert train.main(["--help"]) == 0
    assert capsys.readouterr().out == text


@pytest.mark.parametrize(("name", "hint"), [("trian", "train"), ("repro_chek", "repro_check"), ("xyz", "")])
def test_unknown_command_is_refused(name: str, hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"vexp: error: {name}: no such command")
    assert (f"did you mean {hint}?" in error) == bool(hint)


@pytest.mark.parametrize("name", ALIASES)
def test_former_command_names_are_accepted(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    assert capsys.readouterr().out.startswith(f"Usage: vexp {ALIASES[name]} ")


@pytest.mark.parametrize("name", WITH_CONFIG_DIR)
def test_missing_config_dir_is_refused(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--config-dir", "/nowhere"]) == 2
    assert "--config-dir /nowhere: no such folder" in capsys.readouterr().err


@pytest.fixture
def own_optimizer(tmp_path: Path) -> Path:
    """A folder with an optimizer option of its own."""
    (tmp_path / "conf" / "optimizer").mkdir(parents=True)
    (tmp_path / "conf" / "optimizer" / "mine.yaml").write_text("defaults: [sgd]\nlr: 0.25\n")
    return tmp_path / "conf"


@pytest.mark.parametrize("way", ["flag", "flag with =", "environment", "both"])
def test_explain_finds_an_option_in_a_folder_once(
    way: str, own_optimizer: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    flag = {"flag": ["--config-dir", str(own_optimizer)], "flag with =": [f"--config-dir={own_optimizer}"]}
    if way in ("environment", "both"):
        monkeypatch.setenv("VEXP_CONFIG_PATH", str(own_optimizer))
    arguments = flag.get(way, flag["flag"] if way == "both" else [])
    assert main(["explain", "optimizer.lr", "optimizer=mine", *arguments]) == 0
    output = capsys.readouterr().out
    assert "optimizer.lr = 0.25" in output
    assert output.count("mine.yaml") == 1


def test_train_and_compose_search_both_kinds_of_folders(
    own_optimizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "other" / "model").mkdir(parents=True)
    (tmp_path / "other" / "model" / "thin.yaml").write_text("defaults: [tiny3d]\nwidth: 16\n")
    monkeypatch.setenv("VEXP_CONFIG_PATH", str(tmp_path / "other"))
    config = vexp.compose(["optimizer=mine", "model=thin"], config_dirs=[own_optimizer])
    assert (config.optimizer.lr, config.model.width) == (0.25, 16)  # type: ignore[attr-defined]
    assert main(["train", "--config-dir", str(own_optimizer), "optimizer=mine", "model=thin", "--cfg", "job"]) == 0
    output = capsys.readouterr().out
    assert "lr: 0.25" in output
    assert "width: 16" in output


def test_schema_is_not_added_to_other_hydra_programs() -> None:
    import hydra
    from hydra.core.global_hydra import GlobalHydra

    from vexp.config.hydra_versions import version_base

    vexp.compose([])
    with hydra.initialize(config_path=None, **version_base()):
        loader = GlobalHydra.instance().config_loader()
        assert "vexp" not in [entry.provider for entry in loader.get_search_path().get_path()]


IMPORTED = """
import sys
from vexp.__main__ import main
status = main(sys.argv[1:])
print(status, *sorted({"torch", "cv2", "av", "matplotlib", "hydra"} & sys.modules.keys()))
"""


@pytest.mark.parametrize(
    ("arguments", "last_line"),
    [
        (["--help"], "0"),
        (["doctor", "--help"], "0"),
        (["train", "optimizer=sdg"], "2 hydra"),
        (["plan", "lr=1"], "2 hydra"),
    ],
)
def test_heavy_packages_are_not_imported(arguments: list[str], last_line: str) -> None:
    done = subprocess.run([sys.executable, "-c", IMPORTED, *arguments], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == last_line
