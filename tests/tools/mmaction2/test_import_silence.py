"""Where a config is silent or cannot be read: mmaction2's defaults, or a placeholder, and never vexp's defaults."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.imported import SMALL_0, SMALL_1, convert_source, read
from support.tables import default_lane_has

from vexp.cli.import_mmaction import imported
from vexp.core.errors import UserError
from vexp.tools.mmaction2.report import Report, model_differences
from vexp.tools.mmaction2.result import CHOOSE, FILL_IN

NORMALIZE = "pipeline.append(dict(type='Normalize', mean=[1., 2., 3.], std=[4., 5., 6.]))\n"
PREPROCESSOR = "model['data_preprocessor'] = dict(type='ActionDataPreprocessor', mean=[1., 2., 3.], std=[4., 5., 6.])\n"
GPU = "module_hooks = [dict(type='GPUNormalize', hooked_module='backbone', hook_pos='forward_pre', "
GPU += "input_format='NCTHW', mean=[1., 2., 3.], std=[4., 5., 6.])]\n"


def frames(prefix: str) -> str:
    return SMALL_1.replace("VideoDataset', ", f"RawframeDataset', data_prefix=dict({prefix}), ")


VALUES = [
    (SMALL_0, "data.batch_size", 1),
    (SMALL_1, "data.batch_size", 1),
    (SMALL_0, "img_norm.mean", [0.0, 0.0, 0.0]),
    (SMALL_1, "img_norm.std", [1.0, 1.0, 1.0]),
    (SMALL_0 + NORMALIZE, "img_norm.mean", [1.0, 2.0, 3.0]),
    (SMALL_1 + PREPROCESSOR, "img_norm.std", [4.0, 5.0, 6.0]),
    (SMALL_0 + GPU, "img_norm.mean", [1.0, 2.0, 3.0]),
    (SMALL_0 + "find_unused_parameters = True\n", "dist.find_unused_parameters", True),
    (SMALL_1 + "model_wrapper_cfg = dict(type='MMDistributedDataParallel', find_unused_parameters=True)\n",
     "dist.find_unused_parameters", True),
    (SMALL_0 + "model['train_cfg'] = dict(blending=dict(type='MixupBlending'))\n", "blending.mixup_alpha", 0.2),
    (SMALL_1 + "data_preprocessor = dict(blending=dict(type='CutmixBlending', num_classes=5))\n",
     "blending.cutmix_alpha", 0.2),
    (SMALL_1.replace("VideoDataset', ann_file='a", "RepeatAugDataset', ann_file='a"), "data.train.repeat_augment", 4),
    (SMALL_0.replace(", lr=0.1", ""), "optimizer.lr", 1e-3),
    (frames("video='videos', img='frames'"), "data.train.data_prefix", "frames"),
    (frames("img='frames', video='videos'").replace("RawframeDataset", "VideoDataset"), "data.train.data_prefix",
     "videos"),
    (frames("img='frames'").replace("ann_file='a.txt'", "ann_file='a.txt', data_root='/data'"),
     "data.train.data_prefix", "/data/frames"),
    (frames("img='frames'").replace("ann_file='a.txt'", "ann_file='a.txt', data_root='/data'"),
     "data.train.ann_file", "/data/a.txt"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "key", "value"), VALUES, ids=[f"{i}-{key}" for i, (_, key, _) in enumerate(VALUES)])
def test_silent_config_has_defaults_of_mmaction2(text: str, key: str, value: Any, tmp_path: Path) -> None:
    assert convert_source(read(tmp_path / "config.py", text)).values[key].value == value


PLACEHOLDERS = [
    ("total_epochs = int(os.environ['E'])\n", "epochs", "cannot be evaluated"),
    ("total_epochs = None\ndel total_epochs\n", "epochs", "does not say how long"),
    ("total_epochs = None\n", "epochs", "does not say how long"),
    ("total_epochs = 'ten'\n", "epochs", "epochs=ten: must be a whole number"),
    ("data['videos_per_gpu'] = int(os.environ['B'])\n", "data.batch_size", "cannot be evaluated"),
    ("optimizer['lr'] = rate()\n", "optimizer.lr", "cannot be evaluated"),
    ("lr_config = dict(policy='step', step=[f(i) for i in (1, 2)])\n", "lr_policy.step", "cannot be evaluated"),
    ("pipeline[0]['clip_len'] = int(os.environ['L'])\n", "pipeline.train.sample.clip_len", "cannot be evaluated"),
    ("model['backbone']['depth'] = depth()\n", "model.depth", "cannot be evaluated"),
    ("model['backbone']['pretrained'] = 'mmcls://mobilenet_v2'\n", "model.weights.path", "torchvision://mobilenet_v2"),
    (
        "model['backbone'] = dict(type='ResNet3dSlowFast', fast_pathway=dict(base_channels=8, "
        "conv1_kernel=(5, 7, 7), frozen_stages=2))\n",
        "model.freeze",
        "2 stages are frozen",
    ),
    ("lr_config = dict(policy='exp', gamma=1.5)\n", "lr_policy.gamma", "must be <= 1"),
    ("data['train']['ann_file'] = None\n", "data.train.ann_file", "names no list"),
    (
        "data['train'] = [dict(type='VideoDataset', ann_file=[], pipeline=pipeline)] * 2\n",
        "data.train.ann_file",
        "names no list",
    ),
]


@pytest.mark.parametrize(
    ("line", "key", "why"), default_lane_has(6, PLACEHOLDERS), ids=[f"{key}-{why}" for _, key, why in PLACEHOLDERS]
)
def test_value_without_a_reading_is_a_placeholder(line: str, key: str, why: str, tmp_path: Path) -> None:
    source = read(tmp_path / "config.py", SMALL_0 + line)
    result = imported(source)
    assert result.value(key, FILL_IN) == FILL_IN  # a list that is null is refused with a sentence of its own
    assert why in result.needed[key]
    assert "to fill in" in Report.of(result, source).headline


UNREAD_DICTS = [
    (SMALL_0, "fp16 = make()", "amp"),
    (SMALL_0, "optimizer_config = make()", "grad.clip.max_norm"),
    (SMALL_0, "optimizer_config = dict(grad_clip=make())", "grad.clip.max_norm"),
    (SMALL_0, "evaluation = make()", "eval"),
    (SMALL_0, "checkpoint_config = make()", "checkpoint"),
    (SMALL_0, "log_config = make()", "log"),
    (SMALL_0, "runner = make()", "epochs"),
    (SMALL_0, "module_hooks = make()", "img_norm.mean img_norm.std"),
    (SMALL_1, "model['data_preprocessor'] = make()", "img_norm.mean img_norm.std"),
    (SMALL_1, "train_cfg = make()", "epochs"),
    (SMALL_1, "param_scheduler = make()", "lr_policy"),
    (SMALL_1, "param_scheduler = [make(), dict(type='CosineAnnealingLR', T_max=10)]", "lr_policy"),
    (SMALL_1, "param_scheduler = [dict(type='MultiStepLR', milestones=make())]", "lr_policy"),
]


@pytest.mark.parametrize(("text", "line", "keys"), UNREAD_DICTS, ids=[line for _, line, _ in UNREAD_DICTS])
def test_dict_without_a_reading_is_left_to_the_user(text: str, line: str, keys: str, tmp_path: Path) -> None:
    """Neither is it an empty dict, nor None."""
    result = convert_source(read(tmp_path / "config.py", f"{text}{line}\n"))
    assert sorted(result.needed) == keys.split()
    assert all(result.choices.get(key, CHOOSE) == CHOOSE for key in result.needed)


@pytest.mark.parametrize("line", ["optimizer['paramwise_cfg'] = make()", "model['train_cfg'] = make()"])
def test_dict_without_a_key_of_its_own_is_a_point(line: str, tmp_path: Path) -> None:
    source = read(tmp_path / "config.py", f"{SMALL_0}{NORMALIZE}{line}\n")
    (point,) = Report.of(convert_source(source), source).points
    assert "make() -> not supported (make() cannot be evaluated without running the file)" in point


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        (SMALL_0, "data", "make()"),
        (SMALL_0, "data.train", "make()"),
        (SMALL_0, "data.train", "dict(type='RepeatDataset', times=2, dataset=make())"),
        (SMALL_0, "model", "make()"),
        (SMALL_0, "model.backbone", "make()"),
        (SMALL_1, "train_dataloader", "make()"),
        (SMALL_1, "val_dataloader.dataset", "make()"),
    ],
)
def test_indispensable_dict_without_a_reading_is_refused(text: str, path: str, value: str, tmp_path: Path) -> None:
    first, *rest = path.split(".")
    line = first + "".join(f"[{name!r}]" for name in rest)
    with pytest.raises(UserError, match=rf"config\.py:\d+: {path}.*: make\(\) cannot be evaluated .*; write this dict"):
        convert_source(read(tmp_path / "config.py", f"{text}{line} = {value}\n"))


def test_source_of_a_comprehension_is_part_of_it(tmp_path: Path) -> None:
    more = "steps = [2, 3]\nlr_config = dict(policy='step', step=[2 * step for step in steps])\n"
    source = read(tmp_path / "config.py", SMALL_0 + more)
    result = convert_source(source)
    assert result.values["lr_policy.step"].value == [4, 6]
    assert result.outcomes[id(source.config.items["steps"])].status == "part"


def test_missing_argument_of_a_transform_is_a_placeholder(tmp_path: Path) -> None:
    text = SMALL_0.replace("pipeline = [", "pipeline = [dict(type='Resize'), ")
    result = imported(read(tmp_path / "config.py", text))
    assert set(result.needed) == {f"pipeline.{split}.resize.scale" for split in ("train", "val")}
    assert "(config.py:6)" in result.needed["pipeline.train.resize.scale"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("for scale in (1, 2):\n    pipeline.append(dict(type='Resize', scale=scale))", "this line only takes effect"),
        ("pipeline.append(make())", r"make\(\) cannot be evaluated"),
        ("pipeline.append(dict(type='Normalize', **make()))", "cannot be evaluated"),
    ],
)
def test_transform_without_a_reading_is_refused(line: str, reason: str, tmp_path: Path) -> None:
    """The pipeline would otherwise lack it."""
    with pytest.raises(UserError, match=rf"config.py:\d+: the train pipeline cannot be read: .*{reason}"):
        imported(read(tmp_path / "config.py", f"{SMALL_0}{line}\n"))


def test_value_changed_in_a_loop_is_a_placeholder(tmp_path: Path) -> None:
    result = imported(read(tmp_path / "config.py", SMALL_0 + "for _ in range(2):\n    total_epochs += 1\n"))
    assert "is changed in line 12" in result.needed["epochs"]


def test_pipeline_filled_in_a_loop_is_refused(tmp_path: Path) -> None:
    first, rest = SMALL_0.split("pipeline = [")
    text = (
        f"{first}pipeline = []\nfor name in names:\n    pipeline.append(dict(type=name))\n{rest.partition(chr(10))[2]}"
    )
    with pytest.raises(UserError, match=r"config.py:7: the train pipeline cannot be read: this line only takes effect"):
        imported(read(tmp_path / "config.py", text))


def test_pipeline_without_transforms_is_refused(tmp_path: Path) -> None:
    text = SMALL_0.replace("dict(type='SampleFrames', clip_len=4, frame_interval=2)", "dict(type='DecordInit')")
    with pytest.raises(UserError, match=r"config.py:6: the train pipeline has no transform that vexp has"):
        convert_source(read(tmp_path / "config.py", text))


@pytest.mark.parametrize("head", ["", "cls_head=None"])
def test_model_without_a_head_has_its_usual_one(head: str, tmp_path: Path) -> None:
    text = SMALL_0.replace("cls_head=dict(type='I3DHead', num_classes=5, in_channels=2048)", head)
    source = read(tmp_path / "config.py", text)
    result = convert_source(source)
    assert "model has no cls_head" in result.pitfalls[0][1]
    assert not model_differences(result)


def test_variable_as_unknown_argument_is_another_model(tmp_path: Path) -> None:
    """The leaf has the name of the variable first, which mmaction2 does not read."""
    text = "of_my_own = True\n" + SMALL_0.replace("depth=50", "depth=50, of_my_own=of_my_own")
    with pytest.raises(UserError, match=r"of_my_own = true \(unknown argument, ignored\)"):
        imported(read(tmp_path / "config.py", text))


def test_block_without_a_common_name_is_counted(tmp_path: Path) -> None:
    """As in a published config, whose loader has the arguments of its dataset."""
    text = f"{SMALL_1}{PREPROCESSOR}extra = [dict(a=1, b=2), dict(c=3, _delete_=True)]\n"
    source = read(tmp_path / "config.py", f"{text}test_dataloader = dict(extra=extra, more=4)\n")
    (point,) = Report.of(convert_source(source), source).points
    assert point == "config.py:12: extra[0].a, ... (4 values) -> not supported (unknown argument, ignored)"


def test_variable_without_a_reading_is_no_point(tmp_path: Path) -> None:
    """Unless mmaction2 reads it; what it is used for is left to the user by itself."""
    source = read(tmp_path / "config.py", f"root = f()\n{SMALL_0}{NORMALIZE}".replace("'a.txt'", "root + '/a.txt'"))
    result = convert_source(source)
    assert (Report.of(result, source).points, list(result.needed)) == ([], ["data.train.ann_file"])


def test_list_is_extended_in_place(tmp_path: Path) -> None:
    """As in Python: the dataset that has it already sees the new transform."""
    result = convert_source(read(tmp_path / "config.py", SMALL_0 + "pipeline += [dict(type='Flip')]\n"))
    assert list(result.steps["train"]) == ["sample", "flip"]


@pytest.mark.parametrize(
    ("line", "group", "headline"),
    [
        ("optimizer = make(0.1)\n", "optimizer", "the same experiment, with 1 value to fill in"),
        ("optimizer = dict(type='LAMB', lr=0.1)\n", "optimizer", "the same but for 1 point, with 1 value to fill in"),
        ("del optimizer\n", "optimizer", "the same experiment, with 1 value to fill in"),
        ("lr_config = make()\n", "lr_policy", "the same experiment, with 1 value to fill in"),
        ("lr_config = dict(policy='TIN')\n", "lr_policy", "the same but for 1 point, with 1 value to fill in"),
    ],
)
def test_group_without_a_reading_is_left_to_the_user(line: str, group: str, headline: str, tmp_path: Path) -> None:
    """What vexp does not have is a point that differs as well."""
    source = read(tmp_path / "config.py", SMALL_0 + line)
    result = imported(source)
    assert (result.choices[group], list(result.needed)) == (CHOOSE, [group])
    assert Report.of(result, source).headline == headline


def test_frames_of_each_repeat_are_a_point(tmp_path: Path) -> None:
    text = SMALL_1.replace("VideoDataset', ann_file='a", "RepeatAugDataset', ann_file='a")
    source = read(tmp_path / "config.py", text)
    assert "draws other frames for each repeat" in Report.of(convert_source(source), source).points[0]


def test_multigrid_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"config.py:12: refused: vexp has no multigrid training"):
        imported(read(tmp_path / "config.py", SMALL_0 + "multigrid = dict(long_cycle=True)\n"))


@pytest.mark.parametrize("text", [
    SMALL_0.replace("    train=dict", "    other=dict"),
    SMALL_0.replace("    train=dict", "    other=dict").replace("    val=dict", "    test=dict"),
    SMALL_1.replace("train_dataloader = ", "other = "),
])  # fmt: skip
def test_config_for_testing_only_asks_for_the_training_data(text: str, tmp_path: Path) -> None:
    source = read(tmp_path / "config.py", text.replace("total_epochs = 10", "").replace("max_epochs=10", ""))
    result = imported(source)
    assert list(result.needed) == ["data.train.ann_file", "epochs"]
    assert result.steps["train"] == {"sample": "sample_frames"}
    assert result.values["pipeline.train.sample.clip_len"].value == 4
