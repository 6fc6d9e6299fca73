"""Names of the Hugging Face Hub: their parts, and downloads from a server that answers as the hub does."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save
from support.small_net import Net, other

from vexp.core.errors import ConfigError, UserError
from vexp.model.weights import hub
from vexp.model.weights.hub import HubName, parse
from vexp.model.weights.load import load_checkpoint, open_weights, read_checkpoint
from vexp.model.weights.source import check, locate

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LABELS = {str(index): name for index, name in enumerate(["run", "jump", "sit"])}


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("hf://org/name", HubName("org/name")),
        ("hf://MCG-NJU/videomae-base_v1.0", HubName("MCG-NJU/videomae-base_v1.0")),
        ("hf://org/name@v1.0", HubName("org/name", "v1.0")),
        (f"hf://org/name@{COMMIT}/a/b.safetensors", HubName("org/name", COMMIT, "a/b.safetensors")),
        ("hf://org/name/w.pth", HubName("org/name", None, "w.pth")),
        ("hf://org/name@refs/pr/3/w.pth", HubName("org/name", "refs/pr/3", "w.pth")),
        ("hf://org/name@a%2Fb", HubName("org/name", "a/b")),
    ],
)
def test_parse_name_gives_its_parts(source: str, name: HubName) -> None:
    assert parse(source) == name
    assert parse(str(name)) == name


@pytest.mark.parametrize(
    ("source", "rule"),
    [
        ("hf://", "is no name of a model"),
        ("hf://name", "is no name of a model"),
        ("hf://org/", "is no name of a model"),
        ("hf://org/../name", "is no name of a model"),
        ("hf://org/na--me", "is no name of a model"),
        ("hf://org/na me", "is no name of a model"),
        ("hf://org/name@", "is no name of a model"),
        ("hf://org/name@v1@v2", "is no name of a model"),
        ("hf://org/name\0", "is no name of a model"),
        ("hf://org/name/../../etc/passwd", "names no file"),
        ("hf://org/name//etc/passwd", "names no file"),
        ("hf://org/name/folder/", "names no file"),
        ("hf://org/name/a\\b", "names no file"),
        ("hf://org/name@..", "names no branch, tag or commit"),
        ("hf://org/name@..%2F..", "names no branch, tag or commit"),
    ],
)
def test_check_malformed_name_names_the_key(source: str, rule: str) -> None:
    with pytest.raises(ConfigError, match=rule) as caught:
        check("init_from", source)
    assert caught.value.key == "init_from"


def test_check_without_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'vexp\[hf\]'"):
        check("init_from", "hf://org/name")


class Answers(BaseHTTPRequestHandler):
    """The parts of the hub's interface that a download needs; ``files`` are those of the repository org/name."""

    files: dict[str, bytes] = {}  # noqa: RUF012
    asked: list[str] = []  # noqa: RUF012

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.asked.append(f"{self.command} {self.path}")
        parts = self.path.partition("?")[0].strip("/").split("/")
        if parts[0] == "api":
            files = [{"type": "file", "path": name, "oid": "0" * 40, "size": 1} for name in self.files]
            siblings = {"id": "org/name", "siblings": [{"rfilename": name} for name in self.files]}
            return self.answer(200, json.dumps(files if "tree" in parts else siblings).encode(), {})
        repository, revision, file = "/".join(parts[:2]), parts[3], "/".join(parts[4:])
        if repository == "org/gated":
            return self.answer(403, b"", {"X-Error-Code": "GatedRepo"})
        if repository != "org/name":
            return self.answer(404, b"", {"X-Error-Code": "RepoNotFound"})
        if revision not in ("main", COMMIT):
            return self.answer(404, b"", {"X-Error-Code": "RevisionNotFound"})
        if file not in self.files:
            return self.answer(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})
        content = self.files[file]
        return self.answer(200, content, {"X-Repo-Commit": COMMIT, "ETag": f'"{hashlib.sha1(content).hexdigest()}"'})

    def answer(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, bytes]]:
    """The files of the repository, of which the cache has none."""
    pytest.importorskip("huggingface_hub")
    from huggingface_hub import constants

    Answers.files, Answers.asked = {}, []
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        address = f"http://127.0.0.1:{server.server_port}"
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, address)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "ENDPOINT", address)
        yield Answers.files
        server.shutdown()
        thread.join()


def downloads() -> int:
    """The number of files that were downloaded."""
    return sum(asked.startswith("GET /org/name/resolve/") for asked in Answers.asked)


def sharded(files: dict[str, bytes]) -> None:
    state = other()
    names = {key: f"model-0000{1 + key.startswith('head')}-of-00002.safetensors" for key in state}
    for name in set(names.values()):
        files[name] = save({key: state[key] for key in state if names[key] == name})
    files["model.safetensors.index.json"] = json.dumps({"weight_map": names}).encode()


def test_load_checkpoint_hub_name_is_downloaded_once(files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    sharded(files)
    files["config.json"] = json.dumps({"id2label": LABELS}).encode()
    files["preprocessor_config.json"] = json.dumps({"image_mean": [0.4, 0.5, 0.6], "image_std": [0.2] * 3}).encode()
    report = load_checkpoint(Net(), "hf://org/name")
    assert (len(report.matched), report.kind) == (8, "huggingface")
    assert f"model.safetensors.index.json at commit {COMMIT}" in report.notes
    assert (report.metadata.mean, report.metadata.classes) == ([102, 127.5, 153], ["run", "jump", "sit"])
    assert downloads() == 5
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    for source in ("hf://org/name", "hf://org/name@main", f"hf://org/name@{COMMIT}"):
        assert open_weights(locate(source), source).metadata == report.metadata
    assert downloads() == 5


def test_read_checkpoint_hub_file_of_a_commit_needs_no_request(files: dict[str, bytes], tmp_path: Path) -> None:
    torch.save(other(), tmp_path / "w.pth")
    files["folder/w.pth"] = (tmp_path / "w.pth").read_bytes()
    for _ in range(2):
        assert torch.equal(read_checkpoint(f"hf://org/name@{COMMIT}/folder/w.pth")["head.bias"], other()["head.bias"])
    assert downloads() == 1


def test_load_checkpoint_hub_index_in_a_folder_downloads_its_shards(files: dict[str, bytes]) -> None:
    sharded(files)
    for name in list(files):
        files[f"fp32/{name}"] = files.pop(name)
    report = load_checkpoint(Net(), "hf://org/name@main/fp32/model.safetensors.index.json")
    assert (len(report.matched), report.kind, downloads()) == (8, "plain", 3)


@pytest.mark.parametrize(
    ("source", "names", "fragment"),
    [
        ("hf://org/none", [], "the hub has no such repository, or it is private"),
        ("hf://org/gated", [], "access is not granted; accept the conditions of https://huggingface.co/org/gated"),
        ("hf://org/name@v2", [], "the repository has no branch, tag or commit v2"),
        ("hf://org/name/w.pth", [], r"the repository has no file w\.pth"),
        ("hf://org/name", ["README.md"], "has no weights: no model.safetensors"),
        ("hf://org/name", ["pytorch_model.bin"], r"vexp convert hf://org/name/pytorch_model\.bin model\.safetensors"),
        ("hf://org/name", ["a.pth", "b.pth"], r"name one of its files \(a\.pth, b\.pth\), as in hf://org/name/a\.pth"),
    ],
)
def test_locate_hub_name_without_weights_raises(
    source: str, names: list[str], fragment: str, files: dict[str, bytes]
) -> None:
    files |= dict.fromkeys(names, b"x")
    with pytest.raises(UserError, match=fragment) as caught:
        locate(source)
    assert str(caught.value).startswith(source)
    assert "\n" not in str(caught.value)


def test_locate_hub_index_pointing_outside_is_refused(files: dict[str, bytes]) -> None:
    files["model.safetensors.index.json"] = json.dumps({"weight_map": {"a": "../../../a.safetensors"}}).encode()
    with pytest.raises(UserError, match="refused: the file of a is outside of the folder"):
        locate("hf://org/name")
    assert not any("a.safetensors" in asked for asked in Answers.asked)


def test_locate_unreachable_hub_uses_the_cache_or_raises(files: dict[str, bytes], monkeypatch: Any) -> None:
    import huggingface_hub
    from huggingface_hub import errors

    sharded(files)
    assert locate("hf://org/name").path.name == "model.safetensors.index.json"

    def unreachable(*_: object, **__: object) -> None:
        raise errors.LocalEntryNotFoundError("not found") from OSError("Name or service not known")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", unreachable)
    assert locate("hf://org/name").path.name == "model.safetensors.index.json"
    with pytest.raises(UserError, match=r"the hub cannot be reached: Name or service not known; download it elsewhere"):
        locate("hf://org/name@v2")
