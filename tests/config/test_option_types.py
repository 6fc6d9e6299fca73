"""Files name a built-in option by its name; files of vexp 0.1.0, which name its class, are still read."""

from __future__ import annotations

import copy
import dataclasses
import sys
from dataclasses import replace
from functools import cache
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.tables import default_lane_has

from vexp.config.compose import compose
from vexp.config.diff import diff_configs
from vexp.config.instantiate import to_dict
from vexp.config.option_types import TARGET, TYPE, group_at, upgrade_saved
from vexp.config.options import OPEN_GROUPS, options
from vexp.config.saved import SavedConfig
from vexp.config.schema import Config
from vexp.config.search_path import conf_dir
from vexp.data.sources.boxes import BoxSplit, TrainBoxSplit
from vexp.data.sources.skeletons import SkeletonTrainSplit
from vexp.data.sources.splits import Split, TrainSplit
from vexp.data.transforms.resize import RandomRescale
from vexp.model.clip_input import ClipInput
from vexp.optim.lr_policy import Chain
from vexp.tools.compare.columns import varying_keys
from vexp.tools.compare.runs import read_runs

#: What an option needs beside its defaults.
GIVEN: dict[str, dict[str, Any]] = {
    "folder": {"root": "videos"},
    **{word: {"train": TrainSplit(ann_file="train.txt")} for word in ("video_list", "raw_frames")},
    "ava": {"train": TrainBoxSplit(ann_file="a.csv"), "val": BoxSplit(ann_file="b.csv")},
    "skeleton": {"train": SkeletonTrainSplit(ann_file="train.json")},
    "activitynet": {"train": TrainSplit(ann_file="a.json"), "val": Split(ann_file="b.json"), "features": "features"},
    "torchvision": {"name": "r3d_18"},
    "hf": {
        "name": "ORG/NAME", "architecture": {"model_type": "videomae"}, "check_input": False,
        "input": ClipInput(frames=16, width=224, height=224, short_side=224, frame_interval=4),
    },
    "chain": {"phases": {"rise": {"shape": "linear", "end": 2.0}, "fall": {"shape": "cosine", "begin": 2.0}}},
    "sample_frames": {"clip_len": 8}, "dense_sample_frames": {"clip_len": 8}, "segment_frames": {"segments": 8},
    "sample_key_frames": {"clip_len": 8}, "uniform_sample": {"clip_len": 8}, "uniform_sample_frames": {"clip_len": 8},
    "resize": {"scale": [64, 64]}, "multi_scale_crop": {"input_size": 64}, "random_crop": {"size": 64},
    **{word: {"scale_range": [256, 320]} for word in ("random_rescale", "random_short_side_scale")},
    **{word: {"crop_size": 64} for word in ("center_crop", "three_crop", "ten_crop")},
}  # fmt: skip
SPLITS = ("train", "val", "test")
#: Options that need skeletons and heat maps of them.
OF_SKELETONS = {"skeleton", "motion_skeleton", "pose_compact", "generate_pose_target"}


#: Data, models and losses of other tasks than recognition, which go together only.
OF_OTHER_TASKS = [
    {"data": "activitynet", "model": "bmn", "loss": "bmn"},
    {"data": "motion_segments", "model": "actionformer", "loss": "actionformer"},
    {"data": "motion_boxes", "model": "tiny3d_boxes", "loss": "focal", "transform": "sample_key_frames"},
    {"data": "ava", "model": "slowonly_ava", "loss": "bce"},
    {"data": "ava", "model": "slowfast_ava", "loss": "focal"},
]


def rows() -> list[dict[str, str]]:
    """Few choices of an option per group in which every option of every group occurs."""
    others = {(group, word) for row in OF_OTHER_TASKS for group, word in row.items()} - {("loss", "bce")}
    columns = [[(group, word) for word in words if (group, word) not in others] for group, words in options().items()]
    return [*(dict(pair for pair in row if pair is not None) for row in zip_longest(*columns)), *OF_OTHER_TASKS]


@cache
def composed(*overrides: str) -> Config:
    """A config of which copies are made."""
    return compose(overrides)


def made(choices: dict[str, str]) -> Config:
    """A config with these options."""
    instances = {group: options()[group][word](**GIVEN.get(word, {})) for group, word in choices.items()}
    base = ["data=folder", "data.root=videos", "eval=never"]
    if OF_SKELETONS & set(choices.values()):
        base = ["data=motion_skeleton", "pipeline=skeleton", "pipeline.test.target.double=false", "eval=never"]
    elif choices in OF_OTHER_TASKS:
        base = ["data=motion_boxes"] if choices["data"] in ("motion_boxes", "ava") else ["data=motion_segments"]
    step, config = instances.pop("transform", None), composed(*base)
    if choices.get("model") == "bmn":  # finds no classes
        instances["eval"] = composed("data=motion_segments", "eval=proposals").eval
    if step is not None:
        steps = (
            {"added": step} if hasattr(step, "indices") else {"sample": config.pipeline.train["sample"], "added": step}
        )
        if "target" in config.pipeline.train and not hasattr(step, "prepare"):
            steps["target"] = config.pipeline.train["target"]
        instances["pipeline"] = replace(config.pipeline, train=steps)
    return replace(config, **instances)


def written(config: Config) -> str:
    return yaml.safe_dump(to_dict(config, types=True), sort_keys=False)


def read(text: str) -> Config:
    return compose(saved=SavedConfig(yaml.safe_load(text), Path("config.yaml")))


def named(values: dict[str, Any]) -> dict[str, Any]:
    """Path of every option in a saved config -> the node that names it."""
    steps = {f"pipeline.{split}.{name}": node for split in SPLITS for name, node in values["pipeline"][split].items()}
    return {group: values[group] for group in OPEN_GROUPS} | steps


def as_before(values: dict[str, Any]) -> dict[str, Any]:
    """A saved config as vexp 0.1.0 wrote it, from modules that have since been moved."""
    old = copy.deepcopy(values)
    for path, node in named(old).items():
        cls = options()[str(group_at(path))][node.pop(TYPE)]
        node[TARGET] = f"vexp.moved.away.{cls.__name__}"
    return old


# The first rows have options of every group; the others of a few large ones.
@pytest.mark.parametrize("choices", default_lane_has(3, rows()), ids=lambda row: " ".join(row.values()))
def test_saved_config_names_options_by_type(choices: dict[str, str]) -> None:
    config = made(choices)
    text = written(config)
    assert "vexp." not in text
    assert TARGET not in text
    values = yaml.safe_load(text)
    for group, word in choices.items():
        node = values["pipeline"]["train"]["added"] if group == "transform" else values[group]
        assert options()[group][node[TYPE]] is options()[group][word]
    assert read(text) == config
    assert upgrade_saved(as_before(values)) == values  # is what is read then
    assert diff_configs(as_before(values), values) == []


def test_no_option_has_a_field_named_type() -> None:
    """No option has a field of that name, and no two options of a group have classes of one name."""
    for group, words in options().items():
        classes = set(words.values())
        assert len({cls.__name__ for cls in classes}) == len(classes), group
        assert not [cls for cls in classes if TYPE in {field.name for field in dataclasses.fields(cls)}]


def test_first_name_of_class_is_written_and_every_name_is_read() -> None:
    values = to_dict(made({"transform": "random_short_side_scale"}), types=True)
    added = values["pipeline"]["train"]["added"]
    assert added[TYPE] == "random_rescale"
    added[TYPE] = "random_short_side_scale"
    assert isinstance(read(yaml.safe_dump(values, sort_keys=False)).pipeline.train["added"], RandomRescale)


OLD = """
data: {_target_: vexp.data.sources.config.Folder, root: videos}
pipeline:
  train:
    sample: {_target_: vexp.data.transforms.frame_sampling.SampleFrames, clip_len: 8}
    rescale: {_target_: vexp.data.transforms.resize.RandomRescale, scale_range: [256, 320]}
    grey: {_target_: torchvision.transforms.v2.RandomGrayscale, p: 0.5}
  val:
    sample: {_target_: vexp.data.transforms.segment_sampling.SegmentFrames, segments: 8}
model: {_target_: vexp.model.zoo.Tsm}
loss: {_target_: vexp.model.loss.CrossEntropy}
optimizer: {_target_: vexp.optim.optimizers.SGD, lr: 0.05}
lr_policy:
  _target_: vexp.optim.lr_policy.chain.Chain
  phases: {rise: {shape: linear, end: 2.0}, fall: {shape: cosine, begin: 2.0}}
epochs: 2
"""


def test_config_saved_by_0_1_0_is_read() -> None:
    config = read(OLD)
    assert [type(getattr(config, group)).__name__ for group in OPEN_GROUPS] == [
        "Folder", "Tsm", "CrossEntropy", "SGD", "Chain",
    ]  # fmt: skip
    assert isinstance(config.lr_policy, Chain)
    assert (config.optimizer.lr, config.lr_policy.phases["rise"].shape) == (0.05, "linear")
    now = to_dict(config, types=True)
    assert [next(iter(node.values())) for node in named(now).values()] == [
        "folder", "tsm", "cross_entropy", "sgd", "chain",
        "sample_frames", "random_rescale", "torchvision.transforms.v2.RandomGrayscale", "segment_frames",
    ]  # fmt: skip
    assert written(read(written(config))) == written(config)


def test_runs_of_both_formats_are_compared(tmp_path: Path) -> None:
    now = to_dict(compose(["optimizer=sgd"]), types=True)
    for name, values in (("new", now), ("old", as_before(now)), ("other", as_before(now) | {"seed": 1})):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    runs, faults = read_runs(sorted(tmp_path.iterdir()))
    assert faults == []
    assert [(column.key, column.values) for column in varying_keys(runs)] == [("seed", ("0", "0", "1"))]


@pytest.mark.parametrize(
    ("node", "message"),
    default_lane_has(2, [
        ({TYPE: "sdg"}, r"optimizer.type=sdg: must be one of sgd, adam, .*; did you mean sgd\?"),
        ({TYPE: ["sgd"]}, r"optimizer.type=\['sgd'\]: must be one of sgd, "),
        ({TARGET: "vexp.optim.optimizers.Sgdd"}, "=vexp.optim.optimizers.Sgdd: vexp has no optimizer of that name"),
        ({TARGET: "vexp.model.loss.Bce"}, "_target_=vexp.model.loss.Bce: vexp has no optimizer of that name"),
        ({TARGET: "vexp.optim.ema.Ema"}, "of that name; type: takes sgd, adam, "),
        ({TARGET: None}, "optimizer._target_=None: a config may instantiate classes of torch.optim, torchvision"),
        ({TYPE: "sgd", "lrr": 1}, "optimizer.lrr: SGD has no 'lrr'"),
    ]),
)  # fmt: skip
def test_unknown_option_in_saved_config_is_refused(node: dict[str, Any], message: str) -> None:
    values = to_dict(composed(), types=True) | {"optimizer": node}
    with pytest.raises(ValueError, match=message) as refused:
        compose(saved=SavedConfig(values, Path("config.yaml")))
    assert "module" not in str(refused.value)


def test_option_file_of_user_may_name_built_in_option(tmp_path: Path) -> None:
    (tmp_path / "optimizer").mkdir()
    for node in ("type: sgd", "_target_: vexp.once.upon.a.time.SGD"):
        (tmp_path / "optimizer" / "mine.yaml").write_text(f"{node}\nlr: 0.3\n")
        config = compose(["optimizer=mine"], config_dirs=[tmp_path])
        assert config.optimizer == options()["optimizer"]["sgd"](lr=0.3)


def test_class_of_plugin_is_saved_with_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of the same name as ours, one with an argument called type."""
    (tmp_path / "typed_plugins.py").write_text(
        "from dataclasses import dataclass\nfrom vexp.optim.optimizers import SGD as Ours\n"
        "@dataclass(kw_only=True, slots=True)\nclass SGD(Ours):\n    type: str = 'plain'\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "optimizer").mkdir()
    (tmp_path / "optimizer" / "mine.yaml").write_text("_target_: typed_plugins.SGD\ntype: sgd\n")
    config = compose(["optimizer=mine", "plugins=[typed_plugins]"], config_dirs=[tmp_path])
    values = to_dict(config, types=True)
    assert (values["optimizer"][TARGET], values["optimizer"][TYPE]) == ("typed_plugins.SGD", "sgd")
    assert compose(["plugins=[typed_plugins]"], saved=SavedConfig(values, tmp_path)).optimizer == config.optimizer
    assert upgrade_saved(values) == values
    ours = to_dict(compose(["optimizer=sgd"]), types=True)
    assert diff_configs(values, ours, leave_out=["plugins"]) == ["optimizer SGD -> sgd"]
    changed = values | {"optimizer": values["optimizer"] | {TYPE: "other"}}
    assert diff_configs(values, changed) == ["optimizer.type sgd -> other"]
    sys.modules.pop("typed_plugins")


def test_no_shipped_option_names_a_class_of_vexp() -> None:
    assert not [path for path in conf_dir().rglob("*.yaml") if f"{TARGET}: vexp." in path.read_text(encoding="utf-8")]
