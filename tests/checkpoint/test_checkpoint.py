"""Checkpoints: atomic saving, safe loading, pruning, and finding the newest intact file."""

import hashlib
import json
import os
import pickle
import stat
import zipfile
from contextlib import suppress

import pytest
import torch
from support.run_files import flip_bit

from vexp.checkpoint import Checkpoint, complete, find, load, prunable, prune, save
from vexp.core.errors import UserError


def state(step=0):
    return {"step": step, "model": {"weight": torch.arange(6.0).view(2, 3)}, "lists": [1, 2.5, None, "x", (True,)]}


def files(folder):
    return sorted(path.name for path in folder.iterdir())


# ---- saving ----


def test_load_and_torch_load_return_saved_state(tmp_path):
    path = tmp_path / "new" / "folder" / "a.pth"
    save(path, state(7))
    assert files(path.parent) == ["a.pth", "manifest.json"]
    for content in (load(path), torch.load(path, weights_only=True)):
        weight = content["model"].pop("weight")
        assert torch.equal(weight, state()["model"]["weight"])
        assert content == {"step": 7, "model": {}, "lists": [1, 2.5, None, "x", (True,)]}


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (OSError(28, "No space left on device"), UserError),
        (RuntimeError("PytorchStreamWriter failed writing file"), UserError),  # torch reports a full disk like this
        (pickle.PicklingError("Can't pickle a lambda"), pickle.PicklingError),  # a bug of vexp is raised unchanged
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
)
def test_save_interrupted_keeps_previous_file_only(tmp_path, monkeypatch, fault, expected):
    path = tmp_path / "last.pth"
    save(path, state(1))

    def fail(content, file):
        file.write(b"half of the file")
        raise fault

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(expected) as caught:
        save(path, state(2))
    if expected is UserError:
        assert "last.pth: the checkpoint cannot be written" in str(caught.value)
    assert load(path)["step"] == 1
    assert files(tmp_path) == ["last.pth", "manifest.json"]


def test_save_below_a_file_raises_user_error(tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(UserError, match="cannot be written"):
        save(tmp_path / "taken" / "a.pth", state())


@pytest.mark.skipif(os.name == "nt", reason="a folder cannot be synced there")
def test_save_syncs_content_before_each_rename(tmp_path, monkeypatch):
    """The manifest lists a file before it is renamed, and drops the replaced one afterwards."""
    path, events = type(tmp_path), []
    fsync, replace = os.fsync, path.replace

    def record_fsync(handle):
        events.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")
        fsync(handle)

    def record_replace(source, target):
        events.append(target.name)
        return replace(source, target)

    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(path, "replace", record_replace)
    save(tmp_path / "b.pth", state(2), also=["last.pth"])
    names = ["manifest.json", "b.pth", "last.pth", "manifest.json"]
    assert events == [event for name in names for event in ("file", name, "folder")]


def test_save_of_equal_states_writes_equal_files(tmp_path):
    save(tmp_path / "a.pth", state())
    save(tmp_path / "b.pth", state())
    assert (tmp_path / "a.pth").read_bytes() == (tmp_path / "b.pth").read_bytes()


@pytest.mark.parametrize("hard_links", [True, False])
def test_save_also_keeps_second_name_without_the_first(tmp_path, monkeypatch, hard_links):
    def refuse(*_):
        raise OSError("not supported")

    if not hard_links:
        monkeypatch.setattr(type(tmp_path), "hardlink_to", refuse)
    save(tmp_path / "epoch_1.pth", state(1), also=["last.pth"])
    save(tmp_path / "epoch_2.pth", state(2), also=["last.pth"])  # replaces
    save(tmp_path / "epoch_2.pth", state(2), also=["last.pth"])  # again
    assert files(tmp_path) == ["epoch_1.pth", "epoch_2.pth", "last.pth", "manifest.json"]
    assert os.path.samefile(tmp_path / "epoch_2.pth", tmp_path / "last.pth") == hard_links
    (tmp_path / "epoch_2.pth").unlink()
    assert load(tmp_path / "last.pth")["step"] == 2
    assert load(tmp_path / "epoch_1.pth")["step"] == 1


def test_save_again_keeps_content_of_hard_link(tmp_path):
    save(tmp_path / "epoch_1.pth", state(1), also=["best.pth"])
    save(tmp_path / "epoch_1.pth", state(2))
    assert load(tmp_path / "best.pth")["step"] == 1


def test_save_replaces_temporary_file_of_killed_process(tmp_path):
    save(tmp_path / "best.pth", state(1))
    (tmp_path / f".last.pth.{os.getpid()}.tmp").hardlink_to(tmp_path / "best.pth")  # same process number, killed
    save(tmp_path / "last.pth", state(2))
    assert (load(tmp_path / "best.pth")["step"], load(tmp_path / "last.pth")["step"]) == (1, 2)
    assert files(tmp_path) == ["best.pth", "last.pth", "manifest.json"]


# ---- loading ----


class Malicious:
    def __reduce__(self):
        return os.mkdir, (os.environ["VEXP_TEST_TRAP"],)


def write_missing(path):
    pass


def write_folder(path):
    path.mkdir()


def write_empty(path):
    path.write_bytes(b"")


def write_text(path):
    path.write_text("epoch loss\n1 0.5\n")


def write_html(path):
    path.write_text("<!DOCTYPE html>\n<html><body>404 Not Found</body></html>\n")


def write_lfs_pointer(path):
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")


def write_truncated(path):
    save(path, state())
    path.write_bytes(path.read_bytes()[:-200])


def write_foreign_archive(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "hello")


def write_malicious(path):
    torch.save({"model": Malicious()}, path)


def write_malicious_pickle(path):
    path.write_bytes(pickle.dumps(Malicious(), protocol=2))


def write_module(path):
    torch.save({"model": torch.nn.Linear(2, 2)}, path)


def write_tensor(path):
    torch.save(torch.ones(3), path)


@pytest.mark.parametrize(
    ("write", "text"),
    [
        (write_missing, "no such checkpoint"),
        (write_folder, "cannot be read: is a folder"),
        (write_empty, "is an empty file"),
        (write_text, "is no checkpoint, it begins with 'epoch loss"),
        (write_html, "is no checkpoint, it begins with '<!DOCTYPE html>"),
        (write_lfs_pointer, "is no checkpoint, it begins with 'version https://git-lfs"),
        (write_truncated, "is damaged"),
        (write_foreign_archive, "is a zip archive but no checkpoint"),
        (write_malicious, "refused: holds more than tensors and plain containers: .*mkdir"),
        (write_malicious_pickle, "refused: holds more than tensors and plain containers: .*mkdir"),
        (write_module, "refused: .*: torch.nn.modules.linear.Linear"),  # torch.save(model), common and unsafe
        (write_tensor, "holds a Tensor"),
    ],
)
def test_load_rejects_other_files(tmp_path, monkeypatch, write, text):
    trap = tmp_path / "trap"
    monkeypatch.setenv("VEXP_TEST_TRAP", str(trap))
    path = tmp_path / "a.pth"
    write(path)
    with pytest.raises(UserError, match=text) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "weights_only=False" not in str(caught.value)
    assert "`False`" not in str(caught.value)  # torch recommends it, but it would run code of the file
    assert not trap.exists()


@pytest.mark.parametrize("old_format", [False, True])
def test_load_of_damaged_bytes_raises_user_error_only(tmp_path, old_format):
    path = tmp_path / "a.pth"
    torch.save(state(), path, _use_new_zipfile_serialization=not old_format)
    intact = path.read_bytes()
    generator = torch.Generator().manual_seed(0)
    rejected = 0
    for _ in range(150):
        damaged = bytearray(intact)
        for position in torch.randint(min(300, len(intact)) if old_format else len(intact), (4,), generator=generator):
            damaged[position] = int(torch.randint(256, (), generator=generator))
        path.write_bytes(damaged)
        try:
            load(path)  # a damaged name or value of a tensor is not detected
        except UserError:
            rejected += 1
    assert rejected > 100


def test_load_maps_to_cpu_with_weights_only(tmp_path, monkeypatch):
    options = {}
    real = torch.load
    monkeypatch.setattr(torch, "load", lambda *a, **k: options.update(k) or real(*a, **k))
    save(tmp_path / "a.pth", state())
    load(tmp_path / "a.pth")
    assert options == {"map_location": "cpu", "weights_only": True}


# ---- pruning and finding ----


@pytest.mark.parametrize(
    ("names", "keep", "pruned"),
    [
        ("epoch_1 epoch_2 epoch_3", -1, ""),  # no limit
        ("epoch_1 epoch_2 epoch_3", 3, ""),
        ("epoch_1 epoch_2 epoch_3", 2, "epoch_1"),
        ("epoch_1 epoch_2 epoch_3", 1, "epoch_1 epoch_2"),
        ("epoch_9 epoch_10 epoch_11", 2, "epoch_9"),  # ordered as numbers
        ("step_100 step_20", 1, "step_20"),
        ("epoch_1 epoch_2 step_30 step_40", 1, "epoch_1 epoch_2 step_30"),  # one limit for both kinds
        ("best last epoch_1", 1, ""),
        ("best last", 1, ""),
        ("my_epoch_1 epoch_x epoch_1.bak epoch_1 epoch_2", 1, "epoch_1"),  # other files are kept
        ("", 1, ""),
    ],
)
def test_prunable_lists_oldest_beyond_limit(names, keep, pruned):
    assert prunable([f"{name}.pth" for name in names.split()], keep) == [f"{name}.pth" for name in pruned.split()]


def test_prune_orders_files_by_time_of_writing(tmp_path):
    """A run resumed from epoch 2 keeps its new epoch 3, not the epochs 8 and 9 of the earlier training."""
    for epoch in (8, 9, 3):
        save(tmp_path / f"epoch_{epoch}.pth", state(epoch))
    save(tmp_path / "step_61.pth", state(61))  # interrupted by a signal
    (tmp_path / "epoch_99.pth").write_bytes(b"not in the manifest: counts as the oldest")
    prune(tmp_path, 2)
    assert files(tmp_path) == ["epoch_3.pth", "manifest.json", "step_61.pth"]


def test_prune_keeps_files_of_best_and_last(tmp_path):
    for epoch, also in ((1, ["best.pth"]), (2, []), (3, ["last.pth"])):
        save(tmp_path / f"epoch_{epoch}.pth", state(epoch), also=also)
    (tmp_path / "best.json").write_text("{}")
    prune(tmp_path, 1)
    assert files(tmp_path) == ["best.json", "best.pth", "epoch_3.pth", "last.pth", "manifest.json"]
    assert (load(tmp_path / "best.pth")["step"], load(tmp_path / "last.pth")["step"]) == (1, 3)


def save_with_time(path, step, seconds):
    save(path, state(step))
    os.utime(path, (seconds, seconds))


def test_find_returns_last_written_file_of_manifest(tmp_path):
    assert find(tmp_path) is None
    assert find(tmp_path / "nowhere") is None
    save_with_time(tmp_path / "epoch_10.pth", 10, 1000)
    save_with_time(tmp_path / "epoch_2.pth", 2, 200)  # resumed from epoch 1 since
    assert find(tmp_path) == tmp_path / "epoch_2.pth"


def test_find_without_manifest_returns_last_then_youngest(tmp_path):
    save_with_time(tmp_path / "epoch_10.pth", 10, 1000)
    save_with_time(tmp_path / "epoch_2.pth", 2, 200)
    save_with_time(tmp_path / "last.pth", 10, 100)  # a copy, whose time of writing is unknown
    (tmp_path / "manifest.json").unlink()
    assert find(tmp_path) == tmp_path / "last.pth"
    write_truncated(tmp_path / "last.pth")
    (tmp_path / "manifest.json").unlink()
    assert find(tmp_path) == tmp_path / "epoch_10.pth"


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (flip_bit, "its checksum differs"),  # a single bit, which torch.load may not detect
        (lambda path: path.write_bytes(path.read_bytes()[:-200]), r"it has \d+ bytes instead of the \d+"),
        (lambda path: path.write_bytes(b""), "it has 0 bytes"),
        (lambda path: path.write_bytes(bytes(path.stat().st_size)), "its checksum differs"),  # a block lost by the disk
    ],
)
def test_find_skips_damaged_newest_file_with_warning(tmp_path, caplog, damage, reason):
    save(tmp_path / "epoch_1.pth", state(1))
    save(tmp_path / "epoch_2.pth", state(2), also=["last.pth"])  # one file with two names
    damage(tmp_path / "last.pth")
    assert find(tmp_path) == tmp_path / "epoch_1.pth"
    assert [text.split(": ")[:2] for text in caplog.messages] == [
        ["skipped", str(tmp_path / name)] for name in ("last.pth", "epoch_2.pth")
    ]
    with pytest.raises(UserError, match=reason):
        load(tmp_path / "epoch_2.pth")


def test_find_raises_if_all_files_are_damaged(tmp_path):
    save(tmp_path / "epoch_1.pth", state(1), also=["last.pth"])
    flip_bit(tmp_path / "last.pth")
    with pytest.raises(UserError, match=r"none of its checkpoints can be read \(last.pth, epoch_1.pth\)"):
        find(tmp_path)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda text: text[: len(text) // 2], "is not valid JSON"),
        (lambda text: "", "is not valid JSON"),
        (lambda text: "[]", "must be a mapping, not a list"),
        (lambda text: text.replace('"step": 2', '"step": 3'), "is damaged"),
        (lambda text: text.replace('"sha256": "', '"sha256": "0'), "is damaged"),
        (lambda text: '{"sha256": "", "files": [{"name": "a"}]}', "files: item 0: has no 'sha256'"),
        (lambda text: "\x00" * len(text), "is not valid JSON"),
    ],
)
def test_find_with_damaged_manifest_warns_and_reads_files(tmp_path, caplog, damage, reason):
    save(tmp_path / "epoch_1.pth", state(1))
    save(tmp_path / "epoch_2.pth", state(2), also=["last.pth"])
    manifest = tmp_path / "manifest.json"
    manifest.write_text(damage(manifest.read_text()))
    assert find(tmp_path) == tmp_path / "last.pth"
    (text,) = caplog.messages
    caplog.clear()
    assert text.startswith(f"{manifest}: {reason}")
    assert load(tmp_path / "last.pth")["step"] == 2
    complete(tmp_path / "last.pth")  # a resumed run writes a new manifest
    assert find(tmp_path) == tmp_path / "last.pth"
    save(tmp_path / "epoch_3.pth", state(3))
    assert find(tmp_path) == tmp_path / "epoch_3.pth"
    assert caplog.messages == []


class Killed(BaseException):
    """Simulates SIGKILL: no handler of the code under test catches it."""


@pytest.mark.parametrize("kill_point", range(12))
def test_find_after_kill_during_save_returns_intact_file(tmp_path, monkeypatch, caplog, kill_point):
    """Every name holds the old or the new checkpoint, and no file is reported as damaged."""
    path, events = type(tmp_path), []
    save(tmp_path / "step_1.pth", state(1), also=["last.pth", "best.pth"])
    replace = path.replace

    def replace_or_die(source, target):
        if len(events) * 2 == kill_point:
            raise Killed
        events.append(target.name)
        replace(source, target)
        if len(events) * 2 - 1 == kill_point:
            raise Killed
        return target

    with monkeypatch.context() as patch:
        patch.setattr(path, "replace", replace_or_die)
        with suppress(Killed):
            save(tmp_path / "step_2.pth", state(2), also=["last.pth", "best.pth"])
    newest = find(tmp_path)
    assert load(newest)["step"] == (2 if "step_2.pth" in events else 1)
    for name in ("last.pth", "best.pth"):
        assert load(tmp_path / name)["step"] == (2 if name in events else 1)
    complete(newest, max_keep_ckpts=1)  # as a resumed run does: the interrupted save is finished or undone
    step = 2 if "step_2.pth" in events else 1
    assert {load(tmp_path / f"{name}.pth")["step"] for name in (f"step_{step}", "last", "best")} == {step}
    assert files(tmp_path) == ["best.pth", "last.pth", "manifest.json", f"step_{step}.pth"]
    save(tmp_path / "step_3.pth", state(3), also=["last.pth"])
    assert load(find(tmp_path))["step"] == 3
    rows = json.loads((tmp_path / "manifest.json").read_text())["files"]
    assert [row["step"] for row in rows if row["name"] in ("step_3.pth", "last.pth")] == [3, 3]
    assert caplog.messages == []


def test_manifest_lists_name_checksum_step_and_size(tmp_path):
    save(tmp_path / "epoch_1.pth", state(20), also=["last.pth"])
    content = (tmp_path / "epoch_1.pth").read_bytes()
    rows = json.loads((tmp_path / "manifest.json").read_text())["files"]
    digest = hashlib.sha256(content).hexdigest()
    assert rows == [
        {"name": name, "sha256": digest, "step": 20, "size": len(content)} for name in ("epoch_1.pth", "last.pth")
    ]


# ---- options ----


@pytest.mark.parametrize(
    ("by_epoch", "step", "name"),
    [
        (True, 60, "epoch_3.pth"),
        (True, 20, "epoch_1.pth"),
        (True, 65, "step_65.pth"),  # a run that ends or is interrupted within an epoch
        (False, 65, "step_65.pth"),
        (False, 60, "step_60.pth"),  # also at the end of an epoch
    ],
)
def test_checkpoint_name_of_step(by_epoch, step, name):
    assert Checkpoint(by_epoch=by_epoch).name(step, 20) == name
    assert prunable([name], -1) == []


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"interval": 0}, "interval=0: must be >= 1, or -1 for never"),
        ({"interval": -2}, "interval=-2: must be >= 1, or -1 for never"),
        ({"max_keep_ckpts": 0}, "max_keep_ckpts=0: must be > 0, or -1 for no limit"),
        ({"max_keep_ckpts": -3}, "max_keep_ckpts=-3: must be > 0, or -1 for no limit"),
    ],
)
def test_checkpoint_options_reject_values_out_of_range(values, text):
    with pytest.raises(ValueError, match=text):
        Checkpoint(**values)


def test_checkpoint_defaults_equal_mmcv():
    options = Checkpoint()
    assert (options.interval, options.by_epoch, options.save_optimizer, options.out_dir) == (-1, True, True, None)
    assert (options.max_keep_ckpts, options.save_last) == (-1, True)
