"""A key is found by each of its names, and every setting of it is listed."""

from __future__ import annotations

import pytest
from omegaconf import OmegaConf

from vexp.config.compose import FILLED_IN, compose_with_provenance
from vexp.config.keys import config_keys, parts_of, to_yaml_text
from vexp.config.provenance import Provenance
from vexp.config.schema import Config
from vexp.core.errors import ConfigError
from vexp.tools.explain.lookup import find, history, options_with

WORDS = [
    "experiment=r3d_18",
    "debug=step",
    "lr=step",
    "lr.step=[4,8]",
    "lr_policy.warmup_iters=3",
    "optimizer.lr=3e-2",
    "optimizer.paramwise.custom_keys.head.lr_mult=10",
    "~pipeline.train.flip",
    "data.classes='a b.txt'",
    "sweep=by_time",
]


@pytest.fixture(scope="module")
def traced() -> tuple[Config, Provenance]:
    return compose_with_provenance(WORDS)


def of_every_split(key: str) -> str:
    """The key of all three pipelines, as the table writes several keys."""
    return " ".join(f"pipeline.{split}.{key}" for split in ("train", "val", "test"))


#: (names, what they mean): every variable of the text that vexp was built from, under its name there
TABLE = [
    # names of vexp: complete, by the second name of the group, by the end of the path
    (
        "lr_policy.warmup_iters lr.warmup_iters warmup_iters lr_config.warmup_iters SOLVER.WARMUP_EPOCHS",
        "lr_policy.warmup_iters",
    ),
    (
        "pipeline.train.crop.area_range RandomResizedCrop.area_range DATA.TRAIN_JITTER_SCALES_RELATIVE",
        "pipeline.train.crop.area_range",
    ),
    ("img_norm.mean[1] img_norm.mean.1 img_norm_cfg.mean", "img_norm.mean"),
    # evaluation, checkpoint_config, log_config
    ("evaluation eval", "eval/"),
    ("evaluation.start train_cfg.val_begin", "eval.start"),
    ("evaluation.interval train_cfg.val_interval", "eval.interval"),
    ("evaluation.by_epoch", "eval.by_epoch"),
    ("evaluation.save_best save_best", "eval.save_best"),
    ("evaluation.rule", "eval.rule"),
    ("evaluation.metrics", "eval.metrics"),
    ("checkpoint_config", "checkpoint/"),
    ("checkpoint_config.interval", "checkpoint.interval"),
    ("checkpoint_config.by_epoch", "checkpoint.by_epoch"),
    ("checkpoint_config.save_optimizer", "checkpoint.save_optimizer"),
    ("checkpoint_config.out_dir", "checkpoint.out_dir"),
    ("checkpoint_config.max_keep_ckpts max_keep_ckpts", "checkpoint.max_keep_ckpts"),
    ("log_config", "log/"),
    ("log_config.interval default_hooks.logger.interval", "log.interval"),
    ("log_config.ignore_last", "log.ignore_last"),
    ("log_config.reset_flag", "log.reset_flag"),
    ("log_config.by_epoch", "log.by_epoch"),
    ("TensorboardLoggerHook", "log.tensorboard"),
    # img_norm_cfg, color order, layout
    ("img_norm_cfg DataPreprocessor", "img_norm/"),
    ("img_norm_cfg.std", "img_norm.std"),
    ("img_norm_cfg.to_bgr to_rgb bgr_to_rgb", "img_norm.to_bgr"),
    ("img_norm_cfg.adjust_magnitude", "img_norm.adjust_magnitude"),
    ("FormatShape format_shape", "no key"),
    # optimizer, optimizer_config, fp16
    ("optimizer.type", "optimizer/"),
    ("optimizer.momentum", "optimizer.momentum"),
    ("optimizer.weight_decay", "optimizer.weight_decay"),
    ("paramwise_cfg", "optimizer.paramwise/"),
    ("custom_keys paramwise_cfg.custom_keys", "optimizer.paramwise.custom_keys/"),
    ("optimizer_config", "grad/"),
    ("optimizer_config.grad_clip grad_clip", "grad.clip/"),
    ("optimizer_config.grad_clip.max_norm", "grad.clip.max_norm"),
    ("norm_type", "grad.clip.norm_type"),
    ("detect_anomalous_params", "grad.detect_anomalous_params"),
    ("fp16", "amp/"),
    # pipelines: steps of this run, and steps that it does not use
    ("train_pipeline data.train.pipeline", "pipeline.train/"),
    ("RandomResizedCrop.aspect_ratio_range", "pipeline.train.crop.aspect_ratio_range"),
    ("RandomResizedCrop.lazy", "pipeline.lazy"),
    ("RandomRescale.scale_range RandomShortSideScale.scale_range", "transform.scale_range"),
    ("RandomRescale.interpolation", "transform.interpolation"),
    ("RandomCrop.size", "transform.size"),
    ("ThreeCrop.crop_size TenCrop.crop_size", "transform.crop_size"),
    ("SampleFrames.clip_len DATA.NUM_FRAMES", of_every_split("sample.clip_len")),
    ("SampleFrames.frame_interval", of_every_split("sample.frame_interval")),
    ("SampleFrames.num_clips", of_every_split("sample.num_clips")),
    ("SampleFrames.temporal_jitter", of_every_split("sample.temporal_jitter")),
    ("SampleFrames.twice_sample", of_every_split("sample.twice_sample")),
    ("SampleFrames.out_of_bound_opt", of_every_split("sample.out_of_bound_opt")),
    ("SampleFrames.test_mode", of_every_split("sample.test_mode")),
    ("SampleFrames.keep_tail_frames", of_every_split("sample.keep_tail_frames")),
    ("SampleFrames.start_index", "data.start_index"),
    ("DenseSampleFrames.sample_range", "transform.sample_range"),
    ("RawFrameDecode.decoding_backend decoding_backend", "data.decoding_backend"),
    # lr_config
    ("lr_config lr_config.policy lr", "lr_policy/"),
    ("lr_config.step", "lr_policy.step"),
    ("lr_config.gamma", "lr_policy.gamma"),
    ("lr_config.min_lr", "lr_policy.min_lr"),
    ("lr_config.min_lr_ratio", "lr_policy.min_lr_ratio"),
    ("lr_config.periods periods", "lr_policy.periods"),
    ("lr_config.restart_weights", "lr_policy.restart_weights"),
    ("lr_config.by_epoch", "lr_policy.by_epoch"),
    ("lr_config.warmup", "lr_policy.warmup"),
    ("lr_config.warmup_ratio", "lr_policy.warmup_ratio"),
    ("lr_config.warmup_by_epoch", "lr_policy.warmup_by_epoch"),
    # seeds, weights, folders, debugging
    ("--seed seed", "seed"),
    ("--deterministic", "deterministic"),
    ("torch.backends.cudnn.benchmark", "cudnn_benchmark"),
    ("train_dataloader.shuffle", "data.train.shuffle"),
    ("videos_per_gpu data.videos_per_gpu", "data.batch_size"),
    ("load_checkpoint _load_checkpoint load_state_dict", "model.weights/"),
    ("_load_checkpoint_with_prefix", "model.weights.prefix"),
    ("initialize init_cfg", "model.init"),
    ("init_cfg.checkpoint", "model.weights.path"),
    ("work_dir", "run_name out_root"),
    ("load_from", "init_from"),
    ("resume_from --resume-from", "resume"),
    ("train_dataloader.dataset.indices", "data.train.indices"),
    ("val_dataloader.dataset.indices", "data.val.indices"),
]


@pytest.mark.parametrize(("names", "meant"), TABLE, ids=[names.split()[0] for names, _ in TABLE])
def test_find_by_any_name_returns_the_key(names: str, meant: str, traced: tuple[Config, Provenance]) -> None:
    for name in names.split():
        found = find(name, traced[0])
        paths = [key.path for key, _ in found.entries] or [key.path for key in found.unused]
        if meant == "no key":
            assert found.note, name
        elif meant.endswith("/"):
            assert found.group == meant[:-1], name
            assert all(path.startswith(found.group + ".") for path in paths)
        else:
            assert set(paths) >= set(meant.split()), name
            assert len(set(paths)) <= max(3, len(meant.split())), name


def test_find_entry_of_list_or_dict_returns_its_value(traced: tuple[Config, Provenance]) -> None:
    assert find("img_norm.mean[1]", traced[0]).entries[0][1] == 116.28
    assert find("data.flip_label_map.left", traced[0]).entries[0][1] == "right"
    with pytest.raises(ConfigError, match=r"img_norm.mean\[7\]: there is no 7 in \[123.675,"):
        find("img_norm.mean[7]", traced[0])


def test_find_misspelt_name_suggests_the_nearest_key(traced: tuple[Config, Provenance]) -> None:
    for typed, meant in (("warmup_itres", "lr_policy.warmup_iters"), ("evaluation.intervall", "eval.interval")):
        with pytest.raises(ConfigError, match=f"{typed}: no such key.*did you mean .*{meant}"):
            find(typed, traced[0])


def test_find_key_of_unchosen_option_returns_it_as_unused(traced: tuple[Config, Provenance]) -> None:
    (power, other) = find("lr_policy.power", traced[0]).unused
    assert (options_with(power), options_with(other)) == (["lr_policy=poly"], ["lr_policy=inv"])
    assert {key.path for key in find("three_crop", traced[0]).unused} == {"transform.crop_size"}


def test_history_lists_every_setting_strongest_first(traced: tuple[Config, Provenance]) -> None:
    """Default, option, experiment, debug=step over debug=fast that it is built on, command line."""
    config, provenance = traced
    steps = {
        key.path: [(setting.text, setting.where.rpartition("/")[2].partition(":")[0]) for setting in
                   history(key, value, provenance)]
        for key, value in config_keys(config)
        if not parts_of(value)
    }  # fmt: skip
    assert steps["optimizer.lr"] == [
        ("3e-2", "command line"),
        ("0.01", "r3d_18.yaml"),
        ("0.1", "optimizers.py"),
    ]
    assert steps["data.batch_size"] == [("1", "step.yaml"), ("4", "fast.yaml"), ("8", "config.py")]
    assert steps["lr_policy.warmup_iters"][:2] == [("3", "command line"), ("10", "r3d_18.yaml")]
    assert steps["pipeline.test.sample.clip_len"] == [("16", "clip_16x4_112.yaml")]  # must be given: no default
    filled = next(history(key, value, provenance) for key, value in config_keys(config) if key.path == "sweep.name")
    assert (filled[0].text, filled[0].where) == ("null", FILLED_IN["sweep.name"])  # by_time.yaml sets the time
    assert [setting.text for setting in provenance.chosen("lr_policy")] == ["cosine", "cosine", "step"]


def test_history_begins_with_the_value(traced: tuple[Config, Provenance]) -> None:
    """The first entry of every key is its value, so files and overrides are in the order in which they are merged."""
    config, provenance = traced
    for key, value in config_keys(config):
        if not parts_of(value):
            text = history(key, value, provenance)[0].text
            read = OmegaConf.to_container(OmegaConf.create(f"value: {text}"))
            assert read == {"value": value} or text == to_yaml_text(value), f"{key.path}: {text}"
