"""Names of keys in mmaction2 0.x, mmaction2 1.x and SlowFast.

The table is indexed by the dotted path of a key, or by ``Class.field`` for the arguments of transforms. Transforms have
the class and argument names of both versions of mmaction2.
"""

from __future__ import annotations

import functools
import re
from typing import NamedTuple

from vexp.config.keys import Key


class Names(NamedTuple):
    """Names in each program; empty if it has no such setting, several are separated by commas."""

    mmaction2_0x: str = ""
    mmaction2_1x: str = ""
    slowfast: str = ""


#: Titles of the columns.
PROGRAMS = Names("mmaction2 0.x", "mmaction2 1.x", "SlowFast")

_SCHEDULER, _OPTIM = "param_scheduler", "optim_wrapper"
_LOADER = "train_dataloader"

FORMER_NAMES: dict[str, Names] = {
    # length, seeds, folders
    "epochs": Names("total_epochs", "train_cfg.max_epochs", "SOLVER.MAX_EPOCH"),
    "max_steps": Names("max_iters", "train_cfg.max_iters"),
    "seed": Names("--seed", "randomness.seed", "RNG_SEED"),
    "deterministic": Names("--deterministic", "randomness.deterministic"),
    "diff_rank_seed": Names("--diff-seed", "randomness.diff_rank_seed"),
    "cudnn_benchmark": Names("cudnn_benchmark, torch.backends.cudnn.benchmark", "env_cfg.cudnn_benchmark"),
    "device": Names("--gpu-ids", "", "NUM_GPUS"),
    "out_root": Names("work_dir, --work-dir", "work_dir, --work-dir", "OUTPUT_DIR"),
    "run_name": Names("work_dir, --work-dir", "work_dir, --work-dir", "OUTPUT_DIR"),
    "resume": Names("resume_from, --resume-from", "resume, --resume", "TRAIN.AUTO_RESUME"),
    "init_from": Names("load_from", "load_from", "TRAIN.CHECKPOINT_FILE_PATH"),
    "plugins": Names("custom_imports", "custom_imports"),
    "dist.nproc": Names("--gpus", "", "NUM_GPUS"),
    # data
    "data": Names("dataset_type", "dataset_type", "TRAIN.DATASET"),
    "data.batch_size": Names("data.videos_per_gpu", f"{_LOADER}.batch_size", "TRAIN.BATCH_SIZE"),
    "data.eval_batch_size": Names(
        "data.val_dataloader.videos_per_gpu", "val_dataloader.batch_size", "TEST.BATCH_SIZE"
    ),
    "data.num_workers": Names("data.workers_per_gpu", f"{_LOADER}.num_workers", "DATA_LOADER.NUM_WORKERS"),
    "data.decoding_backend": Names(
        "RawFrameDecode.decoding_backend, DecordDecode, OpenCVDecode, PyAVDecode",
        "RawFrameDecode.decoding_backend, DecordDecode, OpenCVDecode, PyAVDecode",
        "DATA.DECODING_BACKEND",
    ),
    "data.multi_label": Names("data.train.multi_class", f"{_LOADER}.dataset.multi_class", "DATA.MULTI_LABEL"),
    "data.separator": Names("", f"{_LOADER}.dataset.delimiter", "DATA.PATH_LABEL_SEPARATOR"),
    "data.flip_label_map": Names("Flip.flip_label_map", "Flip.flip_label_map"),
    "data.modality": Names("data.train.modality", f"{_LOADER}.dataset.modality"),
    "data.filename_tmpl": Names("data.train.filename_tmpl", f"{_LOADER}.dataset.filename_tmpl"),
    "data.start_index": Names("data.train.start_index, SampleFrames.start_index", f"{_LOADER}.dataset.start_index"),
    "data.with_offset": Names("data.train.with_offset", f"{_LOADER}.dataset.with_offset"),
    "data.train.ann_file": Names("ann_file_train, data.train.ann_file", f"{_LOADER}.dataset.ann_file"),
    "data.val.ann_file": Names("ann_file_val, data.val.ann_file", "val_dataloader.dataset.ann_file"),
    "data.test.ann_file": Names("ann_file_test, data.test.ann_file", "test_dataloader.dataset.ann_file"),
    "data.train.data_prefix": Names(
        "data_root, data.train.data_prefix", f"data_root, {_LOADER}.dataset.data_prefix", "DATA.PATH_PREFIX"
    ),
    "data.val.data_prefix": Names("data_root_val, data.val.data_prefix", "val_dataloader.dataset.data_prefix"),
    "data.test.data_prefix": Names("data_root_test, data.test.data_prefix", "test_dataloader.dataset.data_prefix"),
    "data.train.indices": Names("", f"{_LOADER}.dataset.indices"),
    "data.val.indices": Names("", "val_dataloader.dataset.indices"),
    "data.train.shuffle": Names("data.train_dataloader.shuffle", f"{_LOADER}.sampler.shuffle, {_LOADER}.shuffle"),
    "data.train.drop_last": Names("data.train_dataloader.drop_last", f"{_LOADER}.drop_last"),
    "data.train.class_balance": Names("data.train.power, data.train.sample_by_class"),
    # pipelines
    "pipeline.lazy": Names("RandomResizedCrop.lazy, Resize.lazy, RandomCrop.lazy, Flip.lazy, Fuse", "lazy, Fuse"),
    "pipeline.train": Names("train_pipeline, data.train.pipeline", f"train_pipeline, {_LOADER}.dataset.pipeline"),
    "pipeline.val": Names("val_pipeline, data.val.pipeline", "val_pipeline, val_dataloader.dataset.pipeline"),
    "pipeline.test": Names("test_pipeline, data.test.pipeline", "test_pipeline, test_dataloader.dataset.pipeline"),
    "img_norm": Names("img_norm_cfg, Normalize", "data_preprocessor, ActionDataPreprocessor, DataPreprocessor"),
    "img_norm.mean": Names("img_norm_cfg.mean", "data_preprocessor.mean", "DATA.MEAN"),
    "img_norm.std": Names("img_norm_cfg.std", "data_preprocessor.std", "DATA.STD"),
    "img_norm.to_bgr": Names(
        "img_norm_cfg.to_bgr", "data_preprocessor.to_rgb, data_preprocessor.bgr_to_rgb", "DATA.REVERSE_INPUT_CHANNEL"
    ),
    "img_norm.adjust_magnitude": Names("img_norm_cfg.adjust_magnitude"),
    "blending": Names("train_cfg.blending, MixupBlending, CutmixBlending", "data_preprocessor.blending", "MIXUP"),
    "blending.mixup_alpha": Names("MixupBlending.alpha", "MixupBlending.alpha", "MIXUP.ALPHA"),
    "blending.cutmix_alpha": Names("CutmixBlending.alpha", "CutmixBlending.alpha", "MIXUP.CUTMIX_ALPHA"),
    "blending.probability": Names("", "", "MIXUP.PROB"),
    # model, weights, loss
    "model": Names("model", "model", "MODEL.MODEL_NAME"),
    "model.init": Names("init_cfg, initialize", "init_cfg, initialize"),
    "model.weights": Names("load_checkpoint, _load_checkpoint, load_state_dict", "load_checkpoint, load_state_dict"),
    "model.weights.path": Names(
        "model.backbone.pretrained, load_checkpoint.filename, init_cfg.checkpoint", "init_cfg.checkpoint",
        "TRAIN.CHECKPOINT_FILE_PATH",
    ),
    "model.weights.prefix": Names("_load_checkpoint_with_prefix, init_cfg.prefix", "init_cfg.prefix"),
    "model.weights.rename": Names("load_checkpoint.revise_keys", "load_checkpoint.revise_keys"),
    "model.weights.strict": Names("load_state_dict.strict, load_checkpoint.strict", "load_state_dict.strict"),
    "model.freeze": Names("model.backbone.frozen_stages", "model.backbone.frozen_stages"),
    "model.norm_eval": Names("model.backbone.norm_eval", "model.backbone.norm_eval"),
    "model.partial_bn": Names("model.backbone.partial_bn", "model.backbone.partial_bn"),
    "model.dropout": Names("model.cls_head.dropout_ratio", "model.cls_head.dropout_ratio", "MODEL.DROPOUT_RATE"),
    "model.init_std": Names("model.cls_head.init_std", "model.cls_head.init_std", "MODEL.FC_INIT_STD"),
    "model.depth": Names("model.backbone.depth", "model.backbone.depth", "RESNET.DEPTH"),
    "model.shift_div": Names("model.backbone.shift_div", "model.backbone.shift_div"),
    "model.alpha": Names("model.backbone.speed_ratio", "model.backbone.speed_ratio", "SLOWFAST.ALPHA"),
    "model.beta_inverse": Names("model.backbone.channel_ratio", "model.backbone.channel_ratio", "SLOWFAST.BETA_INV"),
    "model.fusion_kernel": Names(
        "model.backbone.slow_pathway.fusion_kernel", "model.backbone.slow_pathway.fusion_kernel",
        "SLOWFAST.FUSION_KERNEL_SZ",
    ),
    "model.slow_stride": Names("model.backbone.resample_rate", "model.backbone.resample_rate"),
    "model.zero_init_residual": Names(
        "model.backbone.zero_init_residual", "model.backbone.zero_init_residual", "RESNET.ZERO_INIT_FINAL_BN"
    ),
    "model.drop_path": Names("", "model.backbone.drop_path_rate", "MVIT.DROPPATH_RATE"),
    "backend.compile": Names("", "--compile, compile"),
    "loss": Names("model.cls_head.loss_cls", "model.cls_head.loss_cls", "MODEL.LOSS_FUNC"),
    "loss.class_weights": Names("loss_cls.class_weight", "loss_cls.class_weight"),
    "loss.label_smoothing": Names(
        "model.cls_head.label_smooth_eps", "model.cls_head.label_smooth_eps", "MIXUP.LABEL_SMOOTH_VALUE"
    ),
    # optimizer
    "optimizer": Names("optimizer, optimizer.type", f"{_OPTIM}.optimizer", "SOLVER.OPTIMIZING_METHOD"),
    "optimizer.lr": Names("optimizer.lr", f"{_OPTIM}.optimizer.lr", "SOLVER.BASE_LR"),
    "optimizer.momentum": Names("optimizer.momentum", f"{_OPTIM}.optimizer.momentum", "SOLVER.MOMENTUM"),
    "optimizer.dampening": Names("optimizer.dampening", f"{_OPTIM}.optimizer.dampening", "SOLVER.DAMPENING"),
    "optimizer.weight_decay": Names(
        "optimizer.weight_decay", f"{_OPTIM}.optimizer.weight_decay", "SOLVER.WEIGHT_DECAY"
    ),
    "optimizer.nesterov": Names("optimizer.nesterov", f"{_OPTIM}.optimizer.nesterov", "SOLVER.NESTEROV"),
    "optimizer.betas": Names("optimizer.betas", f"{_OPTIM}.optimizer.betas", "SOLVER.BETAS"),
    "optimizer.base_batch_size": Names("", "auto_scale_lr.base_batch_size", "SOLVER.BASE_LR_SCALE_NUM_SHARDS"),
    "optimizer.paramwise": Names("optimizer.paramwise_cfg", f"{_OPTIM}.paramwise_cfg"),
    **{
        f"optimizer.paramwise.{name}": Names(f"optimizer.paramwise_cfg.{name}", f"{_OPTIM}.paramwise_cfg.{name}")
        for name in (
            "custom_keys", "bias_lr_mult", "bias_decay_mult", "dwconv_decay_mult", "bypass_duplicate", "fc_lr5",
        )
    },
    "optimizer.paramwise.norm_decay_mult": Names(
        "optimizer.paramwise_cfg.norm_decay_mult", f"{_OPTIM}.paramwise_cfg.norm_decay_mult", "BN.WEIGHT_DECAY"
    ),
    "optimizer.paramwise.rule": Names("optimizer.constructor", f"{_OPTIM}.constructor"),
    "optimizer.paramwise.layer_decay": Names("", f"{_OPTIM}.paramwise_cfg.decay_rate", "SOLVER.LAYER_DECAY"),
    # learning-rate policy
    "lr_policy": Names("lr_config, lr_config.policy", _SCHEDULER, "SOLVER.LR_POLICY"),
    "lr_policy.by_epoch": Names("lr_config.by_epoch", f"{_SCHEDULER}.by_epoch, {_SCHEDULER}.convert_to_iter_based"),
    "lr_policy.warmup": Names("lr_config.warmup", f"{_SCHEDULER}[LinearLR, ConstantLR]"),
    "lr_policy.warmup_iters": Names("lr_config.warmup_iters", f"{_SCHEDULER}[LinearLR].end", "SOLVER.WARMUP_EPOCHS"),
    "lr_policy.warmup_ratio": Names(
        "lr_config.warmup_ratio", f"{_SCHEDULER}[LinearLR].start_factor", "SOLVER.WARMUP_START_LR"
    ),
    "lr_policy.warmup_by_epoch": Names("lr_config.warmup_by_epoch", f"{_SCHEDULER}[LinearLR].by_epoch"),
    "lr_policy.step": Names("lr_config.step", f"{_SCHEDULER}[MultiStepLR].milestones", "SOLVER.STEPS"),
    "lr_policy.gamma": Names("lr_config.gamma", f"{_SCHEDULER}[MultiStepLR, ExponentialLR].gamma", "SOLVER.GAMMA"),
    "lr_policy.min_lr": Names("lr_config.min_lr", f"{_SCHEDULER}[CosineAnnealingLR].eta_min", "SOLVER.COSINE_END_LR"),
    "lr_policy.min_lr_ratio": Names("lr_config.min_lr_ratio", f"{_SCHEDULER}[CosineAnnealingLR].eta_min_ratio"),
    "lr_policy.periods": Names("lr_config.periods", f"{_SCHEDULER}[CosineRestartLR].periods"),
    "lr_policy.restart_weights": Names("lr_config.restart_weights", f"{_SCHEDULER}[CosineRestartLR].restart_weights"),
    "lr_policy.power": Names("lr_config.power", f"{_SCHEDULER}[PolyLR].power"),
    **{
        f"lr_policy.{name}": Names(f"lr_config.{name}", f"{_SCHEDULER}[OneCycleLR].{name}" if cycle else "")
        for cycle, names in (
            (True, ("max_lr", "total_steps", "pct_start", "div_factor", "final_div_factor", "three_phase")),
            (False, ("target_ratio", "cyclic_times", "step_ratio_up", "start_percent")),
        )
        for name in names
    },
    "lr_policy.phases": Names("", _SCHEDULER),
    **{
        f"lr_policy.phases.NAME.{name}": Names("", f"{_SCHEDULER}{former}")
        for name, former in (
            ("shape", ".type"), ("begin", ".begin"), ("end", ".end"), ("by_epoch", ".by_epoch"),
            ("every_step", ".convert_to_iter_based"), ("start_factor", "[LinearLR].start_factor, [ConstantLR].factor"),
            ("end_factor", "[LinearLR].end_factor"), ("step", "[MultiStepLR].milestones, [StepLR].step_size"),
            ("gamma", "[MultiStepLR, StepLR, ExponentialLR].gamma"), ("power", "[PolyLR].power"),
            ("period", "[CosineAnnealingLR].T_max"), ("min_lr", "[CosineAnnealingLR, PolyLR].eta_min"),
            ("min_lr_ratio", "[CosineAnnealingLR].eta_min_ratio"),
        )
    },
    "lr_policy.anneal_strategy": Names("lr_config.anneal_strategy", f"{_SCHEDULER}[OneCycleLR].anneal_strategy"),
    # gradients, precision, average
    "grad": Names("optimizer_config", _OPTIM),
    "grad.clip": Names("optimizer_config.grad_clip", f"{_OPTIM}.clip_grad"),
    "grad.clip.max_norm": Names(
        "optimizer_config.grad_clip.max_norm", f"{_OPTIM}.clip_grad.max_norm", "SOLVER.CLIP_GRAD_L2NORM"
    ),
    "grad.clip.norm_type": Names("optimizer_config.grad_clip.norm_type", f"{_OPTIM}.clip_grad.norm_type"),
    "grad.clip.max_value": Names("", f"{_OPTIM}.clip_grad.clip_value", "SOLVER.CLIP_GRAD_VAL"),
    "grad.accumulate": Names("optimizer_config.cumulative_iters", f"{_OPTIM}.accumulative_counts"),
    "grad.detect_anomalous_params": Names(
        "optimizer_config.detect_anomalous_params", "model_wrapper_cfg.detect_anomalous_params"
    ),
    "amp": Names("fp16", "--amp, AmpOptimWrapper", "TRAIN.MIXED_PRECISION"),
    "amp.dtype": Names("fp16", f"--amp, {_OPTIM}.dtype", "TRAIN.MIXED_PRECISION"),
    "amp.loss_scale": Names("fp16.loss_scale", f"{_OPTIM}.loss_scale"),
    "ema": Names("custom_hooks[EMAHook]", "custom_hooks[EMAHook]"),
    "ema.decay": Names("custom_hooks[EMAHook].momentum", "custom_hooks[EMAHook].momentum"),
    # evaluation, checkpoints, logs
    "eval": Names("evaluation", "val_cfg, val_evaluator"),
    "eval.start": Names("evaluation.start", "train_cfg.val_begin"),
    "eval.interval": Names("evaluation.interval", "train_cfg.val_interval", "TRAIN.EVAL_PERIOD"),
    "eval.by_epoch": Names("evaluation.by_epoch", "train_cfg.by_epoch"),
    "eval.save_best": Names("evaluation.save_best", "default_hooks.checkpoint.save_best"),
    "eval.rule": Names("evaluation.rule", "default_hooks.checkpoint.rule"),
    "eval.metrics": Names("evaluation.metrics", "val_evaluator.metric_list"),
    "eval.topk": Names("evaluation.metric_options.top_k_accuracy.topk", "val_evaluator.metric_options"),
    "eval.patience": Names("", "custom_hooks[EarlyStoppingHook].patience"),
    "eval.view_reduction": Names(
        "model.test_cfg.average_clips", "model.cls_head.average_clips", "DATA.ENSEMBLE_METHOD"
    ),
    "eval.max_views_per_forward": Names("model.test_cfg.max_testing_views", "model.test_cfg.max_testing_views"),
    "checkpoint": Names("checkpoint_config", "default_hooks.checkpoint"),
    "checkpoint.interval": Names(
        "checkpoint_config.interval", "default_hooks.checkpoint.interval", "TRAIN.CHECKPOINT_PERIOD"
    ),
    **{
        f"checkpoint.{name}": Names(f"checkpoint_config.{name}", f"default_hooks.checkpoint.{name}")
        for name in ("by_epoch", "save_optimizer", "out_dir", "max_keep_ckpts", "save_last")
    },
    "log": Names("log_config", "default_hooks.logger"),
    "log.interval": Names("log_config.interval", "default_hooks.logger.interval", "LOG_PERIOD"),
    "log.ignore_last": Names("log_config.ignore_last", "default_hooks.logger.ignore_last"),
    "log.by_epoch": Names("log_config.by_epoch", "log_processor.by_epoch"),
    "log.reset_flag": Names("log_config.reset_flag", "log_processor.window_size"),
    "log.tensorboard": Names(
        "log_config.hooks[TensorboardLoggerHook]", "vis_backends[TensorboardVisBackend]", "TENSORBOARD.ENABLE"
    ),
    "log.wandb": Names("log_config.hooks[WandbLoggerHook]", "vis_backends[WandbVisBackend]"),
    # SlowFast's names of transforms
    "SampleFrames.clip_len": Names(slowfast="DATA.NUM_FRAMES"),
    "SampleFrames.frame_interval": Names(slowfast="DATA.SAMPLING_RATE"),
    "SampleFrames.num_clips": Names(slowfast="TEST.NUM_ENSEMBLE_VIEWS"),
    "SampleFrames.target_fps": Names(slowfast="DATA.TARGET_FPS"),
    "SampleFrames.frame_uniform": Names("UniformSampleFrames", "UniformSample", "DATA.USE_OFFSET_SAMPLING"),
    "SegmentFrames.segments": Names("SampleFrames.num_clips", "SampleFrames.num_clips"),
    "SegmentFrames.segment_len": Names("SampleFrames.clip_len", "SampleFrames.clip_len"),
    "RandomRescale.scale_range": Names(slowfast="DATA.TRAIN_JITTER_SCALES"),
    "RandomResizedCrop.area_range": Names(slowfast="DATA.TRAIN_JITTER_SCALES_RELATIVE"),
    "RandomResizedCrop.aspect_ratio_range": Names(slowfast="DATA.TRAIN_JITTER_ASPECT_RELATIVE"),
    "RandomCrop.size": Names(slowfast="DATA.TRAIN_CROP_SIZE"),
    "CenterCrop.crop_size": Names(slowfast="DATA.TEST_CROP_SIZE"),
    "ThreeCrop.crop_size": Names(slowfast="DATA.TEST_CROP_SIZE, TEST.NUM_SPATIAL_CROPS"),
    "Flip.flip_ratio": Names(slowfast="DATA.RANDOM_FLIP"),
}  # fmt: skip

#: Arguments of transforms that mmaction2 does not have.
_OURS = {"target_fps", "clip_seconds", "frame_uniform", "test_positions"}
#: Transforms of mmaction2 with the same name and arguments. RandomRescale is PyTorchVideo's RandomShortSideScale.
_STEPS = {
    "SampleFrames", "DenseSampleFrames", "UntrimmedSampleFrames", "Resize", "RandomRescale", "RandomResizedCrop",
    "RandomCrop", "CenterCrop", "ThreeCrop", "TenCrop", "MultiScaleCrop", "Flip", "ColorJitter",
}  # fmt: skip
_ALSO_CALLED = {"RandomRescale": "RandomShortSideScale"}

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


def former_names(key: Key) -> Names:
    """Return the former names of a key; empty names if it is new."""
    names = FORMER_NAMES.get(f"{key.owner.__name__}.{key.name}") or FORMER_NAMES.get(key.path) or Names()
    if key.owner.__name__ in _STEPS and key.name not in _OURS:
        step = ", ".join(f"{name}.{key.name}" for name in _step_names(key.owner.__name__))
        names = Names(step, step, names.slowfast)
    return names


def _step_names(name: str) -> list[str]:
    return [name, *([_ALSO_CALLED[name]] if name in _ALSO_CALLED else [])]


@functools.cache
def all_names(key: Key) -> tuple[str, ...]:
    """Return each former name of a key, and the classes in brackets, in the form of ``strip_prefix``."""
    listed = [name for names in former_names(key) if names for name in re.split(r",\s+(?![^\[]*\])", names)]
    classes = [name for text in listed for part in re.findall(r"\[([^\]]*)\]", text) for name in part.split(", ")]
    return tuple(strip_prefix(name) for name in (*listed, *classes))


def strip_prefix(name: str) -> str:
    """Return a name in lower case, without leading dashes and without text in brackets."""
    return re.sub(r"\[[^\]]*\]", "", name).lstrip("-").replace("-", "_").lower()
