"""Convert every config of tests/golden/mmaction_configs: complete reports, valid configs, and pitfalls."""

from __future__ import annotations

import ast
import dataclasses
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.imported import ALL, CONFIGS, SMALL_0, SMALL_1, below, convert_source, golden, lr_policy, read

from vexp import compose
from vexp.cli.import_mmaction import imported
from vexp.config.defaults import defaults_of
from vexp.config.options import options
from vexp.core.errors import UserError
from vexp.model.meta import meta_model
from vexp.model.registry import named_option
from vexp.tools.mmaction2.backbones import BACKBONES, WITH_TPN_NECK
from vexp.tools.mmaction2.config_file import read_config
from vexp.tools.mmaction2.frame_backbones import WITH_TRN_HEAD
from vexp.tools.mmaction2.lr_config import POLICIES
from vexp.tools.mmaction2.optimizers import OPTIMIZERS
from vexp.tools.mmaction2.pipelines import NO_STEPS, STEPS
from vexp.tools.mmaction2.pitfalls import find_pitfalls
from vexp.tools.mmaction2.report import Report, experiment_yaml, model_differences, report_lines
from vexp.tools.mmaction2.result import CHOOSE, FILL_IN, STATUSES, ConversionResult, Value
from vexp.tools.mmaction2.rules import Map, keys_of

NAMES = [str(path.relative_to(CONFIGS)) for path in ALL]


def named(part: str) -> Path:
    (path,) = (path for path, name in zip(ALL, NAMES, strict=True) if part in name)
    return path


def test_golden_configs_cover_models_and_policies() -> None:
    assert len(ALL) >= 35
    models = {golden(path)[1].choices["model"] for path in ALL}
    assert models == {
        "tsn_r50", "tsm_r50", "i3d_r50", "slowonly_r50", "slowfast_r50", "r2plus1d_r34", "ircsn_r50", "x3d_m",
        "timesformer_divst", "c2d_r50", "c3d", "mvitv2_s", "swin_t", "uniformer_s", "uniformerv2_b16", "videomae_b",
        "bmn", "omni_r50", "tanet_r50", "tin_r50", "trn_r50", "tpn_tsm_r50", "tpn_slowonly_r50",
    }  # fmt: skip
    assert {golden(path)[1].choices["lr_policy"] for path in ALL} == {*options()["lr_policy"], CHOOSE}


@pytest.mark.parametrize("path", ALL, ids=NAMES)
def test_report_lists_every_leaf_once(path: Path) -> None:
    source, result = golden(path)
    lines = report_lines(result, source)
    assert len(lines) == len(list(source.lines()))
    assert {line.status for line in lines} <= set(STATUSES)
    leaves = [id(leaf) for _, leaf in source.lines()]
    assert max(Counter(leaves).values()) == 1
    assert set(leaves) == set(result.outcomes)
    # counted another way, from the files' syntax alone: every key with a constant has its line
    reported = {
        (line.where.file.resolve(), line.where.line, re.findall(r"\w+", line.path)[-1]) for line in lines if line.path
    }
    for file in {line.where.file.resolve() for line in lines}:
        missing = {(file, line, key) for line, key in constants(file)} - reported
        assert not missing


def constants(file: Path) -> Iterator[tuple[int, str]]:
    """(line, key) of every constant that a file gives to a key of a dict or to a name."""
    for statement in ast.parse(file.read_text()).body:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            if isinstance(statement.value, ast.Constant) and statement.targets[0].id != "_base_":
                yield statement.value.lineno, statement.targets[0].id
            for node in ast.walk(statement):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict":
                    for keyword in node.keywords:
                        if isinstance(keyword.value, ast.Constant) and keyword.arg is not None:
                            yield keyword.value.lineno, keyword.arg


@pytest.mark.parametrize("path", ALL, ids=NAMES)
def test_defaults_are_dropped(path: Path) -> None:
    """Defaults are dropped, and converted lines have a target."""
    source, result = golden(path)
    for key, given in result.values.items():
        assert result.default(key) != given.value or isinstance(given.value, bool) != isinstance(
            result.default(key), bool
        )
    for line in report_lines(result, source):
        if line.status == "carried":
            assert line.targets


FEW = ["v1/slowfast_r50_8xb8-8x8x1-256e"]


def composed(path: Path, tmp_path: Path) -> tuple[Any, ConversionResult]:
    source = read_config(path)
    result = imported(source)
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(experiment_yaml(result, source), encoding="utf-8")
    fill = {"epochs": "3", "optimizer": "sgd", "lr_policy": "fixed", "model.weights.path": "null"}
    overrides = ["experiment=mine", *(f"{key}={fill.get(key, 'given.txt')}" for key in result.needed)]
    return compose(overrides, config_dirs=[tmp_path]), result


@pytest.mark.parametrize("part", FEW)
def test_some_configs_compose(part: str, tmp_path: Path) -> None:
    check_composed(*composed(named(part), tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("path", ALL, ids=NAMES)
def test_every_config_composes(path: Path, tmp_path: Path) -> None:
    check_composed(*composed(path, tmp_path))


def check_composed(config: Any, result: ConversionResult) -> None:
    """Check that the composed config has the converted values."""
    assert config.run_name
    if "lr_policy" not in result.needed:
        assert config.lr_policy == lr_policy(result)
    for split in ("train", "val"):
        assert list(config.pipeline.of(split)) == list(result.steps.get(split, {}))
    for key, given in result.values.items():
        if key in result.needed:
            continue
        found: Any = config
        if key.startswith("optimizer.paramwise.custom_keys"):
            continue  # read by Paramwise: dotted names become one key
        for part in key.split("."):
            found = found[part] if isinstance(found, dict) else getattr(found, part, getattr(found, "arguments", {}))
        if not key.endswith("_target_") and not dataclasses.is_dataclass(found) and "grayscale" not in key:
            assert found == given.value, key


def test_convert_tsn(tmp_path: Path) -> None:
    """The complete experiment of one config."""
    source = read_config(named("v0/tsn_r50_1x1x3"))
    result = imported(source)
    assert result.choices == {
        "data": "raw_frames", "model": "tsn_r50", "loss": "cross_entropy", "optimizer": "sgd", "lr_policy": "step",
        "checkpoint": "all", "log": "text",
    }  # fmt: skip
    assert result.steps == {
        "train": {"sample": "segment_frames", "resize": "resize", "crop": "multi_scale_crop", "resize_2": "resize",
                  "flip": "flip"},
        "val": {"sample": "segment_frames", "resize": "resize", "crop": "center_crop"},
        "test": {"sample": "segment_frames", "resize": "resize", "crop": "ten_crop"},
    }  # fmt: skip
    assert below(result, "") == {
        "epochs": 100, "run_name": "tsn_r50_1x1x3_100e_kinetics400_rgb", "out_root": "./work_dirs",
        "data.batch_size": 32, "data.num_workers": 2,
        "data.train.ann_file": "data/kinetics400/kinetics400_train_list_rawframes.txt",
        "data.val.ann_file": "data/kinetics400/kinetics400_val_list_rawframes.txt",
        "data.test.ann_file": "data/kinetics400/kinetics400_val_list_rawframes.txt",
        "data.train.data_prefix": "data/kinetics400/rawframes_train",
        "data.val.data_prefix": "data/kinetics400/rawframes_val",
        "data.test.data_prefix": "data/kinetics400/rawframes_val",
        "pipeline.train.sample.segments": 3, "pipeline.train.resize.scale": [-1, 256],
        "pipeline.train.crop.input_size": 224, "pipeline.train.crop.scales": [1, 0.875, 0.75, 0.66],
        "pipeline.train.resize_2.scale": [224, 224], "pipeline.train.resize_2.keep_ratio": False,
        "pipeline.val.sample.segments": 3, "pipeline.val.sample.test_mode": True,
        "pipeline.val.resize.scale": [-1, 256], "pipeline.val.crop.crop_size": 224,
        "pipeline.test.sample.segments": 25, "pipeline.test.sample.test_mode": True,
        "pipeline.test.resize.scale": [-1, 256], "pipeline.test.crop.crop_size": 224,
        "model.weights.path": "torchvision://resnet50", "optimizer.lr": 0.01, "lr_policy.step": [40, 80],
        "grad.clip.max_norm": 40.0, "eval.view_reduction": "mean_logit", "eval.interval": 5, "log.interval": 20,
        "log.by_epoch": True,
    }  # fmt: skip


#: Of the configs in each folder: those that become the same experiment, perhaps with values to fill in, those with
#: points that differ, and those that are refused (tests/tools/mmaction2/test_import_refusals.py has more).
TABLE = {"v0": (22, 10, 0), "v1": (31, 1, 0), "new": (1, 0, 0)}


def test_table_of_golden_configs() -> None:
    found: dict[str, Counter[str]] = {folder: Counter() for folder in TABLE}
    for path in ALL:
        source, result = golden(path)
        same = Report.of(result, source).headline.startswith("the same experiment")
        refused = bool(model_differences(result))
        found[path.parent.name]["refused" if refused else "same" if same else "points"] += 1
    table = {folder: tuple(counts[kind] for kind in ("same", "points", "refused")) for folder, counts in found.items()}
    assert table == TABLE


#: Parameters of mmaction2's models of these configs.
PARAMETERS = {
    "v0/c3d": 78409573,
    "v0/i3d_nl": 35397840,
    "v0/i3d_r50_heavy": 33024208,
    "v0/ircsn": 13131152,
    "v0/r2plus1d_r34_8x8": 63759281,
    "v0/x3d": 3794322,
    "v1/c2d": 24327632,
    "v1/mvit-small-p244_32": 34537744,
    "v1/slowfast_r50_8xb8-8x8x1-256e": 34565560,
    "v1/slowfast_r101": 62384312,
    "v1/slowonly_r50-in1k-pre-nl": 39808464,
    "v1/tanet": 25127246,
    "v1/timesformer_joint": 86112400,
    "v1/tin": 23895566,
    "v1/tpn-slowonly": 91498336,
    "v1/tpn-tsm": 82445724,
    "v1/trn": 26641154,
    "v1/tsm_imagenet-pretrained-r50-nl": 31218926,
    "v1/uniformer-small": 21400400,
    "v1/uniformerv2": 114552208,
    "v1/vit-base": 86534800,
}


@pytest.mark.parametrize(("part", "parameters"), PARAMETERS.items())
def test_converted_model_has_the_parameters_of_mmaction2(part: str, parameters: int) -> None:
    source, result = golden(named(part))
    values = {key: value for key, value in below(result, "model.").items() if "." not in key and key != "freeze"}
    option = dataclasses.replace(named_option(result.choices["model"]), **values)
    model = meta_model(option, source.config.scalar("model", "cls_head", "num_classes"))
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


VALUES = [
    # (config, key here, value): one place for each of the many small rules
    ("v0/tsm_r50_1x1x8", "data.decoding_backend", "turbojpeg"),
    ("v0/tsm_r50_1x1x8", "data.filename_tmpl", "{:05}.jpg"),
    ("v0/tsm_r50_1x1x8", "optimizer.paramwise.rule", "tsm"),
    ("v0/tsm_r50_1x1x8", "pipeline.test.sample.twice_sample", True),
    ("v0/tsm_r50_dense", "optimizer.paramwise.bias_lr_mult", 2.0),
    ("v0/i3d_nl", "model.non_local", "dot_product"),
    ("v0/i3d_nl", "data.train.drop_last", True),
    ("v0/i3d_nl", "eval.max_views_per_forward", 10),
    ("v0/i3d_nl", "checkpoint.interval", 4),
    ("v0/i3d_nl", "eval.topk", [1, 3]),
    ("v0/i3d_nl", "log.tensorboard", True),
    ("v0/slowonly_r50_4x16", "data.train.class_balance", 0.5),
    ("v0/slowonly_r50_4x16", "model.freeze", ["backbone.conv1", "backbone.layer1", "backbone.layer2"]),
    ("v0/slowonly_r50_4x16", "optimizer.paramwise.custom_keys.head.fc.decay_mult", 0.0),
    ("v0/slowonly_r50_4x16", "grad.accumulate", 4),
    ("v0/slowonly_r50_4x16", "img_norm.to_bgr", True),
    ("v0/slowonly_r50_4x16", "eval.view_reduction", "mean_logit"),
    ("v0/slowfast", "data.start_index", 0),
    ("v0/slowfast", "log.wandb.project", "slowfast"),
    ("v0/r2plus1d_r34_8x8", "amp.loss_scale", 512.0),
    ("v0/r2plus1d_r34_8x8", "optimizer.momentum", 0.0),  # the default of torch
    ("v0/r2plus1d_r34_8x8", "grad.detect_anomalous_params", True),
    ("v0/r2plus1d_r34_8x8", "data.val.data_prefix", "."),  # '' there; null here would be the list's own folder
    ("v0/ircsn", "model.freeze", ["backbone.*.bn"]),
    ("v0/tsn_r50_320p", "data.modality", "Flow"),
    ("v0/tsn_r50_320p", "model.channels", 2),
    ("v0/tsn_r50_320p", "model.stacked", 5),
    ("v0/tsn_r50_320p", "pipeline.train.sample.segments", 3),
    ("v0/tsn_r50_320p", "pipeline.train.sample.segment_len", 5),
    ("v0/tsn_r50_320p", "img_norm.adjust_magnitude", True),
    ("v0/tsn_r101", "data.multi_label", True),
    ("v0/tsn_r101", "eval.metrics", ["mmit_mean_average_precision"]),
    ("v0/tsn_dense161", "model.backbone", "densenet161"),
    ("v0/tsn_dense161", "model.weights.path", "torchvision://densenet161"),
    ("v0/tsn_dense161", "pipeline.train.rescale.scale_range", [256, 320]),
    ("v0/tsn_dense161", "data.flip_label_map", {"4": "5", "86": "87"}),
    ("v0/tsn_dense161", "max_steps", 20000),
    ("v0/tsm_mobilenetv2", "model.backbone", "mobilenet_v2"),
    ("v0/tsm_mobilenetv2", "data.train.data_prefix", "data/frames"),
    ("v0/lr_one_cycle", "lr_policy.max_lr", 0.05),
    ("v1/slowfast_r50_8xb8-8x8x1-256e", "model.fusion_kernel", 7),
    ("v1/slowfast_r50_8xb8-8x8x1-256e", "model.slow_stride", 4),
    ("v1/slowfast_r50_8xb8-8x8x1-256e", "pipeline.test.sample.test_positions", "ends"),
    ("v1/slowfast_r50_8xb8-8x8x1-256e", "checkpoint.max_keep_ckpts", 3),
    ("v1/tsn_imagenet-pretrained-r50", "eval.save_best", "top1_acc"),
    ("v1/tsm_imagenet-pretrained-r50_8", "optimizer.base_batch_size", 128),
    ("v1/tsm_imagenet-pretrained-r50_8", "loss.label_smoothing", 0.1),
    ("v1/tsm_imagenet-pretrained-r50_8", "seed", 7),
    ("v1/tsm_imagenet-pretrained-r50_8", "deterministic", True),
    ("v1/timesformer_div", "eval.start", 6),  # val_begin 4 at an interval of 3: epochs 6, 9, 12, 15
    ("v1/ipcsn", "model.interaction", "preserved"),
    ("v1/ipcsn", "grad.clip.max_value", 0.5),
    ("v1/mvit-small-p244_32", "blending.mixup_alpha", 0.8),
    ("v1/mvit-small-p244_32", "blending.cutmix_alpha", 1.0),
    ("v1/mvit-small-p244_32", "lr_policy.phases.cosine.begin", 30),
    ("v1/mvit-small-p244_32", "optimizer.base_batch_size", 256),
    ("v1/mvit-small-p244_32", "pipeline.train.erase.mode", "uniform"),  # RandAugment's arguments are those of vexp
    ("v1/slowonly_imagenet", "ema.decay", 0.9995),
    ("v1/slowonly_imagenet", "pipeline.train.sample.target_fps", 30),
    ("v1/swin", "pipeline.train.sample.clip_len", 16),
    ("v1/swin", "eval.save_best", "mean_class_accuracy"),
    ("v1/i3d", "img_norm.to_bgr", True),
    ("v1/new", "data.batch_size", 16),
    ("v1/tsn_swin", "model.backbone", "timm/swin_base_patch4_window7_224"),
    ("v1/tsn_swin", "model.weights.path", "timm://swin_base_patch4_window7_224"),
    ("v1/tsn_swin", "dist.find_unused_parameters", True),
    ("v1/tsn_swin", "grad.clip.max_norm", 20.0),  # 40 with losses of twice the weight
    ("v0/r2plus1d_r34_syncbn", "dist.sync_bn", True),
    ("v1/uniformer-small", "pipeline.train.sample.clip_len", 16),  # as in the test, for want of training data
    ("v1/uniformerv2", "optimizer.paramwise.norm_decay_mult", 0.0),
    ("v0/tsm_temporal_pool", "model.temporal_pool", True),
    ("v1/tanet", "model.dropout", 0.6),
    ("v1/tanet", "optimizer.paramwise.rule", "tsm"),
    ("v1/tin", "lr_policy.phases.cosine.begin", 1),
    ("v1/trn", "optimizer.paramwise.fc_lr5", False),
    ("v1/trn", "model.partial_bn", True),
    ("v1/trn", "dist.find_unused_parameters", True),
    ("v1/tpn-tsm", "model.auxiliary_weight", 0.25),
    ("v1/tpn-tsm", "pipeline.test.sample.twice_sample", True),
    ("v1/tsm_imagenet-pretrained-r50-nl", "model.non_local", "dot_product"),
    ("v1/tsm_imagenet-pretrained-mobileone", "model.backbone", "timm/mobileone_s4"),
    ("v1/tsm_imagenet-pretrained-mobileone", "model.weights.prefix", "backbone"),
    ("v1/tsn_imagenet-pretrained-rn101", "model.backbone", "timm/resnext101_32x4d"),
    ("v1/omni", "data.train.batch_sizes", [16, 85]),
    ("v1/omni", "pipeline.train.sample.image_clip_len", 1),
    ("v0/slowonly_r50_omnisource", "data.train.ratio", [2, 1, 1]),
    ("v1/new", "lr_policy.step", [40, 80]),  # counted from begin=10
]


@pytest.mark.parametrize(("part", "key", "value"), VALUES, ids=[f"{part}-{key}" for part, key, _ in VALUES])
def test_converted_value(part: str, key: str, value: Any) -> None:
    assert golden(named(part))[1].values[key].value == value


CHOSEN = [
    ("v1/slowonly_imagenet", "amp", "bf16"),
    ("v1/mvit-small-p244_32", "amp", "fp16"),
    ("v0/i3d_nl", "amp", "fp16"),
    ("v0/tsm_mobilenetv2", "amp", "fp16"),
    ("v0/tsn_r101", "loss", "bce"),
    ("v0/tsn_r101", "eval", "multi_label"),
    ("v0/lr_unknown", "optimizer", "rmsprop"),
    ("v1/slowonly_imagenet", "ema", "average"),
]


@pytest.mark.parametrize(("part", "group", "option"), CHOSEN)
def test_chosen_option(part: str, group: str, option: str) -> None:
    assert golden(named(part))[1].choices[group] == option


PITFALLS = [
    ("v0/tsm_r50_1x1x8", 61, "cudnn_benchmark beside a seed"),
    ("v0/tsm_r50_1x1x8", 59, "milestones .60. lie past the end of 50 epochs"),
    ("v0/tsm_r50_1x1x8", 30, "mirrors clips of a set whose classes tell left from right"),
    ("v0/tsm_r50_1x1x8", 56, r"64 samples a step \(8 GPUs x 8.*this run uses 8. Set dist.nproc=8 "),
    ("v1/tsm_imagenet-pretrained-r50_8", None, "cudnn_benchmark beside deterministic"),
    ("v1/tsn_imagenet-pretrained-r50", None, r"256 samples a step \(auto_scale_lr\); this run uses 32"),
    ("v1/i3d", None, "to_rgb=True swaps the channels of frames that are RGB already"),
    ("v0/c3d", None, "looks like BGR and the model is given RGB"),
    ("v0/slowonly_r50_4x16", None, "trains on in eval mode to the end of the epoch"),
    ("v0/slowonly_r50_4x16", None, "mmcv files each under the epoch"),
    ("v0/slowonly_r50_4x16", None, "label_smooth_eps has no effect in mmaction2 0.x"),
    ("v0/tsn_dense161", None, "a rate by epoch on the iteration runner never moves"),
    ("v0/lr_cosine_restart_short", 3, "periods cover 60 of 100 epochs"),
    ("v0/lr_one_cycle", 3, "optimizer_config=None disables training"),
    ("v0/timesformer", 30, "custom_keys '.backbone.cls_token' matches no parameter"),
    ("v0/x3d", None, "test samples 16 frames, 5 apart, training 8 frames, 8 apart"),
]


@pytest.mark.parametrize(("part", "line", "text"), PITFALLS, ids=[f"{part}-{text[:30]}" for part, _, text in PITFALLS])
def test_pitfall(part: str, line: int | None, text: str) -> None:
    found = [where for where, what in golden(named(part))[1].pitfalls if re.search(text, what)]
    assert len(found) == 1
    assert line is None or found[0].line == line


def test_no_pitfalls_in_correct_config(tmp_path: Path) -> None:
    more = "val = [dict(type='SampleFrames', clip_len=4, frame_interval=2, test_mode=True)]\n"
    more += "data['val']['pipeline'] = val\ndata['videos_per_gpu'] = 8\noptimizer = dict(type='SGD')\n"
    assert convert_source(read(tmp_path / "config.py", SMALL_0 + more)).pitfalls == []


def test_random_frames_in_validation_are_a_pitfall(tmp_path: Path) -> None:
    pitfalls = [what for _, what in convert_source(read(tmp_path / "config.py", SMALL_0)).pitfalls]
    assert any(what.startswith("val: no test_mode: the frames are random") for what in pitfalls)
    test = "pipeline[0]['test_mode'] = True\n"
    pitfalls = [what for _, what in convert_source(read(tmp_path / "config.py", SMALL_0 + test)).pitfalls]
    assert any(what.startswith("train: test_mode=True in training") for what in pitfalls)


REJECTED = [
    ("optimizer = 1\n", r"config.py:1: not a config of mmaction2"),
    ("model = dict(type='FasterRCNN')\n", "config.py:1: FasterRCNN is for detection; only video recognition"),
    ("\nmodel = dict(\n    type='BSN')\n", "config.py:3: BSN is for temporal localization"),
    ("model = dict(type='BMN')\n", "config.py:1: the config has no data"),
    ("model = dict(type='RecognizerGCN')\n", "config.py:1: RecognizerGCN is for graph networks on skeletons"),
    ("model = dict(type='YOLO')\n", "config.py:1: YOLO is not a recognition model of mmaction2"),
    ("model = dict(a=1)\n", "config.py:1: a model without type is not a recognition model"),
    ("model = dict(type='Recognizer3D')\n", "config.py:1: the config has no data"),
    (SMALL_0.replace("VideoDataset", "AVADataset"), r"config.py:8: AVADataset is for detection"),
    (SMALL_0.replace("VideoDataset", "MyDataset"), r"config.py:8: MyDataset is not a dataset of vexp"),
    (SMALL_0.replace("ResNet3dSlowOnly", "MyTSM"), "config.py:4: refused: vexp has no MyTSM .* model=tsm_r50$"),
    (SMALL_0.replace(", pipeline=pipeline", ""), "config.py:8: the train pipeline is missing"),
    (SMALL_1.replace("_dataloader = ", "_other = "), "config.py:1: the config has no data for training"),
]


@pytest.mark.parametrize(("text", "message"), REJECTED, ids=[message for _, message in REJECTED])
def test_convert_rejects(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message) as caught:
        convert_source(read(tmp_path / "config.py", text))
    assert "\n" not in str(caught.value)


def test_refused_value_becomes_placeholder(tmp_path: Path) -> None:
    """A growing rate, which mmcv accepts, is left to the user, and does not become vexp's default."""
    source = read(tmp_path / "config.py", f"{SMALL_0}\nlr_config = dict(policy='exp', gamma=1.5)\n")
    result = imported(source)
    (line,) = (line for line in report_lines(result, source) if line.path == "lr_config.gamma")
    assert (line.status, line.remark) == ("placeholder", "lr_policy.gamma=1.5: must be <= 1")
    assert (result.values["lr_policy.gamma"].value, list(result.needed)) == (FILL_IN, ["lr_policy.gamma"])
    assert result.choices["lr_policy"] == "exp"


@pytest.mark.parametrize(
    "line",
    [
        "pipeline[0]['clip_len'] = 'x'",
        "evaluation = dict(metrics=[3])",
        "checkpoint_config = dict(interval='x')",
        "total_epochs = 'x'\nlr_config = dict(policy='step', step=[3])",
    ],
)
def test_convert_value_of_another_type_raises_no_exception(line: str, tmp_path: Path) -> None:
    assert convert_source(read(tmp_path / "config.py", f"{SMALL_0}\n{line}\n")).choices["model"] == "slowonly_r50"


def test_convert_with_chosen_model(tmp_path: Path) -> None:
    source = read(tmp_path / "config.py", SMALL_0.replace("ResNet3dSlowOnly", "MyNet"))
    assert imported(source, "tsn_r50").choices["model"] == "tsn_r50"


def test_load_from_replaces_init_cfg(tmp_path: Path) -> None:
    """load_from replaces the weights of init_cfg (1.x); vexp would reject both."""
    named = "init_cfg=dict(type='Pretrained', checkpoint='a.pth', prefix='backbone.')"
    config = SMALL_1.replace("depth=50", f"depth=50, {named}")
    values = below(convert_source(read(tmp_path / "config.py", config)), "model.weights.")
    assert values == {"path": "a.pth", "prefix": "backbone"}
    result = imported(read(tmp_path / "config.py", f"{config}\nload_from = 'b.pth'\n"))
    assert result.values["init_from"].value == "b.pth"
    assert "model.weights.path" not in result.values


# --- the tables ------------------------------------------------------------------------------------------------------


def test_tables_name_existing_options() -> None:
    """Every option, key and class in the tables exists."""
    for name, option in OPTIMIZERS.items():
        assert options()["optimizer"][option].torch_name == name
    assert {option for option, _ in POLICIES.values()} == set(options()["lr_policy"]) - {"chain"}
    for option, rules in POLICIES.values():
        fields = {field.name for field in dataclasses.fields(options()["lr_policy"][option])}
        assert {rule.key for rule in rules.values()} <= fields
    for step in STEPS.values():
        fields = {field.name for field in dataclasses.fields(options()["transform"][step.option])}
        keys = {key for rule in step.rules.values() for key in keys_of(rule)}
        assert {key for key in keys if not key.startswith("/")} <= fields
    for family in (*BACKBONES.values(), *WITH_TPN_NECK.values(), *WITH_TRN_HEAD.values()):
        known = defaults_of("model", family.option)
        named = {rule.key for rule in family.rules.values() if isinstance(rule, Map)} | set(family.values)
        assert named <= set(known), family.option
    assert not set(STEPS) & set(NO_STEPS)


def test_defaults_of_matches_composed_config() -> None:
    from vexp.config.instantiate import to_dict

    config = to_dict(compose([]))
    for group in ("optimizer", "lr_policy", "grad", "amp", "ema", "eval", "checkpoint", "log", "img_norm", "blending"):
        assert defaults_of(group) == config[group], group
    assert defaults_of("optimizer", "adamw")["lr"] == 0.003  # of the YAML file, not of the class
    assert defaults_of("checkpoint", "all") == {**defaults_of("checkpoint"), "max_keep_ckpts": -1}
    assert defaults_of("seed") == 0


def test_augmentation_of_1x_is_converted() -> None:
    result = golden(named("v1/mvit-small-p244_32"))[1]
    assert result.steps["train"]["augment"] == "rand_augment"
    assert result.steps["train"]["erase"] == "random_erasing"


@pytest.mark.parametrize(
    ("arguments", "values"),
    [
        ("", {"probability": 0.5, "mode": "const", "mean": [128.0] * 3}),
        (", mode='rand'", {"probability": 0.5, "mode": "uniform", "mean": [128.0] * 3}),
        (", mode='rand', fill_std=None", {"probability": 0.5, "mode": "uniform", "mean": [128.0] * 3}),
        (", fill_std=9, mode='rand'", {"probability": 0.5, "std": [9.0] * 3, "mean": [128.0] * 3}),
    ],
)
def test_random_erasing_has_the_defaults_of_mmaction2(arguments: str, values: dict[str, Any], tmp_path: Path) -> None:
    """Whose largest area is that of vexp, one third."""
    result = convert_source(
        read(tmp_path / "config.py", f"{SMALL_0}pipeline.append(dict(type='RandomErasing'{arguments}))\n")
    )
    assert below(result, "pipeline.train.erase.") == values


@pytest.mark.parametrize("wrong", ["x", True, [None], {"a": 1}], ids=repr)
def test_pitfalls_of_values_of_wrong_type_are_not_reported(wrong: Any) -> None:
    """Composing rejects them; the checks must not fail before that."""
    keys = [
        "epochs", "max_steps", "lr_policy.step", "lr_policy.periods", "eval.start", "checkpoint.interval",
        "img_norm.mean", "grad.accumulate", "data.batch_size", "optimizer.lr",
    ]  # fmt: skip
    for path in (ALL[0], ALL[-1]):
        for by_epoch in (False, True):
            result = dataclasses.replace(
                golden(path)[1], pitfalls=[], choices={**golden(path)[1].choices, "amp": "fp16"}
            )
            flags = dict.fromkeys(["lr_policy.by_epoch", "checkpoint.by_epoch", "eval.by_epoch"], by_epoch)
            result.values = result.values | {
                key: Value(value, None) for key, value in (dict.fromkeys(keys, wrong) | flags).items()
            }
            find_pitfalls(result, path)
            assert not [what for _, what in result.pitfalls if "milestones" in what or "periods" in what]
