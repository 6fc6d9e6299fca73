"""Convert the remaining keys of a config: length, seeds, initial weights, and keys that vexp does not need."""

from __future__ import annotations

from vexp.core.errors import ConfigError
from vexp.tools.mmaction2.hooks import ONE_PROCESS
from vexp.tools.mmaction2.initial_weights import weights_name
from vexp.tools.mmaction2.joint import LOOP, omnisource
from vexp.tools.mmaction2.result import ConversionResult
from vexp.tools.mmaction2.rules import Ignore, Map, Rule, Unsupported, as_lists, handled_elsewhere, number, sets
from vexp.tools.mmaction2.tables import Section, all_of, apply_rules, same
from vexp.tools.mmaction2.tree import Node


@sets("resume")
def _resume(result: ConversionResult, node: Node, prefix: str) -> None:
    if node.to_python():
        hint = "init_from=FILE loads its weights"
        raise ConfigError(f"resuming from a checkpoint of mmaction2 is not supported; {hint}")
    result.mark_default(node, "a new run")


def _workflow(result: ConversionResult, node: Node, prefix: str) -> None:
    steps = as_lists(node.to_python())
    if not isinstance(steps, list) or any(not isinstance(step, list) or step[:1] != ["train"] for step in steps):
        raise ConfigError("validation within the workflow gives the loss of val: eval does so, with eval.interval")
    result.mark_default(node, "evaluation is set by eval.interval")


@sets("seed")
def _seed(result: ConversionResult, node: Node, prefix: str) -> None:
    seed = node.to_python()
    if seed is None:
        result.set(node, "seed", 0, "mmaction2 draws one; vexp's runs have seed 0 unless set, so that they repeat")
    else:
        result.set(node, "seed", seed)


@sets("eval.start")
def _val_begin(result: ConversionResult, node: Node, prefix: str) -> None:
    begin, interval = number(node), result.config.scalar("train_cfg", "val_interval")
    interval = interval if isinstance(interval, int) and interval > 0 else 1
    first = -(-begin // interval) * interval  # mmengine evaluates at the multiples of the interval from there on
    if first <= interval:
        result.mark_default(node, "from the first interval on")
    else:
        result.set(node, "eval.start", first)


@sets("run_name", "out_root")
def _work_dir(result: ConversionResult, node: Node, prefix: str) -> None:
    above, _, name = str(node.to_python()).replace("\\", "/").rstrip("/").rpartition("/")
    result.set(node, "run_name", name)
    result.set(node, "out_root", above or ".")


#: ``runner`` of 0.x, ``train_cfg`` of 1.x.
RUNNER = Section({
    **all_of("type by_epoch", Ignore("epochs or max_steps says which")),
    "max_epochs": Map("epochs"), "max_iters": Map("max_steps"),
    "val_interval": Map("eval.interval"), "val_begin": _val_begin,
    "dynamic_intervals": Unsupported("one eval.interval for the run"), **LOOP,
})  # fmt: skip


def _runner(result: ConversionResult, node: Node, prefix: str) -> None:
    if node.text("type") in ("IterBasedRunner", "IterBasedTrainLoop"):
        result.set_implied("eval.by_epoch", False, f"{node.text('type')} counts steps")
    RUNNER(result, node, prefix)


def _precise_interval(result: ConversionResult, node: Node, prefix: str) -> None:
    """Check ``interval`` of PreciseBNHook, in epochs: vexp computes the statistics before each evaluation."""
    every = number(node)
    if result.value("eval.interval", 1) % every or not result.value("eval.by_epoch", True):
        raise ConfigError("the statistics are computed before each evaluation")
    result.mark_unneeded(node, "the statistics are computed before each evaluation")


_PROCESS_START = Ignore("fork is the default; set data.mp_context for another")
_THREADS = Ignore("workers use one thread each")
_UNUSED = Map("dist.find_unused_parameters", bool, off="all parameters are used")
_BOTH: dict[str, Rule] = {
    "work_dir": _work_dir, "load_from": Map("init_from", lambda name: weights_name(str(name)), off="none"),
    **same("cudnn_benchmark device"), "custom_imports": Unsupported("bring your own code with plugins=[package]"),
    **all_of("launcher gpu_ids gpus", ONE_PROCESS), "find_unused_parameters": _UNUSED,
    "model_wrapper_cfg": Section({
        **all_of("type broadcast_buffers static_graph", ONE_PROCESS), "find_unused_parameters": _UNUSED,
    }),
    "log_level": Ignore("everything is logged"), "cfg_name": Ignore("it has no effect"),
    "precise_bn": Section({"num_iters": Map("eval.precise_bn", implied=200), "interval": _precise_interval}),
    "contrastive_cfg": Unsupported("not supported"),
}  # fmt: skip
#: Root keys of 0.x and 1.x, without those of vexp.tools.mmaction2.convert.
ROOT_0X: dict[str, Rule] = {
    **_BOTH,
    "total_epochs": Map("epochs"), "max_epochs": handled_elsewhere, "runner": _runner, "resume_from": _resume,
    "workflow": _workflow, "seed": _seed, "deterministic": Map("deterministic"), "diff_seed": Map("diff_rank_seed"),
    "dist_params": ONE_PROCESS, "opencv_num_threads": _THREADS,
    "mp_start_method": _PROCESS_START, "momentum_config": Unsupported("momentum is constant"),
    "omnisource": omnisource,
}  # fmt: skip
ROOT_1X: dict[str, Rule] = {
    **_BOTH,
    "train_cfg": _runner, "val_cfg": Ignore("eval= has its settings"),
    "test_cfg": Ignore("vexp evaluate tests"), "resume": _resume,
    "auto_resume": Unsupported("use resume=auto"), "default_scope": Ignore("not used by vexp"),
    "log_processor": Ignore("log.interval is also what is averaged over"),
    "randomness": Section({"seed": _seed, **same("deterministic diff_rank_seed")}),
    "env_cfg": Section({
        "cudnn_benchmark": Map("cudnn_benchmark"), "dist_cfg": ONE_PROCESS,
        "mp_cfg": Section({"mp_start_method": _PROCESS_START, "opencv_num_threads": _THREADS}),
        "resource_limit": Ignore("open files are few"),
    }),
}  # fmt: skip
ROOT = {**ROOT_0X, **ROOT_1X}  # configs of 1.x that were migrated by hand have keys of both


def convert_root(result: ConversionResult, done: tuple[str, ...]) -> None:
    """Convert the root keys of ``ROOT``, except those that are done."""
    apply_rules(result, result.config, {key: rule for key, rule in ROOT.items() if key not in done})
