"""Checkpoints: whole or not at all, read without trust, the right ones kept, the newest readable one found."""

import hashlib
import json
import os
import pickle
import stat
import zipfile
from contextlib import suppress

import pytest
import torch

from vexp.checkpoint import Checkpoint, complete, find, load, prunable, prune, save
from vexp.core.errors import UserError


def state(step=0):
    return {"step": step, "model": {"weight": torch.arange(6.0).view(2, 3)}, "lists": [1, 2.5, None, "x", (True,)]}


def files(folder):
    return sorted(path.name for path in folder.iterdir())


# ---- written whole ----


def test_what_is_saved_is_loaded_by_us_and_by_plain_torch(tmp_path):
    path = tmp_path / "new" / "folder" / "a.pth"
    save(path, state(7))
    assert files(path.parent) == ["a.pth", "manifest.json"]
    for content in (load(path), torch.load(path, weights_only=True)):
        weight = content["model"].pop("weight")
        assert torch.equal(weight, state()["model"]["weight"])
        assert content == {"step": 7, "model": {}, "lists": [1, 2.5, None, "x", (True,)]}


@pytest.mark.parametrize(
    ("fault", "seen"),
    [
        (OSError(28, "No space left on device"), UserError),
        (RuntimeError("PytorchStreamWriter failed writing file"), UserError),  # torch's word for a full disk
        (pickle.PicklingError("Can't pickle a lambda"), pickle.PicklingError),  # our fault: stays what it is
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
)
def test_a_failing_save_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, fault, seen):
    path = tmp_path / "last.pth"
    save(path, state(1))

    def fail(content, file):
        file.write(b"half of it")
        raise fault

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(seen) as caught:
        save(path, state(2))
    if seen is UserError:
        assert "last.pth: the checkpoint cannot be written" in str(caught.value)
    assert load(path)["step"] == 1
    assert files(tmp_path) == ["last.pth", "manifest.json"]


def test_a_folder_that_cannot_be_made_is_the_users_to_mend(tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(UserError, match="cannot be written"):
        save(tmp_path / "taken" / "a.pth", state())


@pytest.mark.skipif(os.name == "nt", reason="a folder cannot be synced there")
def test_the_content_is_on_the_disk_before_the_name_points_to_it(tmp_path, monkeypatch):
    """And the manifest knows a file before it takes its name, and forgets the old one only afterwards."""
    path, done = type(tmp_path), []
    fsync, replace = os.fsync, path.replace

    def noted_fsync(handle):
        done.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")
        fsync(handle)

    def noted_replace(source, target):
        done.append(target.name)
        return replace(source, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(path, "replace", noted_replace)
    save(tmp_path / "b.pth", state(2), also=["last.pth"])
    names = ["manifest.json", "b.pth", "last.pth", "manifest.json"]
    assert done == [event for name in names for event in ("file", name, "folder")]


def test_equal_states_make_equal_files(tmp_path):
    save(tmp_path / "a.pth", state())
    save(tmp_path / "b.pth", state())
    assert (tmp_path / "a.pth").read_bytes() == (tmp_path / "b.pth").read_bytes()


@pytest.mark.parametrize("hard_links", [True, False])
def test_a_second_name_outlives_the_first(tmp_path, monkeypatch, hard_links):
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


def test_saving_anew_does_not_change_what_a_link_names(tmp_path):
    save(tmp_path / "epoch_1.pth", state(1), also=["best.pth"])
    save(tmp_path / "epoch_1.pth", state(2))
    assert load(tmp_path / "best.pth")["step"] == 1


def test_what_a_killed_process_left_is_not_written_through(tmp_path):
    save(tmp_path / "best.pth", state(1))
    (tmp_path / f".last.pth.{os.getpid()}.tmp").hardlink_to(tmp_path / "best.pth")  # same process number, killed
    save(tmp_path / "last.pth", state(2))
    assert (load(tmp_path / "best.pth")["step"], load(tmp_path / "last.pth")["step"]) == (1, 2)
    assert files(tmp_path) == ["best.pth", "last.pth", "manifest.json"]


# ---- read without trust ----


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
        (write_foreign_archive, "is no checkpoint that"),
        (write_malicious, "refused: holds more than tensors and plain containers: .*mkdir"),
        (write_malicious_pickle, "refused: holds more than tensors and plain containers: .*mkdir"),
        (write_module, "refused: .*: torch.nn.modules.linear.Linear"),  # torch.save(model), common and unsafe
        (write_tensor, "holds a Tensor"),
    ],
)
def test_load_refuses(tmp_path, monkeypatch, write, text):
    trap = tmp_path / "trap"
    monkeypatch.setenv("VEXP_TEST_TRAP", str(trap))
    path = tmp_path / "a.pth"
    write(path)
    with pytest.raises(UserError, match=text) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "weights_only=False" not in str(caught.value)
    assert "`False`" not in str(caught.value)  # torch's advice, which would run what the file holds
    assert not trap.exists()


@pytest.mark.parametrize("old_format", [False, True])
def test_load_refuses_whatever_damage(tmp_path, old_format):
    path = tmp_path / "a.pth"
    torch.save(state(), path, _use_new_zipfile_serialization=not old_format)
    whole = path.read_bytes()
    generator = torch.Generator().manual_seed(0)
    for _ in range(150):
        damaged = bytearray(whole)
        for position in torch.randint(min(300, len(whole)) if old_format else len(whole), (4,), generator=generator):
            damaged[position] = int(torch.randint(256, (), generator=generator))
        path.write_bytes(damaged)
        with suppress(UserError):  # and nothing else, unless the damage was in the numbers
            assert isinstance(load(path), dict)


def test_load_puts_tensors_on_the_cpu(tmp_path, monkeypatch):
    seen = {}
    real = torch.load
    monkeypatch.setattr(torch, "load", lambda *a, **k: seen.update(k) or real(*a, **k))
    save(tmp_path / "a.pth", state())
    load(tmp_path / "a.pth")
    assert seen == {"map_location": "cpu", "weights_only": True}


# ---- which are kept, which is found ----


@pytest.mark.parametrize(
    ("names", "keep", "gone"),
    [
        ("epoch_1 epoch_2 epoch_3", -1, ""),  # no limit
        ("epoch_1 epoch_2 epoch_3", 3, ""),
        ("epoch_1 epoch_2 epoch_3", 2, "epoch_1"),
        ("epoch_1 epoch_2 epoch_3", 1, "epoch_1 epoch_2"),
        ("epoch_9 epoch_10 epoch_11", 2, "epoch_9"),  # numbers, not letters
        ("step_100 step_20", 1, "step_20"),
        ("epoch_1 epoch_2 step_30 step_40", 1, "epoch_1 epoch_2 step_30"),  # one limit for both
        ("best last epoch_1", 1, ""),
        ("best last", 1, ""),
        ("my_epoch_1 epoch_x epoch_1.bak epoch_1 epoch_2", 1, "epoch_1"),  # nobody else's files
        ("", 1, ""),
    ],
)
def test_prunable(names, keep, gone):
    assert prunable([f"{name}.pth" for name in names.split()], keep) == [f"{name}.pth" for name in gone.split()]


def test_the_newest_is_what_was_written_last(tmp_path):
    """A run resumed from epoch 2 keeps its new epoch 3, not the epochs 8 and 9 of the course it left."""
    for epoch in (8, 9, 3):
        save(tmp_path / f"epoch_{epoch}.pth", state(epoch))
    save(tmp_path / "step_61.pth", state(61))  # stopped by a signal
    (tmp_path / "epoch_99.pth").write_bytes(b"not in the manifest: older than all that are")
    prune(tmp_path, 2)
    assert files(tmp_path) == ["epoch_3.pth", "manifest.json", "step_61.pth"]


def test_prune_keeps_what_best_and_last_name(tmp_path):
    for epoch, also in ((1, ["best.pth"]), (2, []), (3, ["last.pth"])):
        save(tmp_path / f"epoch_{epoch}.pth", state(epoch), also=also)
    (tmp_path / "best.json").write_text("{}")
    prune(tmp_path, 1)
    assert files(tmp_path) == ["best.json", "best.pth", "epoch_3.pth", "last.pth", "manifest.json"]
    assert (load(tmp_path / "best.pth")["step"], load(tmp_path / "last.pth")["step"]) == (1, 3)


def aged(path, step, seconds):
    save(path, state(step))
    os.utime(path, (seconds, seconds))


def test_find_takes_what_was_written_last_whatever_the_clock_says(tmp_path):
    assert find(tmp_path) is None
    assert find(tmp_path / "nowhere") is None
    aged(tmp_path / "epoch_10.pth", 10, 1000)
    aged(tmp_path / "epoch_2.pth", 2, 200)  # resumed from epoch 1 since
    assert find(tmp_path) == tmp_path / "epoch_2.pth"


def test_find_without_a_manifest_takes_the_last_then_the_youngest(tmp_path):
    aged(tmp_path / "epoch_10.pth", 10, 1000)
    aged(tmp_path / "epoch_2.pth", 2, 200)
    aged(tmp_path / "last.pth", 10, 100)  # copied from elsewhere: its time says nothing
    (tmp_path / "manifest.json").unlink()
    assert find(tmp_path) == tmp_path / "last.pth"
    write_truncated(tmp_path / "last.pth")
    (tmp_path / "manifest.json").unlink()
    assert find(tmp_path) == tmp_path / "epoch_10.pth"


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (flip, "its checksum differs"),  # one bit: torch.load may not notice
        (lambda path: path.write_bytes(path.read_bytes()[:-200]), r"it has \d+ bytes instead of the \d+"),
        (lambda path: path.write_bytes(b""), "it has 0 bytes"),
        (lambda path: path.write_bytes(bytes(path.stat().st_size)), "its checksum differs"),  # a lost block
    ],
)
def test_find_skips_damaged_newest_file_with_a_warning(tmp_path, caplog, damage, why):
    save(tmp_path / "epoch_1.pth", state(1))
    save(tmp_path / "epoch_2.pth", state(2), also=["last.pth"])  # one file of two names
    damage(tmp_path / "last.pth")
    assert find(tmp_path) == tmp_path / "epoch_1.pth"
    assert [text.split(": ")[:2] for text in caplog.messages] == [
        ["skipped", str(tmp_path / name)] for name in ("last.pth", "epoch_2.pth")
    ]
    with pytest.raises(UserError, match=why):
        load(tmp_path / "epoch_2.pth")


def test_where_all_are_damaged_nothing_is_overwritten_by_a_fresh_start(tmp_path):
    save(tmp_path / "epoch_1.pth", state(1), also=["last.pth"])
    flip(tmp_path / "last.pth")
    with pytest.raises(UserError, match=r"none of its checkpoints can be read \(last.pth, epoch_1.pth\)"):
        find(tmp_path)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: "[]",
        lambda text: text.replace('"step": 2', '"step": 3'),
        lambda text: text.replace('"sha256": "', '"sha256": "0'),
        lambda text: '{"sha256": "", "files": [{"name": "a"}]}',
        lambda text: "\x00" * len(text),
    ],
)
def test_find_with_damaged_manifest_warns_and_reads_the_files(tmp_path, caplog, damage):
    save(tmp_path / "epoch_1.pth", state(1))
    save(tmp_path / "epoch_2.pth", state(2), also=["last.pth"])
    manifest = tmp_path / "manifest.json"
    manifest.write_text(damage(manifest.read_text()))
    assert find(tmp_path) == tmp_path / "last.pth"
    (text,) = caplog.messages
    caplog.clear()
    assert text.startswith(f"{manifest}: ")
    assert load(tmp_path / "last.pth")["step"] == 2
    complete(tmp_path / "last.pth")  # a resumed run starts a new one
    assert find(tmp_path) == tmp_path / "last.pth"
    save(tmp_path / "epoch_3.pth", state(3))
    assert find(tmp_path) == tmp_path / "epoch_3.pth"
    assert caplog.messages == []


class Killed(BaseException):
    """Stands for SIGKILL: nothing after it runs that a kill would not let run."""


@pytest.mark.parametrize("survived", range(12))
def test_find_after_kill_between_any_two_steps_of_a_save(tmp_path, monkeypatch, caplog, survived):
    """The old one or the new one, under whatever name, and no file is called damaged."""
    path, done = type(tmp_path), []
    save(tmp_path / "step_1.pth", state(1), also=["last.pth", "best.pth"])
    replace = path.replace

    def dying_replace(source, target):
        if len(done) * 2 == survived:
            raise Killed
        done.append(target.name)
        replace(source, target)
        if len(done) * 2 - 1 == survived:
            raise Killed
        return target

    with monkeypatch.context() as patch:
        patch.setattr(path, "replace", dying_replace)
        with suppress(Killed):
            save(tmp_path / "step_2.pth", state(2), also=["last.pth", "best.pth"])
    found = find(tmp_path)
    assert load(found)["step"] == (2 if "step_2.pth" in done else 1)
    for name in ("last.pth", "best.pth"):
        assert load(tmp_path / name)["step"] == (2 if name in done else 1)
    complete(found, max_keep_ckpts=1)  # a resumed run: what the save had begun is finished, or as if it had not begun
    after = 2 if "step_2.pth" in done else 1
    assert {load(tmp_path / f"{name}.pth")["step"] for name in (f"step_{after}", "last", "best")} == {after}
    assert files(tmp_path) == ["best.pth", "last.pth", "manifest.json", f"step_{after}.pth"]
    save(tmp_path / "step_3.pth", state(3), also=["last.pth"])
    assert load(find(tmp_path))["step"] == 3
    rows = json.loads((tmp_path / "manifest.json").read_text())["files"]
    assert [row["step"] for row in rows if row["name"] in ("step_3.pth", "last.pth")] == [3, 3]  # committed
    assert caplog.messages == []


def test_the_manifest_says_what_was_written(tmp_path):
    save(tmp_path / "epoch_1.pth", state(20), also=["last.pth"])
    content = (tmp_path / "epoch_1.pth").read_bytes()
    rows = json.loads((tmp_path / "manifest.json").read_text())["files"]
    digest = hashlib.sha256(content).hexdigest()
    assert rows == [
        {"name": name, "sha256": digest, "step": 20, "size": len(content)} for name in ("epoch_1.pth", "last.pth")
    ]


# ---- the options ----


@pytest.mark.parametrize(
    ("by_epoch", "step", "name"),
    [
        (True, 60, "epoch_3.pth"),
        (True, 20, "epoch_1.pth"),
        (True, 65, "step_65.pth"),  # a run that ends, or is stopped, within an epoch
        (False, 65, "step_65.pth"),
        (False, 60, "step_60.pth"),  # an epoch's end is nothing special when steps are counted
    ],
)
def test_name(by_epoch, step, name):
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
def test_options_that_mean_nothing_are_refused(values, text):
    with pytest.raises(ValueError, match=text):
        Checkpoint(**values)


def test_the_defaults_are_those_of_mmcv():
    options = Checkpoint()
    assert (options.interval, options.by_epoch, options.save_optimizer, options.out_dir) == (-1, True, True, None)
    assert (options.max_keep_ckpts, options.save_last) == (-1, True)
