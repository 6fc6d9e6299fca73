"""Several datasets in a split, repeats, images and raw videos."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.imported import SMALL_0, SMALL_1, below, convert_source, read

from vexp.cli.import_mmaction import imported
from vexp.core.errors import UserError
from vexp.tools.mmaction2.report import Report

TWO = """
a = dict(type='VideoDataset', ann_file='k4.txt', data_prefix=dict(video='v4'), pipeline=pipeline)
b = dict(type='VideoDataset', ann_file='k6.txt', data_prefix=dict(video='v6'), pipeline=pipeline)
"""
CONCATENATED = SMALL_1 + TWO + "train_dataloader['dataset'] = dict(type='ConcatDataset', datasets=[a, {0}])\n"
WEB = "dict(type='ImageDataset', ann_file='web.txt', data_prefix='web', pipeline=images)"
RAW = "dict(type='RawVideoDataset', ann_file='raw.json', data_prefix='raw', pipeline=pipeline)"
OMNISOURCE = (
    SMALL_0
    + f"""
images = [dict(type='ImageDecode'), dict(type='BuildPseudoClip', clip_len=4)]
data['train'] = [data['train'], {WEB}, {RAW}]
omnisource = True
"""
)
CASES = [
    (SMALL_0 + "data['train']['ann_file'] = ['a.txt', 'c.txt']\n", {"ann_file": ["a.txt", "c.txt"]}),
    (SMALL_0 + "data['train'] = dict(type='RepeatDataset', times=3, dataset=data['train'])\n", {"repeat": 3}),
    (CONCATENATED.replace("{0}", "b"), {"ann_file": ["k4.txt", "k6.txt"], "data_prefix": ["v4", "v6"]}),
    (CONCATENATED.replace("{0}", "dict(type='RepeatDataset', times=2, dataset=b)"), {"repeat": [1, 2]}),
    (CONCATENATED.replace("{0}", "b").replace("'v6'", "'v4'"), {"data_prefix": "v4"}),
    (OMNISOURCE, {"ann_file": ["a.txt", "web.txt", "raw.json"], "data_prefix": [".", "web", "raw"],
                  "mix": "steps", "ratio": None, "one_per_group": True}),
    (OMNISOURCE + "data['train_ratio'] = [2, 1, 1]\ndata['omni_videos_per_gpu'] = [4, 8, 4]\n",
     {"ratio": [2, 1, 1], "batch_sizes": [4, 8, 4]}),
    (OMNISOURCE + "data['train'][1].update(sample_by_class=True, power=0.5)\n", {"class_balance": [0.0, 0.5, 0.0]}),
]  # fmt: skip


@pytest.mark.parametrize(("text", "values"), CASES, ids=range(len(CASES)))
def test_datasets_of_a_split_are_its_lists(text: str, values: dict[str, Any], tmp_path: Path) -> None:
    result = convert_source(read(tmp_path / "config.py", text))
    found = below(result, "data.train.")
    assert {key: found.get(key) for key in values} == values
    assert not result.needed
    targets = {target for outcome in result.outcomes.values() for target in outcome.targets}
    assert not [target for target in targets if target.startswith("data.train.0")]


def test_concatenated_config_is_the_same_experiment(tmp_path: Path) -> None:
    source = read(tmp_path / "config.py", CONCATENATED.replace("{0}", "b"))
    assert Report.of(imported(source), source).headline == "the same experiment"


@pytest.mark.parametrize(
    ("more", "point"),
    [
        ("lr_config = dict(policy='step', step=[4], warmup='linear', warmup_iters=3)\n", "lr_config counts iterations"),
        ("data['train_ratio'] = [2, 1]\n", "3 lists"),
        ("images.append(dict(type='Flip'))\n", "all lists of a split have one pipeline"),
        ("data['train'][1].update(indices=3)\n", "indices is one value for all lists"),
    ],
)
def test_omnisource_point_is_named(more: str, point: str, tmp_path: Path) -> None:
    source = read(tmp_path / "config.py", OMNISOURCE + more)
    assert any(point in line for line in Report.of(convert_source(source), source).points)


def test_omnisource_config_is_the_same_experiment(tmp_path: Path) -> None:
    source = read(tmp_path / "config.py", OMNISOURCE)
    assert Report.of(convert_source(source), source).points == []


JOINT = (
    SMALL_1
    + """
model = dict(type='RecognizerOmni', backbone=dict(type='OmniResNet'),
             cls_head=dict(type='OmniHead', image_classes=7, video_classes=3, in_channels=2048))
pipeline += [dict(type='Resize', scale=(-1, 72)), dict(type='RandomResizedCrop'),
             dict(type='Resize', scale=(64, 64), keep_ratio=False), dict(type='Flip', flip_ratio=0.5)]
images = [dict(type='LoadRGBFromFile'), dict(type='mmcls.RandomResizedCrop', scale=64),
          dict(type='mmcls.RandomFlip', prob=0.5), dict(type='mmcls.PackClsInputs')]
other = dict(batch_size=6, dataset=dict(type='mmcls.ImageNet', data_root='in', ann_file='train.txt',
                                        data_prefix='train', pipeline=images))
train_cfg = dict(type='MultiLoaderEpochBasedTrainLoop', max_epochs=2, other_loaders=[other])
"""
)


def test_other_loader_is_a_list_with_batches_and_classes_of_its_own(tmp_path: Path) -> None:
    source = read(tmp_path / "config.py", JOINT)
    result = convert_source(source)
    found = below(result, "data.train.")
    batch = below(result, "data.")["batch_size"]
    assert {key: found[key] for key in ("mix", "own_classes", "batch_sizes")} == {
        "mix": "losses", "own_classes": True, "batch_sizes": [batch, 6],
    }  # fmt: skip
    assert found["ann_file"][1] == "in/train.txt"
    assert found["data_prefix"][1] == "in/train"
    assert below(result, "pipeline.train.sample.")["image_clip_len"] == 1
    assert below(result, "model.") == {"image_classes": 7}
    assert Report.of(result, source).points == []


def test_other_pipeline_of_images_is_a_point(tmp_path: Path) -> None:
    source = read(tmp_path / "config.py", JOINT.replace("scale=64)", "scale=48)"))
    assert any("here that of the videos" in line for line in Report.of(convert_source(source), source).points)


def test_other_loader_of_another_recognizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="only RecognizerOmni takes batches of several loaders"):
        convert_source(read(tmp_path / "config.py", JOINT.replace("'RecognizerOmni'", "'Recognizer3D'")))


def test_datasets_of_two_kinds_are_refused(tmp_path: Path) -> None:
    text = OMNISOURCE.replace("'ImageDataset'", "'RawframeDataset'")
    with pytest.raises(UserError, match="refused: VideoDataset and RawframeDataset and RawVideoDataset in one split"):
        convert_source(read(tmp_path / "config.py", text))


def test_swin_constructor_multiplies_keys(tmp_path: Path) -> None:
    groups = "absolute_pos_embed=dict(decay_mult=0.), norm=dict(decay_mult=0.), backbone=dict(lr_mult=0.1)"
    text = SMALL_1.replace("optim_wrapper = dict(", "optim_wrapper = dict(constructor='SwinOptimWrapperConstructor', "
                           f"paramwise_cfg=dict({groups}), ")  # fmt: skip
    result = convert_source(read(tmp_path / "config.py", text))
    assert below(result, "optimizer.paramwise.") == {
        "multiply_keys": True, "custom_keys.norm.decay_mult": 0.0, "custom_keys.backbone.lr_mult": 0.1,
    }  # fmt: skip
