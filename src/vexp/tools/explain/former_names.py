"""Names of keys in mmaction2 0.x, mmaction2 1.x and SlowFast.

The names in mmaction2 are those that ``vexp import`` converts, so most of them are derived from its rules; only names
that it does not convert are written out. A key is a dotted path, or ``Class.field`` for an argument of a transform.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from vexp.config.keys import Key, all_keys
from vexp.config.options import options
from vexp.tools.mmaction2 import hooks, models, optimizers, pipelines, runtime
from vexp.tools.mmaction2.backbones import BACKBONES
from vexp.tools.mmaction2.datasets import SPLIT, loader_rules
from vexp.tools.mmaction2.initial_weights import PRETRAINED
from vexp.tools.mmaction2.lr_config import POLICIES
from vexp.tools.mmaction2.param_schedulers import ALONE, PHASES
from vexp.tools.mmaction2.rules import Map, Rule, keys_of
from vexp.tools.mmaction2.tables import arguments, same


class Names(NamedTuple):
    """Names in each program; empty if it has no such setting, several are separated by commas."""

    mmaction2_0x: str = ""
    mmaction2_1x: str = ""
    slowfast: str = ""


#: Titles of the columns.
PROGRAMS = Names("mmaction2 0.x", "mmaction2 1.x", "SlowFast")

#: Names in mmaction2 that ``vexp import`` does not convert by a rule; a bar separates those of 0.x and 1.x.
WRITTEN_OUT = {
    "seed": "--seed |", "deterministic": "--deterministic |", "diff_rank_seed": "--diff-seed |",
    "device": "--gpu-ids |",
    "dist.nproc": "--gpus |", "out_root": "--work-dir", "run_name": "--work-dir", "resume": "--resume-from | --resume",
    "plugins": "custom_imports", "backend.compile": "| --compile, compile",
    "cudnn_benchmark": "torch.backends.cudnn.benchmark |",
    "data": "dataset_type", "data.decoding_backend": "DecordDecode, OpenCVDecode, PyAVDecode",
    "data.start_index": "SampleFrames.start_index |", "data.train.class_balance": "data.train.power |",
    "data.train.ann_file": "ann_file_train |", "data.val.ann_file": "ann_file_val |",
    "data.test.ann_file": "ann_file_test |", "data.train.data_prefix": "data_root",
    "data.val.data_prefix": "data_root_val |", "data.test.data_prefix": "data_root_test |",
    **{f"pipeline.{split}": f"{split}_pipeline, data.{split}.pipeline | "
       f"{split}_pipeline, {split}_dataloader.dataset.pipeline" for split in ("train", "val", "test")},
    "pipeline.lazy": "Fuse | Fuse, lazy",
    "RandomRescale.scale_range": "RandomShortSideScale.scale_range",
    "RandomRescale.interpolation": "RandomShortSideScale.interpolation",
    "img_norm": "Normalize | ActionDataPreprocessor, DataPreprocessor",
    "img_norm.to_bgr": "| data_preprocessor.bgr_to_rgb",
    "blending": "train_cfg.blending, MixupBlending, CutmixBlending | data_preprocessor.blending",
    "model": "model", "model.init": "init_cfg, initialize", "model.drop_path": "| model.backbone.drop_path_rate",
    "model.weights": "load_checkpoint, _load_checkpoint, load_state_dict | load_checkpoint, load_state_dict",
    "model.weights.path": "load_checkpoint.filename |", "model.weights.rename": "load_checkpoint.revise_keys",
    "model.weights.prefix": "_load_checkpoint_with_prefix |",
    "model.weights.strict": "load_state_dict.strict, load_checkpoint.strict | load_state_dict.strict",
    "loss": "model.cls_head.loss_cls", "optimizer": "optimizer.type |",
    "optimizer.base_batch_size": "| auto_scale_lr.base_batch_size",
    "optimizer.paramwise.rule": "optimizer.constructor | optim_wrapper.constructor",
    "optimizer.paramwise.layer_decay": "| optim_wrapper.paramwise_cfg.decay_rate",
    "optimizer.paramwise.fc_lr5": "optimizer.paramwise_cfg.fc_lr5 | optim_wrapper.paramwise_cfg.fc_lr5",
    "lr_policy": "lr_config.policy | param_scheduler",
    "lr_policy.by_epoch": "| param_scheduler.by_epoch, param_scheduler.convert_to_iter_based",
    "lr_policy.warmup": "| param_scheduler[LinearLR, ConstantLR]",
    "lr_policy.warmup_iters": "| param_scheduler[LinearLR].end",
    "lr_policy.warmup_ratio": "| param_scheduler[LinearLR].start_factor",
    "lr_policy.warmup_by_epoch": "| param_scheduler[LinearLR].by_epoch",
    "lr_policy.step": "| param_scheduler[MultiStepLR].milestones", "lr_policy.power": "| param_scheduler[PolyLR].power",
    "lr_policy.gamma": "| param_scheduler[MultiStepLR, ExponentialLR].gamma",
    "lr_policy.min_lr": "| param_scheduler[CosineAnnealingLR].eta_min",
    "lr_policy.min_lr_ratio": "| param_scheduler[CosineAnnealingLR].eta_min_ratio",
    "lr_policy.max_lr": "| param_scheduler[OneCycleLR].max_lr",
    "lr_policy.phases": "| param_scheduler", "lr_policy.phases.NAME.shape": "| param_scheduler.type",
    "lr_policy.phases.NAME.every_step": "| param_scheduler.convert_to_iter_based",
    **{f"lr_policy.phases.NAME.{name}": f"| param_scheduler.{name}" for name in ("begin", "end", "by_epoch")},
    "grad.detect_anomalous_params": "| model_wrapper_cfg.detect_anomalous_params",
    "amp": "fp16 | --amp, AmpOptimWrapper", "amp.dtype": "fp16 | --amp", "ema": "custom_hooks[EMAHook]",
    "eval": "| val_cfg, val_evaluator", "eval.by_epoch": "| train_cfg.by_epoch",
    "eval.topk": "evaluation.metric_options.top_k_accuracy.topk | val_evaluator.metric_options",
    "eval.patience": "| custom_hooks[EarlyStoppingHook].patience",
    "log.by_epoch": "| log_processor.by_epoch", "log.reset_flag": "| log_processor.window_size",
    "log.tensorboard": "log_config.hooks[TensorboardLoggerHook] | vis_backends[TensorboardVisBackend]",
    "log.wandb": "log_config.hooks[WandbLoggerHook] | vis_backends[WandbVisBackend]",
}  # fmt: skip
#: Names in SlowFast.
SLOWFAST = {
    "data": "TRAIN.DATASET", "img_norm.mean": "DATA.MEAN", "img_norm.std": "DATA.STD",
    "img_norm.to_bgr": "DATA.REVERSE_INPUT_CHANNEL", "blending": "MIXUP", "blending.mixup_alpha": "MIXUP.ALPHA",
    "data.train.repeat_augment": "AUG.NUM_SAMPLE", "RandAugment.magnitude": "AUG.AA_TYPE",
    "RandAugment.num_layers": "AUG.AA_TYPE", "RandomErasing.probability": "AUG.RE_PROB",
    "RandomErasing.mode": "AUG.RE_MODE", "RandomErasing.max_count": "AUG.RE_COUNT",
    "blending.cutmix_alpha": "MIXUP.CUTMIX_ALPHA", "blending.probability": "MIXUP.PROB", "model": "MODEL.MODEL_NAME",
    "loss": "MODEL.LOSS_FUNC", "optimizer": "SOLVER.OPTIMIZING_METHOD", "lr_policy": "SOLVER.LR_POLICY",
    "grad.clip.max_norm": "SOLVER.CLIP_GRAD_L2NORM", "grad.clip.max_value": "SOLVER.CLIP_GRAD_VAL",
    "amp": "TRAIN.MIXED_PRECISION", "amp.dtype": "TRAIN.MIXED_PRECISION", "eval.interval": "TRAIN.EVAL_PERIOD",
    "eval.view_reduction": "DATA.ENSEMBLE_METHOD", "checkpoint.interval": "TRAIN.CHECKPOINT_PERIOD",
    "log.interval": "LOG_PERIOD", "log.tensorboard": "TENSORBOARD.ENABLE", "dist.nproc": "NUM_GPUS",
    "epochs": "SOLVER.MAX_EPOCH", "seed": "RNG_SEED", "device": "NUM_GPUS", "run_name": "OUTPUT_DIR",
    "out_root": "OUTPUT_DIR", "resume": "TRAIN.AUTO_RESUME", "init_from": "TRAIN.CHECKPOINT_FILE_PATH",
    "data.batch_size": "TRAIN.BATCH_SIZE", "data.eval_batch_size": "TEST.BATCH_SIZE",
    "data.num_workers": "DATA_LOADER.NUM_WORKERS", "data.decoding_backend": "DATA.DECODING_BACKEND",
    "data.train.data_prefix": "DATA.PATH_PREFIX", "data.separator": "DATA.PATH_LABEL_SEPARATOR",
    "data.multi_label": "DATA.MULTI_LABEL", "SampleFrames.clip_len": "DATA.NUM_FRAMES",
    "SampleFrames.frame_interval": "DATA.SAMPLING_RATE", "SampleFrames.num_clips": "TEST.NUM_ENSEMBLE_VIEWS",
    "SampleFrames.target_fps": "DATA.TARGET_FPS", "SampleFrames.frame_uniform": "DATA.USE_OFFSET_SAMPLING",
    "RandomRescale.scale_range": "DATA.TRAIN_JITTER_SCALES",
    "RandomResizedCrop.area_range": "DATA.TRAIN_JITTER_SCALES_RELATIVE",
    "RandomResizedCrop.aspect_ratio_range": "DATA.TRAIN_JITTER_ASPECT_RELATIVE",
    "RandomCrop.size": "DATA.TRAIN_CROP_SIZE", "CenterCrop.crop_size": "DATA.TEST_CROP_SIZE",
    "ThreeCrop.crop_size": "DATA.TEST_CROP_SIZE, TEST.NUM_SPATIAL_CROPS", "Flip.flip_ratio": "DATA.RANDOM_FLIP",
    "model.weights.path": "TRAIN.CHECKPOINT_FILE_PATH", "model.dropout": "MODEL.DROPOUT_RATE",
    "model.init_std": "MODEL.FC_INIT_STD", "model.depth": "RESNET.DEPTH",
    "model.zero_init_residual": "RESNET.ZERO_INIT_FINAL_BN", "model.alpha": "SLOWFAST.ALPHA",
    "model.beta_inverse": "SLOWFAST.BETA_INV", "model.fusion_kernel": "SLOWFAST.FUSION_KERNEL_SZ",
    "model.drop_path": "MVIT.DROPPATH_RATE", "loss.label_smoothing": "MIXUP.LABEL_SMOOTH_VALUE",
    "optimizer.lr": "SOLVER.BASE_LR", "optimizer.base_batch_size": "SOLVER.BASE_LR_SCALE_NUM_SHARDS",
    "optimizer.paramwise.norm_decay_mult": "BN.WEIGHT_DECAY", "optimizer.paramwise.layer_decay": "SOLVER.LAYER_DECAY",
    "optimizer.momentum": "SOLVER.MOMENTUM", "optimizer.dampening": "SOLVER.DAMPENING",
    "optimizer.weight_decay": "SOLVER.WEIGHT_DECAY", "optimizer.nesterov": "SOLVER.NESTEROV",
    "optimizer.betas": "SOLVER.BETAS", "lr_policy.warmup_iters": "SOLVER.WARMUP_EPOCHS",
    "lr_policy.warmup_ratio": "SOLVER.WARMUP_START_LR", "lr_policy.step": "SOLVER.STEPS",
    "lr_policy.gamma": "SOLVER.GAMMA", "lr_policy.min_lr": "SOLVER.COSINE_END_LR",
}  # fmt: skip
#: Names without a key in vexp -> what vexp does instead.
ELSEWHERE = {
    "FormatShape": "clips are converted on the device, always to float (N, C, T, H, W); there is nothing to set",
    "format_shape": "clips are converted on the device, always to float (N, C, T, H, W); there is nothing to set",
    "Collect": "the content of a batch is fixed: clips and labels",
    "ToTensor": "the content of a batch is fixed: clips and labels, tensors on the device",
    "DecordInit": "data.decoding_backend=decord; opening and decoding are not transforms",
    "debug": "a group: debug=fast, debug=overfit, debug=step (vexp train debug=step)",
    "experiment": "a group of complete configurations: experiment=r3d_18",
    "workflow": "the eval group schedules evaluations: vexp explain eval",
    "validate": "training evaluates unless eval=never",
    "dist_params": "the dist group: vexp explain dist",
}


def _tables() -> Iterator[tuple[Mapping[str, Rule], str, str | None, str | None]]:
    """Yield the rules of the importer, the prefix of their keys, and those of their arguments in 0.x and 1.x."""
    yield runtime.ROOT_0X, "", "", None
    yield runtime.ROOT_1X, "", None, ""
    yield runtime.RUNNER.rules, "", "runner.", "train_cfg."
    train, val = loader_rules("train"), loader_rules("val")
    yield {name: train[name] for name in ("videos_per_gpu", "workers_per_gpu")}, "", "data.", None
    yield train, "", "data.train_dataloader.", "train_dataloader."
    yield val, "", "data.val_dataloader.", "val_dataloader."
    own = {name: rule for name, rule in SPLIT.items() if not any(key.startswith("/") for key in keys_of(rule))}
    for split, rules in (("train", SPLIT), ("val", own), ("test", own)):
        yield rules, f"data.{split}.", f"data.{split}.", f"{split}_dataloader.dataset."
    for name, step in pipelines.STEPS.items():
        rules = {**step.rules, **({"lazy": Map("/pipeline.lazy")} if "lazy" in step.rules else {})}
        yield rules, f"{options()['transform'][step.option].__name__}.", f"{name}.", f"{name}."
    yield pipelines.SEGMENTS, "SegmentFrames.", "SampleFrames.", "SampleFrames."
    yield pipelines.DECODING, "", "RawFrameDecode.", "RawFrameDecode."
    yield models.NORMALIZE, "img_norm.", "img_norm_cfg.", None
    yield models.PREPROCESSOR, "img_norm.", None, "data_preprocessor."
    yield {f"{name}.alpha": Map(f"blending.{key}") for name, key in models.BLENDINGS.items()}, "", "", ""
    yield models.MODEL, "model.", "model.", "model."
    for family in BACKBONES.values():
        yield family.rules, "model.", "model.backbone.", "model.backbone."
    yield models.HEAD, "model.", "model.cls_head.", "model.cls_head."
    yield models.LOSS, "loss.", "loss_cls.", "loss_cls."
    yield PRETRAINED, "model.", "init_cfg.", "init_cfg."
    torch_arguments = {key.name for key in all_keys() if key.path == f"optimizer.{key.name}"} - optimizers.OWN_ARGUMENTS
    yield same(" ".join(sorted(torch_arguments))), "optimizer.", "optimizer.", "optim_wrapper.optimizer."
    yield optimizers.GROUPS.rules, "optimizer.paramwise.", "optimizer.paramwise_cfg.", "optim_wrapper.paramwise_cfg."
    yield optimizers.OPTIMIZER_CONFIG, "grad.", "optimizer_config.", None
    yield {"loss_scale": optimizers.OPTIMIZER_CONFIG["loss_scale"]}, "", "fp16.", None
    yield optimizers.OPTIM_WRAPPER, "grad.", None, "optim_wrapper."
    for _, rules in POLICIES.values():
        yield rules, "lr_policy.", "lr_config.", None
    for kind, (_, rules) in ALONE.items():
        own = {name: rule for name, rule in rules.items() if not name.startswith("eta_min")}
        yield own, "lr_policy.", None, f"param_scheduler[{kind}]."
    for kind, (_, keys) in PHASES.items():
        phase = {name: Map(key) for name, key in keys.items()}
        yield phase, "lr_policy.phases.NAME.", None, f"param_scheduler[{kind}]."
    yield hooks.EVALUATION, "eval.", "evaluation.", None
    yield hooks.EVALUATOR, "", None, "val_evaluator."
    yield hooks.CHECKPOINT, "checkpoint.", "checkpoint_config.", "default_hooks.checkpoint."
    yield hooks.LOG_CONFIG, "log.", "log_config.", None
    yield hooks.LOGGER_HOOK, "log.", None, "default_hooks.logger."
    yield hooks.EMA_HOOK, "ema.", "custom_hooks[EMAHook].", "custom_hooks[EMAHook]."


@functools.cache
def _former_names() -> dict[str, Names]:
    """Return the names of every key that has any."""
    known = {name for key in all_keys() for name in (key.path, f"{key.owner.__name__}.{key.name}")}
    columns: tuple[dict[str, list[str]], dict[str, list[str]]] = ({}, {})
    for rules, prefix, *above in _tables():
        for column, start in zip(columns, above, strict=True):
            if start and "[" not in start and prefix.partition(".")[0] not in ("", "data", "model"):  # the group itself
                column.setdefault(prefix[:-1], []).append(start[:-1])
            if start is not None:
                for name, key in arguments(rules, prefix):
                    column.setdefault(key, []).append(start + name)
    for key, text in WRITTEN_OUT.items():
        old, bar, new = text.partition("|")
        for column, names in zip(columns, (old.strip(), new.strip() if bar else old), strict=True):
            column.setdefault(key, []).extend([names] if names else [])
    keys = known & {*columns[0], *columns[1], *SLOWFAST}
    joined = ({key: ", ".join(dict.fromkeys(names)) for key, names in column.items()} for column in columns)
    tables = (*joined, SLOWFAST)
    return {key: Names(*(table.get(key, "") for table in tables)) for key in keys}


def former_names(key: Key) -> Names:
    """Return the former names of a key; empty names if it is new."""
    table = _former_names()
    return table.get(f"{key.owner.__name__}.{key.name}") or table.get(key.path) or Names()


@functools.cache
def all_names(key: Key) -> tuple[str, ...]:
    """Return each former name of a key, and the classes in brackets, in the form of ``strip_prefix``."""
    listed = [name for names in former_names(key) if names for name in re.split(r",\s+(?![^\[]*\])", names)]
    classes = [name for text in listed for part in re.findall(r"\[([^\]]*)\]", text) for name in part.split(", ")]
    return tuple(strip_prefix(name) for name in (*listed, *classes))


def strip_prefix(name: str) -> str:
    """Return a name in lower case, without leading dashes and without text in brackets."""
    return re.sub(r"\[[^\]]*\]", "", name).lstrip("-").replace("-", "_").lower()
