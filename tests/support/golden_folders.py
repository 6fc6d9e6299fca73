"""Run folders that are kept in the repository, so that runs saved by earlier versions can always be resumed.

``tests/golden/run_folders/NAME/`` is a run folder as training left it, without log, figures and names of the machine;
``NAME.json`` beside it is the recording of the run. A folder is never recorded anew, because its ``config.yaml`` and
its checkpoints show the format of their version. A new format gets a folder of its own::

    python tests/support/golden_runs.py --record-folder NAME
"""

from __future__ import annotations

import json
import platform
import shutil
from pathlib import Path

from support.golden_record import run_record, take_fingerprint, write_recording

FOLDERS = Path(__file__).parents[1] / "golden" / "run_folders"

#: Eight steps of four samples, with a checkpoint in the middle of the second epoch and of the averages that are logged.
#: The embedded data set needs no path in the config; the model is the smallest one that draws random numbers.
OVERRIDES = [
    "data=motion", "data.train_clips=2", "data.val_clips=1", "data.batch_size=4", "data.num_workers=0", "device=cpu",
    "backend.threads=1", "epochs=2", "pipeline.train.sample.clip_len=4", "pipeline.train.resize.scale=[32,32]",
    "pipeline.val.sample.clip_len=4", "pipeline.val.resize.scale=[-1,32]", "pipeline.val.crop.crop_size=32",
    "model=timesformer_divst", "model.num_frames=4", "model.img_size=32", "model.patch_size=8", "model.width=8",
    "model.depth=1", "model.heads=2", "optimizer=sgd", "optimizer.lr=0.03", "lr=cosine", "blending=mixup", "log=text",
    "log.interval=4", "eval.save_best=loss", "checkpoint.by_epoch=false", "checkpoint.interval=6",
]  # fmt: skip
#: The checkpoint from which the run is resumed.
MIDDLE = "step_6.pth"

_KEPT = {"config.yaml", "overrides.yaml", "env.json", "metrics.jsonl", "result.json", "checkpoints", "eval"}


def names() -> list[str]:
    """Return the names of the recorded folders."""
    return sorted(path.name for path in FOLDERS.iterdir() if path.is_dir())


def record_folder(name: str, parent: Path) -> Path:
    """Train below ``parent``, and keep the run folder and its recording under ``name``.

    Raises:
        FileExistsError: If there is a folder of that name.
    """
    import vexp
    import vexp.train

    kept, run = FOLDERS / name, parent / name
    if kept.exists():
        raise FileExistsError(f"{kept}: a recorded folder is never replaced; choose another name")
    vexp.train.run(vexp.compose(OVERRIDES), run, overrides=OVERRIDES)
    record = run_record(run)
    _clean(run)
    shutil.copytree(run, kept)
    write_recording(kept.with_suffix(".json"), take_fingerprint(), record)
    return kept


def _clean(run: Path) -> None:
    """Remove logs, figures and names of the machine."""
    for path in run.iterdir():
        if path.name not in _KEPT:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for path in run.rglob("*.png"):
        path.unlink()
    report = run / "eval" / "report.json"
    report.write_text(report.read_text(encoding="utf-8").replace(str(run), f"runs/{run.name}"), encoding="utf-8")
    environment = json.loads((run / "env.json").read_text(encoding="utf-8"))
    environment |= {"command": ["python", "-m", "vexp.train", *OVERRIDES], "cwd": ".", "host": "host"}
    environment |= {"platform": platform.system(), "git": environment["git"] and environment["git"] | {"changed": []}}
    (run / "env.json").write_text(json.dumps(environment, indent=2) + "\n", encoding="utf-8")
    for path in (path for path in run.rglob("*") if path.is_file()):
        assert str(run.parent).encode() not in path.read_bytes(), f"{path} names {run.parent}"
