"""Imported configs as a user takes them from the command line to the end of a debug run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.commands import run_command
from support.encode import write_video
from support.imported import SMALL_0

BACKBONES = {
    "tsn_timm": "type='timm.resnet10t', pretrained=False",
    "uniformerv2": "type='UniFormerV2', input_resolution=32, patch_size=16, width=64, layers=4, heads=2, t_size=4, "
    "n_layers=2, n_dim=64, n_head=2, return_list=[2, 3], mlp_factor=4.0, drop_path_rate=0.0, no_lmhra=True, "
    "temporal_downsample=False, mlp_dropout=[0.5, 0.5]",
}
CONFIG = """
_base_ = './base.py'
model = dict(
    type={recognizer!r},
    backbone=dict({backbone}),
    cls_head=dict(type={head!r}, num_classes=2, in_channels={channels}),
    data_preprocessor=dict(type='ActionDataPreprocessor', mean=[114.75] * 3, std=[57.375] * 3, format_shape='NCHW'))
pipeline = [
    dict(type='DecordInit'), {sampler}, dict(type='DecordDecode'),
    dict(type='Resize', scale=(-1, 36)), dict(type='CenterCrop', crop_size=32),
    dict(type='FormatShape', input_format='NCHW'),
    dict(type='PackActionInputs')]
train_dataloader = dict(batch_size=2, num_workers=0, dataset=dict(
    type='VideoDataset', ann_file='train.txt', data_prefix=dict(video='.'), pipeline=pipeline))
val_dataloader = dict(dataset=dict(
    type='VideoDataset', ann_file='train.txt', data_prefix=dict(video='.'), pipeline=pipeline, test_mode=True))
"""
BASE = """
optim_wrapper = dict(optimizer=dict(type='AdamW', lr=1e-4), clip_grad=dict(max_norm=20, norm_type=2))
param_scheduler = [dict(type='CosineAnnealingLR', T_max=8, eta_min_ratio=0.5, convert_to_iter_based=True)]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=8, val_interval=1)
val_evaluator = dict(type='AccMetric')
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a list of four videos."""
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b", "c", "d"):
        write_video(tmp_path / f"{name}.mp4", frames=12, size=(64, 48))
    (tmp_path / "train.txt").write_text("a.mp4 0\nb.mp4 1\nc.mp4 0\nd.mp4 1\n")
    return tmp_path


def run_imported(folder: Path, *overrides: str) -> dict[str, object]:
    """Import config.py and train with ``debug=fast``; return the result of the run."""
    assert "the same experiment" in run_command("import", "config.py", "out=mine")
    train = ["train", "--config-dir", "mine", "experiment=config", "debug=fast", "device=cpu", "out_root=runs"]
    run_command(*train, *overrides)
    (result,) = (folder / "runs").rglob("result.json")
    return json.loads(result.read_text())


@pytest.mark.slow
@pytest.mark.parametrize("name", BACKBONES)
def test_imported_config_trains_to_the_end(name: str, folder: Path) -> None:
    frames = {"tsn_timm": "'SampleFrames', clip_len=1, num_clips=3", "uniformerv2": "'UniformSample', clip_len=4"}
    recognizer, head, channels = {
        "tsn_timm": ("Recognizer2D", "TSNHead", 512), "uniformerv2": ("Recognizer3D", "UniFormerHead", 64),
    }[name]  # fmt: skip
    text = CONFIG.format(
        recognizer=recognizer,
        head=head,
        channels=channels,
        backbone=BACKBONES[name],
        sampler=f"dict(type={frames[name]})",
    )
    (folder / "base.py").write_text(BASE)
    (folder / "config.py").write_text(text)
    assert run_imported(folder)["status"] == "done"


@pytest.mark.slow
def test_imported_omnisource_config_trains_to_the_end(folder: Path) -> None:
    from PIL import Image

    Image.new("RGB", (64, 48)).save(folder / "e.jpg")
    (folder / "web.txt").write_text("e.jpg 1\n")
    (folder / "raw").mkdir()
    for part in (0, 1):
        write_video(folder / "raw" / f"part_{part}.mp4", frames=6, size=(64, 48))
    records = [{"video_dir": "raw", "label": 0, "num_clips": 2, "positive_clip_inds": [0, 1]}]
    (folder / "raw.json").write_text(json.dumps(records))
    text = (
        SMALL_0.replace("'a.txt'", "'train.txt'")
        .replace("'b.txt'", "'train.txt'")
        .replace("num_classes=5", "num_classes=2")
    )
    (folder / "config.py").write_text(
        text.replace("frame_interval=2)]", "frame_interval=2), dict(type='Resize', scale=(32, 32), keep_ratio=False)]")
        + "data['train'] = [data['train'], dict(type='ImageDataset', ann_file='web.txt', pipeline=pipeline), "
        "dict(type='RawVideoDataset', ann_file='raw.json', pipeline=pipeline)]\nomnisource = True\n"
    )
    run_command("import", "config.py", "out=mine")
    run_command(
        "train", "--config-dir", "mine", "experiment=config", "epochs=2", "device=cpu", "out_root=runs",
        "data.num_workers=0", "data.batch_size=4",
    )  # fmt: skip
    (result,) = (folder / "runs").rglob("result.json")
    assert json.loads(result.read_text())["step"] == 6  # two epochs of a step of each list
