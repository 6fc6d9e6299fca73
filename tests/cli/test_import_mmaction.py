"""``vexp import``: what a person types, and that the command it prints works."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from support.imported import SMALL_0
from support.paths import GOLDEN_DIR

from vexp import compose
from vexp.__main__ import main
from vexp.cli import plan

CONFIG = GOLDEN_DIR / "mmaction_configs" / "v0" / "tsm_r50_1x1x8_50e_sthv1_rgb.py"


def typed(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    assert main(["import", *arguments]) == 0


def refusal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["import", *arguments]) == 2
    return capsys.readouterr().err.strip()


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_import_writes_experiment_that_composes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The files are written, and the printed command composes."""
    typed(monkeypatch, str(CONFIG))
    said = capsys.readouterr().out
    command = said.strip().splitlines()[-1]
    assert command == f"vexp train --config-dir my_conf experiment={CONFIG.stem}"
    page = (tmp_path / "my_conf" / "experiment" / f"{CONFIG.stem}.md").read_text()
    assert command in page
    assert said.startswith(f"{CONFIG.name}: the same experiment\n\nWeights:\n")
    assert "\nPitfalls in the source:\n" in said
    assert "lists the outcome of all 108 values\n" in said
    assert "optimizer.lr=0.0075" not in said  # what needs no attention is in the .md file alone
    assert "| 56 | `optimizer.lr = 0.0075` | optimizer.lr=0.0075 |" in page
    assert "| `model.backbone.shift_div = 8` | model.shift_div=8 (default) |" in page
    rows = re.findall(r"^\| \d+ \| `.*$", page, re.MULTILINE)
    assert len(rows) == 108
    assert compose(shlex.split(command)[4:], config_dirs=["my_conf"]).epochs == 50


@pytest.mark.slow
def test_plan_shows_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed(monkeypatch, str(CONFIG))
    command = capsys.readouterr().out.strip().splitlines()[-1]
    for split in ("train", "val"):
        path = tmp_path / "data" / "sthv1" / f"sthv1_{split}_list_rawframes.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"video_{i} 40 {i % 3}\n" for i in range(12)))
    plan.main([*shlex.split(command)[2:], "data.batch_size=4"])
    planned = capsys.readouterr().out
    for line in (
        "length: 150 optimizer steps = 50 epochs of 3 steps",
        "  step 61 (epoch 21): drop x 0.1, lr 0.00075, 0.00375, 0.0075",  # TSM: 5 x for the classifier, 10 x its bias
        "evaluations: 25: after epochs 2, 4, 6, 8 ... 48, 50",
    ):
        assert line in planned


def test_import_prints_overrides_that_are_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed(monkeypatch, str(CONFIG.with_name("tsm_mobilenetv2_from_environment.py")), "out=conf", "name=mine")
    command = capsys.readouterr().out.strip().splitlines()[-1]
    assert command == "vexp train --config-dir conf experiment=mine model.weights.path=... data.train.ann_file=..."
    with pytest.raises(ValueError, match="ann_file=null: set it to the list file of the train split"):
        compose(["experiment=mine", "model.weights.path=null"], config_dirs=["conf"])
    with pytest.raises(ValueError, match=r"model\.weights\.path: .*FILL_IN"):
        compose(["experiment=mine", "data.train.ann_file=a.txt"], config_dirs=["conf"])
    filled = ["experiment=mine", "data.train.ann_file=a.txt", "model.weights.path=null"]
    assert compose(filled, config_dirs=["conf"]).data.train.ann_file == "a.txt"


def test_import_with_invalid_source_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.py").write_text("model = dict(\n")
    (tmp_path / "other.py").write_text("x = 1\n")
    for arguments, message in (
        ((), "vexp: error: name one config: vexp import CONFIG.py [out=FOLDER] [name=NAME]"),
        (("gone.py",), "vexp: error: gone.py: cannot be read: No such file or directory"),
        (("bad.py",), "vexp: error: bad.py:1: not Python: '(' was never closed"),
        (("other.py",), "vexp: error: other.py:1: not a config of mmaction2: model = dict(type=...) is missing"),
        (
            ("other.py", "model=tsm_r5"),
            "vexp: error: model=tsm_r5: no such model (command line); did you mean tsm_r50?",
        ),
    ):
        assert refusal(monkeypatch, capsys, *arguments) == message
    assert not (tmp_path / "my_conf").exists()  # nothing half written


def test_import_help_names_next_commands(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    typed(monkeypatch, "--help")
    assert "vexp plan --config-dir FOLDER experiment=NAME" in capsys.readouterr().out


def test_import_folder_converts_what_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = {
        "a/small.py": SMALL_0, "b/small.py": SMALL_0, "_base_/other.py": "x = (", "gone.py": "x = 1\n",
        "net.py": SMALL_0.replace("ResNet3dSlowOnly", "ResNetOfMine"),
    }  # fmt: skip
    for name, text in texts.items():
        path = tmp_path / "configs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    typed(monkeypatch, "configs", "out=conf")
    assert "4 configs: 2 the same, 2 refused" in capsys.readouterr().out
    rows = (tmp_path / "conf" / "imported.md").read_text().splitlines()[6:]
    assert rows[:2] == [
        "| a/small.py | the same experiment | `a_small` |", "| b/small.py | the same experiment | `b_small` |",
    ]  # fmt: skip
    assert [row.partition(": ")[0] for row in rows[2:]] == ["| gone.py | refused", "| net.py | refused"]
    written = sorted(path.name for path in (tmp_path / "conf" / "experiment").glob("*.yaml"))
    assert written == ["a_small.yaml", "b_small.yaml"]


def test_import_of_refused_model_names_the_nearest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = SMALL_0.replace("depth=50", "depth=50, conv1_kernel=(5, 7, 7)")
    (tmp_path / "net.py").write_text(text)
    said = refusal(monkeypatch, capsys, "net.py")
    assert said.splitlines()[0] == "vexp: error: net.py: refused: vexp cannot build the model as it is written here:"
    assert said.endswith("vexp import net.py model=slowonly_r50")
    assert not (tmp_path / "my_conf").exists()
    typed(monkeypatch, "net.py", "model=slowonly_r50")
    assert "net.py: the same but for 1 point\n\nWhat differs:\n  net.py:4: model.backbone.conv1_kernel" in (
        capsys.readouterr().out
    )


def test_import_keeps_experiments_that_exist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "net.py").write_text(SMALL_0)
    typed(monkeypatch, "net.py")
    written = tmp_path / "my_conf" / "experiment" / "net.yaml"
    written.write_text("# mine\n")
    assert "net.yaml: exists already; " in refusal(monkeypatch, capsys, "net.py")
    for overwrite in ("--overwrite", "overwrite=true"):
        assert written.read_text() == "# mine\n"
        typed(monkeypatch, "net.py", overwrite)
        assert written.read_text() != "# mine\n"
        written.write_text("# mine\n")


@pytest.mark.parametrize("stem", ["finetune", "true", "123"])
def test_import_of_config_with_a_taken_name_gets_another(
    stem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / f"{stem}.py").write_text(SMALL_0)
    typed(monkeypatch, f"{stem}.py", "out=my conf")
    command = capsys.readouterr().out.strip().splitlines()[-1]
    assert command == f"vexp train --config-dir 'my conf' experiment={stem}_imported"
    compose([f"experiment={stem}_imported"], config_dirs=["my conf"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("net.py", "name=finetune"), "name=finetune: is the name of an experiment of vexp"),
        (("net.py", "name=../../x"), "name=../../x: must consist of letters"),
        (("net.py", "outt=x"), "outt: no such option (command line); did you mean out?"),
        (("net.py", "overwite=true"), "overwite: no such option (command line); did you mean --overwrite?"),
        (("https://a.b/net.py",), "https://a.b/net.py: an address is not read"),
        (("",), "name one config"),
    ],
)
def test_import_refuses_arguments(
    arguments: tuple[str, ...], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refusal(monkeypatch, capsys, *arguments).startswith(f"vexp: error: {message}")


def test_interpolations_in_the_source_stay_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "net.py").write_text(SMALL_0 + "work_dir = './x/${oc.env:HOME}'\n")
    typed(monkeypatch, "net.py")
    assert compose(["experiment=net"], config_dirs=["my_conf"]).run_name == "${oc.env:HOME}"
