"""``vexp show``: pictures of the run's own data, and what it refuses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vexp import compose
from vexp.cli import show
from vexp.core.errors import UserError
from vexp.data.loading.bad_samples import BadSamples
from vexp.data.loading.dataset import ClipDataset
from vexp.data.loading.outcomes import Failure
from vexp.model.meta import meta_model
from vexp.model.zoo import SlowFast
from vexp.tools.visualize.show import RunData, _first_batch
from vexp.training.batches import training_batches


def shown(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    show.main(arguments)


@pytest.mark.slow
@pytest.mark.parametrize("subject", ["pipeline", "sampling", "batch"])
def test_show_draws_built_in_data(
    subject: str, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    shown(monkeypatch, subject, *tiny, "blending=mixup_cutmix")
    path = tmp_path / f"show_{subject}.png"
    assert capsys.readouterr().out == f"drawn in {path}\n"
    assert [file.name for file in tmp_path.iterdir()] == [path.name]  # and no run folder
    with Image.open(path) as picture:
        assert picture.width == (1500 if subject == "batch" else 1400)
        assert picture.height > 800
        assert np.asarray(picture.convert("L")).std() > 20


def test_show_batch_is_first_batch_of_training(tiny: list[str]) -> None:
    showing = RunData(compose(tiny))
    train, val = showing.splits
    batch, keys = _first_batch(showing.exp, train)
    bad = BadSamples(train.dataset, split="train", max_fraction=0)
    first = next(training_batches(showing.exp, 0, bad))
    assert np.array_equal(batch.frames, first.frames)
    assert batch.ids.tolist() == [index for _, index in keys]
    assert _first_batch(showing.exp, val)[0].ids.tolist() == [0, 1, 2, 3]


def test_show_batch_rejects_split_without_readable_sample(tiny: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    showing = RunData(compose([*tiny, "data.on_error=skip"]))
    monkeypatch.setattr(ClipDataset, "_load", lambda _, key, rng: Failure(key[1], "damaged", key[0]))
    with pytest.raises(UserError, match=r"data.val: none of the first 4 samples can be read"):
        _first_batch(showing.exp, showing.split("val"))


def test_run_data_has_splits_of_training_and_evaluation(tiny: list[str]) -> None:
    """Without data of its own "test" takes the videos of "val", through steps of its own where there are some."""
    names = [(split.name, split.note) for split in RunData(compose([*tiny, "pipeline=clip_16x4_112"])).splits]
    assert names == [("train", ""), ("val", ""), ("test", "videos of val")]
    taken = RunData(compose([*tiny, "data.test.from_split=train"])).splits[-1]
    assert (taken.name, taken.note, len(taken.dataset)) == ("test", "steps of val", 16)


def test_run_data_warns_of_weights_with_other_img_norm(tiny: list[str], tmp_path: Path) -> None:
    import torch

    norm = "img_norm_cfg = dict(mean=[104, 117, 128], std=[58.395, 57.12, 57.375], to_bgr=True)"
    torch.save({"state_dict": {"head.weight": torch.ones(2)}, "meta": {"config": norm}}, tmp_path / "w.pth")
    warnings = RunData(compose([*tiny, f"init_from={tmp_path}/w.pth"])).warnings
    assert [warning.partition(": trained ")[2][:20] for warning in warnings] == [
        "on BGR; set img_norm", "with img_norm.mean=[",
    ]  # fmt: skip


def test_slowfast_pathways_equal_strides_of_model() -> None:
    option = SlowFast(depth=50, alpha=4)
    (net,) = [part for part in meta_model(option, 3).modules() if hasattr(part, "slow_stride")]
    assert option.pathways == {"slow": net.slow_stride, "fast": net.fast_stride} == {"slow": 8, "fast": 2}


#: arguments -> what the message says
REFUSED = [
    (["smapling"], "smapling: the first argument must be one of pipeline, sampling, batch; did you mean sampling?"),
    (["pipeline", "split=tset"], "split=tset: must be one of train, val, test (command line); did you mean test?"),
    (["pipeline", "sample=x"], "sample=x: must be a whole number"),
    (["batch", "draws=99"], "draws=99: must be <= 12"),
    (["sampling", "out=x.jpg"], "x.jpg: must end in .png"),
    (["sampling", "split=val"], "split=val: is not an option of show sampling"),
    (["pipeline", "split=test"], "split=test: must be one of the splits of the data: train, val"),
    *(
        pytest.param(*case, marks=pytest.mark.slow)
        for case in (
            (["sampling", "optimizer=sdg"], "optimizer=sdg: no such option"),
            (["pipeline", "sample=16"], "sample=16: must be one of the samples 0..15 of data.train"),
            (["sampling", "out=/proc/nowhere/x.png"], "/proc/nowhere/x.png: cannot be written"),
        )
    ),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED)
def test_show_rejects_invalid_arguments(arguments: list[str], message: str, tiny: list[str]) -> None:
    with pytest.raises(UserError) as refused:
        show.main([*arguments, *tiny])
    assert message in str(refused.value)


@pytest.mark.slow
def test_show_invalid_override_is_refused_before_torch_import() -> None:
    code = "import sys\nfrom vexp.__main__ import main\nassert main(['show', 'batch', 'optimizer=sdg']) == 2\n"
    code += "print(sorted({'torch', 'cv2', 'matplotlib'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
