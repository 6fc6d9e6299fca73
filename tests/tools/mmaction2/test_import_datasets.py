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
                  "ratio": [1.0, 1.0, 1.0], "one_per_group": True}),
    (OMNISOURCE + "data['train_ratio'] = [2, 1, 1]\ndata['omni_videos_per_gpu'] = [4, 8, 4]\n",
     {"ratio": [8.0, 8.0, 4.0]}),
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
        ("", "a batch mixes the lists in this ratio"),
        ("images.append(dict(type='Flip'))\n", "all lists of a split have one pipeline"),
        ("data['train'][1].update(indices=3)\n", "indices is one value for all lists"),
    ],
)
def test_omnisource_differs_in_its_batches(more: str, point: str, tmp_path: Path) -> None:
    source = read(tmp_path / "config.py", OMNISOURCE + more)
    assert any(point in line for line in Report.of(convert_source(source), source).points)


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
