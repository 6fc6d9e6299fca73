"""What a tired person types, and what comes back: key, value, rule, origin, remedy, in one or two lines, status 2."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vexp import train

FILES = {
    "experiment/typo_key.yaml": "# @package _global_\noptimizer: {lrr: 0.1}\n",
    "experiment/bad_yaml.yaml": "# @package _global_\nepochs: 3\n  seed: 2\n",
    "experiment/bad_value.yaml": "# @package _global_\nepochs: 3\noptimizer:\n  lr: -1\n",
    "experiment/bad_option.yaml": "# @package _global_\ndefaults:\n  - override /optimizer: sdg\n",
    "model/not_allowed.yaml": "_target_: somewhere.Net\n",
    "model/no_class.yaml": "width: 3\n",
}
MINE = ["--config-dir", "my_conf"]

#: (what was typed, the first line, what the second line holds)
TABLE = [
    # a wrong option
    (["optimizer=sdg"], "no option 'sdg' in group optimizer (command line: optimizer=sdg); did you mean sgd?", "adamw"),
    ([*MINE, "experiment=nope"], "no option 'nope' in group experiment (command line: experiment=nope)", "bad_yaml"),
    ([*MINE, "experiment=bad_option"], "no option 'sdg' in group optimizer (my_conf/experiment/bad_option.yaml:3); did you mean sgd?", "adamw"),
    (["optimizer=null"], "optimizer=null: optimizer takes the name of an option (command line)", "adamw"),
    (["eval=3"], "eval=3: eval takes the name of an option (command line)", "every_epoch"),
    (["lr=0.01"], "lr=0.01: lr chooses the learning-rate policy (command line); the rate itself is optimizer.lr=0.01", "cosine_restart"),
    (["lr=step", "lr_policy=cosine"], "lr=step and lr_policy=cosine: both choose lr_policy (command line), give one", None),
    # a wrong key
    (["optimizer.lrr=0.1"], "optimizer.lrr: AdamW has no 'lrr' (command line); did you mean optimizer.lr?", "betas"),
    (["momentum=0.5"], "momentum: Config has no 'momentum' (command line); did you mean optimizer.momentum?", "seed"),
    (["+optimizer.lrr=0.1"], "optimizer.lrr: AdamW has no 'lrr' (command line); did you mean optimizer.lr?", "betas"),
    (["pipeline.train.crop.aera_range=[0.2,1]"], "pipeline.train.crop.aera_range: RandomResizedCrop has no 'aera_range' (command line); did you mean pipeline.train.crop.area_range?", "area_range"),
    ([*MINE, "experiment=typo_key"], "optimizer.lrr: AdamW has no 'lrr' (my_conf/experiment/typo_key.yaml:2); did you mean optimizer.lr?", "betas"),
    # a wrong type
    (["optimizer.lr=fast"], "optimizer.lr=fast: must be a number (command line)", None),
    (["epochs=1.5"], "epochs=1.5: must be a whole number (command line)", None),
    (["deterministic=maybe"], "deterministic=maybe: must be true or false (command line)", None),
    (["seed=null"], "seed=null: null is not allowed here (command line)", None),
    # a wrong value
    (["optimizer.lr=-1"], "optimizer.lr=-1.0: must be >= 0 (command line)", None),
    (["eval.rule=smaller"], "eval.rule=smaller: must be one of greater, less (command line)", None),
    (["pipeline.train.crop.area_range=[0.2]"], "pipeline.train.crop.area_range=[0.2]: needs exactly 2 values, got 1 (command line)", None),
    (["device=gpu"], "device=gpu: must be auto, cpu, cuda or cuda:N (command line)", None),
    (["eval.save_best=mAP@0.5IOU"], "eval.save_best=mAP@0.5IOU: mAP@0.5IOU is not built yet; metrics: top_k_accuracy, mean_class_accuracy", None),
    (["epochs=3", "max_steps=4"], "epochs=3 and max_steps=4: only one can be the length of training; set the other to null (command line)", None),
    ([*MINE, "experiment=bad_value"], "optimizer.lr=-1.0: must be >= 0 (my_conf/experiment/bad_value.yaml:4)", None),
    (["data.directional=true"], "data.directional=true: pipeline.train.flip mirrors clips; leave it out with ~pipeline.train.flip (command line)", None),
    # a missing value
    (["~optimizer"], "optimizer: an option must be chosen, optimizer=... (command line)", "adamw"),
    (["data=video_list"], "data.train.ann_file=null: name the list file of the train split", None),
    (["data=video_list", "data.train.ann_file=a.txt"], "data.val.ann_file=null: name the list file of the val split; or train without validation: eval=never", None),
    (["data=folder", "data.train.data_prefix=a"], "data.val.data_prefix=null: name the folder of the val split, or root for both; or train without validation: eval=never", None),
    (["data=video_list", "data.train.ann_file=no.txt", "eval=never"], "data.train.ann_file=no.txt: no such file (command line)", None),
    (["data=folder"], "data.root=null: name the folder that holds train/ and val/", None),
    (["data=folder", "data.root=nowhere"], "data.train: no folder", "data.val: no folder"),
    (["data=video_list", "data.train.ann_file=no.txt", "data.val.ann_file=no.txt"], "data.train.ann_file=no.txt: no such file (command line)", "data.val.ann_file=no.txt: no such file (command line)"),
    (["init_from=no.pth"], "init_from=no.pth: no such checkpoint or run folder (command line)", None),
    (["resume=no"], "resume=no: no such checkpoint or run folder (command line)", None),
    # what cannot be read
    ([*MINE, "experiment=bad_yaml"], "my_conf/experiment/bad_yaml.yaml:3:7: not valid YAML: mapping values are not allowed here", None),
    (["optimizer.lr=1=2"], "optimizer.lr=1=2: cannot be read as key=value at '=' (command line)", "quotes"),
    (["epochs=1,"], "epochs=1,: cannot be read as key=value at its end (command line)", "quotes"),
    (["run_name=it's"], "run_name=it's: cannot be read as key=value (command line)", "quotes"),
    (["optimizer.lr=1,2"], "optimizer.lr=1,2: is several values (command line)", "python -m vexp.train -m optimizer.lr=1,2; a list: 'optimizer.lr=[1,2]'"),
    (["epoch"], "epoch: not key=value (command line); did you mean epochs=...?", None),
    (["seed=${nope.x}"], "seed: ${nope.x} refers to a key that does not exist (command line)", None),
    # code of one's own
    ([*MINE, "model=not_allowed"], "model: _target_=somewhere.Net: a config may build from torch.optim, torchvision; to allow your own package say plugins=[somewhere] (command line)", None),
    ([*MINE, "model=not_allowed", "plugins=[somewhere]"], "model: _target_=somewhere.Net: there is no module somewhere", None),
    ([*MINE, "model=no_class"], "model: cannot be used as model, it names no class: add type: OPTION, or _target_: PACKAGE.CLASS (command line)", None),
    # runs
    (["--rerun", "nowhere"], "--rerun nowhere: is no run folder, it holds no config.yaml", None),
    (["--resume"], "--resume: name a run folder, --resume RUN", None),
    (["-m", "optimizer=sgd,sdg"], "no option 'sdg' in group optimizer (command line: optimizer=sgd,sdg); did you mean sgd?", "adamw"),
]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in FILES.items():
        path = tmp_path / "my_conf" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("words", "first", "second"), TABLE, ids=[" ".join(row[0]) for row in TABLE])
def test_message(
    words: list[str], first: str, second: str | None, folder: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(sys, "argv", ["vexp.train", *words])
    with pytest.raises(SystemExit) as left:
        train.main()
    lines = capsys.readouterr().err.splitlines()
    assert left.value.code == 2
    assert lines[0].startswith(f"vexp: error: {first}")
    assert len(lines) == (1 if second is None else 2)
    assert second is None or second in lines[1]
    assert not list(folder.glob("runs/*/*/config.yaml")), "a word that is refused makes no run folder"


def test_every_complaint_is_gathered(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["vexp.train", "optimizer.lr=-1", "eval.topk=[0]", "data.batch_size=0"])
    with pytest.raises(SystemExit):
        train.main()
    text = capsys.readouterr().err
    assert all(key in text for key in ("optimizer.lr=-1", "eval.topk=[0]", "data.batch_size=0"))


def test_a_wrong_word_is_refused_before_torch_is_imported(tmp_path: Path) -> None:
    code = "import sys; sys.argv = ['t', 'optimizer.lr=-1']\nimport vexp.train\ntry: vexp.train.main()\nexcept SystemExit: print('torch' in sys.modules)"
    before = os.times()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    after = os.times()
    assert done.stdout.strip() == "False"
    used = after.children_user + after.children_system - before.children_user - before.children_system
    assert used < 3.0  # about 0.8 s of CPU: what other programs do does not count
