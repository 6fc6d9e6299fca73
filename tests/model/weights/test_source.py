"""Where weights come from: addresses, checksums, the cache, names of torchvision's, and what they say of themselves."""

from __future__ import annotations

import enum
import hashlib
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torchvision.models
from support.tables import default_lane_has

from vexp import compose
from vexp.config.preflight import check_inputs
from vexp.config.provenance import Provenance
from vexp.core.errors import UserError
from vexp.experiment.initial_weights import conflicts
from vexp.model import build_model
from vexp.model.weights import download
from vexp.model.weights.load import load_checkpoint, read_checkpoint
from vexp.model.weights.metadata import Metadata, of_huggingface, of_mmaction2
from vexp.model.weights.source import check, is_local, locate


class Quiet(SimpleHTTPRequestHandler):
    asked: list[str] = []  # noqa: RUF012

    def do_GET(self) -> None:
        self.asked.append(self.path)
        super().do_GET()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, str]]:
    """(folder that is served, its address), with an empty torch.hub folder."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    folder = tmp_path / "www"
    folder.mkdir()
    Quiet.asked.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield folder, f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def put(path: Path, seed: int = 0) -> str:
    """Weights of tiny3d in a file; its checksum."""
    torch.manual_seed(seed)
    torch.save(build_model("tiny3d", 4).state_dict(), path)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_load_checkpoint_url_with_checksum_is_cached(server: tuple[Path, str]) -> None:
    folder, address = server
    digits = put(folder / "w.pth")
    for stated in (digits, digits[:8], digits[:8].upper()):
        assert len(load_checkpoint(build_model("tiny3d", 4), f"{address}/w.pth#sha256={stated}").matched) == 82
    assert Quiet.asked == ["/w.pth"]  # the others came from the cache


def test_read_checkpoint_wrong_checksum_raises_and_deletes(server: tuple[Path, str], tmp_path: Path) -> None:
    folder, address = server
    put(folder / "w.pth")
    for _ in range(2):
        with pytest.raises(UserError, match="does not match the checksum 00000000"):
            read_checkpoint(f"{address}/w.pth#sha256=00000000")
    assert not list((tmp_path / "hub" / "checkpoints").iterdir())


def test_locate_damaged_cached_file_is_downloaded_again(server: tuple[Path, str]) -> None:
    folder, address = server
    digits = put(folder / "w.pth")
    cached = locate(f"{address}/w.pth#sha256={digits}").path
    cached.write_bytes(cached.read_bytes()[:1000])
    assert locate(f"{address}/w.pth#sha256={digits}").path == cached
    assert hashlib.sha256(cached.read_bytes()).hexdigest() == digits


def test_read_checkpoint_equal_file_names_are_cached_separately(server: tuple[Path, str]) -> None:
    """torch.hub keeps them by name: the second address would get the first one's weights."""
    folder, address = server
    (folder / "a").mkdir()
    (folder / "b").mkdir()
    put(folder / "a" / "w.pth", seed=0)
    put(folder / "b" / "w.pth", seed=1)
    first, second = (read_checkpoint(f"{address}/{name}/w.pth") for name in "ab")
    assert not torch.equal(first["head.weight"], second["head.weight"])


def test_load_checkpoint_url_without_checksum_is_reported(server: tuple[Path, str]) -> None:
    folder, address = server
    digits = put(folder / "w.pth")
    report = load_checkpoint(build_model("tiny3d", 4), f"{address}/w.pth")
    assert f"append #sha256={digits}" in str(report)


def test_read_checkpoint_html_page_raises_and_deletes(server: tuple[Path, str], tmp_path: Path) -> None:
    folder, address = server
    (folder / "w.pth").write_text("<!DOCTYPE html>please log in")
    with pytest.raises(UserError, match="is not a checkpoint"):
        read_checkpoint(f"{address}/w.pth")
    assert not list((tmp_path / "hub" / "checkpoints").iterdir())
    with pytest.raises(UserError, match=r"the download failed: .*[Nn]ot found"):
        read_checkpoint(f"{address}/none.pth")


def test_locate_checksum_in_file_name_is_verified(server: tuple[Path, str]) -> None:
    """As torch.hub and OpenMMLab name their files."""
    folder, address = server
    digits = put(folder / "w.pth")
    (folder / "w.pth").rename(folder / f"tsn_20200614-{digits[:8]}.pth")
    assert "checksum" in locate(f"{address}/tsn_20200614-{digits[:8]}.pth").notes[0]
    put(folder / "tsn-01234567.pth")
    with pytest.raises(UserError, match="checksum 01234567"):
        locate(f"{address}/tsn-01234567.pth")


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ("http://example.org/w.pth", "downloads over http can be tampered with; use https"),
        ("open-mmlab://resnet50_caffe", "OpenMMLab's model names are not supported"),
        ("modelzoo://resnet50", "write torchvision://resnet50"),
        ("s3://bucket/w.pth", "the scheme s3:// is not supported"),
        ("nowhere/w.pth", "no such checkpoint or run folder"),
    ],
)
def test_check_unsupported_source_raises(named: str, message: str) -> None:
    with pytest.raises(UserError, match=f"init_from={named}: {message}"):
        check("init_from", named)
    with pytest.raises(UserError, match=message):
        locate(named)


def test_locate_invalid_fragment_raises(server: tuple[Path, str]) -> None:
    with pytest.raises(UserError, match="must be sha256=DIGITS"):
        locate(f"{server[1]}/w.pth#md5=00")


@pytest.fixture
def published(server: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """tiny3d's weights stand for those of torchvision's r3d_18, with the metadata of the real ones."""
    folder, address = server
    digits = put(folder / "w.pth")
    (folder / "w.pth").rename(folder / f"r3d_18-{digits[:8]}.pth")
    real: Any = torchvision.models.get_model_weights("r3d_18")["KINETICS400_V1"]

    class Published(enum.Enum):
        KINETICS400_V1 = SimpleNamespace(url=f"{address}/r3d_18-{digits[:8]}.pth")

        url = property(lambda self: self.value.url)
        meta = property(lambda self: real.meta)
        transforms = property(lambda self: real.transforms)

    monkeypatch.setattr(torchvision.models, "get_model_weights", lambda name: Published)
    return "torchvision://r3d_18"


@pytest.mark.parametrize("which", ["", ":KINETICS400_V1"])
def test_load_checkpoint_torchvision_name_reports_metadata(published: str, which: str) -> None:
    report = load_checkpoint(build_model("tiny3d", 4), published + which)
    assert report.kind == "torchvision"
    assert report.metadata.classes is not None
    assert (len(report.metadata.classes), report.metadata.input_size) == (400, [112, 112])
    assert report.metadata.mean == [110.201, 100.64, 95.995]  # (0.43216, 0.394666, 0.37645) * 255


def test_locate_unknown_torchvision_weights_raises(published: str) -> None:
    with pytest.raises(UserError, match="published weights of r3d_18 are KINETICS400_V1"):
        locate(f"{published}:V9")


def test_locate_unknown_torchvision_model_raises() -> None:
    with pytest.raises(UserError, match=r"torchvision has no model 'r3d_81'; did you mean r3d_18\?"):
        locate("torchvision://r3d_81")


def test_conflicts_of_rgb_weights_with_optical_flow_are_none() -> None:
    trained = Metadata(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])
    assert trained.conflicts(mean=[127.5] * 2, std=[127.5] * 2, to_bgr=False) == []


def test_conflicts_other_normalization_is_reported(published: str) -> None:
    report = load_checkpoint(build_model("tiny3d", 4), published)
    (mean, std) = conflicts(report, compose([]), ["a"] * 4)
    assert "trained with img_norm.mean=[110.201,100.64,95.995], this run has [123.675,116.28,103.53]" in mean
    assert "img_norm.std=[58.148,56.47,55.332]" in std
    norm = ["img_norm.mean=[110.2,100.6,96]", "img_norm.std=[58.1,56.5,55.3]"]
    assert conflicts(report, compose(norm), ["a"] * 4) == []
    assert (
        "trained on RGB; set img_norm.to_bgr=false"
        in conflicts(report, compose([*norm, "img_norm.to_bgr=true"]), [])[0]
    )


CONFIG_0X = """
model = dict(type='Recognizer2D', backbone=dict(type='ResNet', depth=50))
img_norm_cfg = dict(mean=[104, 117, 128], std=[1, 1, 1], to_bgr=True)
train_pipeline = [dict(type='Normalize', **img_norm_cfg)]
"""
CONFIG_1X = """
model = dict(data_preprocessor=dict(type='ActionDataPreprocessor', mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375], format_shape='NCHW'), type='Recognizer2D')
"""


def test_of_mmaction2_config_text_gives_normalization() -> None:
    """The text of its config is parsed, never run."""
    old = of_mmaction2({"config": CONFIG_0X, "CLASSES": ("a", "b")})
    assert (old.mean, old.std, old.to_bgr, old.classes) == ([104, 117, 128], [1, 1, 1], True, ["a", "b"])
    new = of_mmaction2({"cfg": CONFIG_1X, "dataset_meta": {"classes": ["a", "b"]}})
    assert (new.mean, new.to_bgr, new.classes) == ([123.675, 116.28, 103.53], False, ["a", "b"])
    assert of_mmaction2({"config": "import os; (", "CLASSES": None}).mean is None


@pytest.mark.parametrize(
    ("processor", "mean", "std"),
    [
        ({"image_mean": [0.5] * 3, "image_std": [0.25] * 3}, 127.5, 63.75),
        (
            {"image_mean": [0.5] * 3, "image_std": [0.25] * 3, "do_rescale": True, "rescale_factor": 1 / 255},
            127.5,
            63.75,
        ),
        ({"image_mean": [90.0] * 3, "image_std": [30.0] * 3, "do_rescale": False}, 90, 30),
        ({"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "rescale_factor": 1 / 127.5, "offset": True}, 191.25, 63.75),
        ({"image_mean": [0.5] * 3, "image_std": [0.25] * 3, "do_normalize": False}, 0, 255),
        ({"video_processor": {"image_mean": [0.5] * 3, "image_std": [0.25] * 3}}, 127.5, 63.75),
        ({"video_processor": "x"}, None, None),
        ({"image_mean": [0.5] * 3, "image_std": [0.25] * 3, "rescale_factor": "x"}, None, None),
        ({"image_mean": "x"}, None, None),
        ({}, None, None),
    ],
)
def test_of_huggingface_processor_gives_normalization(processor: Any, mean: float | None, std: float | None) -> None:
    """The same pixels: x -> ((x * factor - offset) - mean) / std."""
    metadata = of_huggingface({}, {}, processor)
    assert (metadata.mean, metadata.std) == tuple(None if value is None else [value] * 3 for value in (mean, std))


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        ({"1": "b", "0": "a"}, ["a", "b"]),
        ({"0": "LABEL_0", "1": "LABEL_1"}, None),
        ({"0": "a", "2": "b"}, None),
        (["a"], None),
        ({}, None),
    ],
)
def test_of_huggingface_config_gives_classes(labels: Any, classes: list[str] | None) -> None:
    assert of_huggingface({"id2label": labels}).classes == classes


def test_conflicts_other_class_order_is_reported() -> None:
    """The classifier was taken over, and its columns mean something else."""
    report = load_checkpoint_of(["left", "right"])
    assert conflicts(report, compose([]), ["left", "right"]) == []
    (said,) = conflicts(report, compose([]), ["right", "left"])
    assert "class 0 is left in the file and right in the data" in said


def load_checkpoint_of(classes: list[str]) -> Any:
    from vexp.model.weights.matching import match_tensors
    from vexp.model.weights.report import LoadReport

    model = build_model("tiny3d", len(classes))
    return LoadReport("w.pth", "vexp", match_tensors(model, model.state_dict()), Metadata(classes=classes), [])


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("", "is empty; give a file, a run folder"),
        (" ", "is empty"),
        ("https://[::1", "is not a valid URL: Invalid IPv6 URL"),
        ("https://host:port/w.pth", "is not a valid URL: Port could not"),
        ("https://host:99999/w.pth", "is not a valid URL: Port out of range"),
        ("https:///w.pth", "is not a valid URL"),
        ("https://host/two words.pth", "is not a valid URL"),
        ("https://host/\n.pth", "is not a valid URL"),
        ("https://h\u00f6st/w.pth", "is not a valid URL"),
        ("http://[::1", "is not a valid URL"),
        ("https://me:s3cr3t@host/w.pth", "has a password or a token"),
        ("https://host/w.pth?download=1&X-Amz-Signature=s3cr3t", "has a password or a token"),
        ("x" * 300, "no such checkpoint or run folder"),
        ("~nobody/w.pth", "no such checkpoint or run folder"),
        ("a\0b", "no such checkpoint or run folder"),
        ("/dev/null", "is neither a file nor a run folder"),
    ],
)
def test_check_malformed_source_names_the_key(source: str, text: str) -> None:
    with pytest.raises(UserError, match=text) as caught:
        check("init_from", source)
    assert str(caught.value).startswith("init_from=")
    assert "s3cr3t" not in str(caught.value)
    with pytest.raises(UserError, match=text):
        locate(source)


def test_locate_pipe_raises(tmp_path: Path) -> None:
    """Opening it would wait for a writer."""
    os.mkfifo(tmp_path / "w.pth")
    with pytest.raises(UserError, match="is neither a file nor a run folder"):
        read_checkpoint(tmp_path / "w.pth")


@pytest.mark.parametrize("key", ["init_from", "model.weights.path"])
def test_check_inputs_empty_path_names_the_key(key: str) -> None:
    with pytest.raises(UserError, match=rf"^{key}=: (is|must not be) empty"):
        check_inputs(compose([f"{key}="]), Provenance())


def test_locate_long_file_name_is_shortened(server: tuple[Path, str]) -> None:
    folder, address = server
    digits = put(folder / "w.pth")
    query = "%C3%A9" * 300 + f"-{digits[:8]}.pth"
    with pytest.raises(UserError, match="the download failed: File not found"):
        locate(f"{address}/{query}")
    with pytest.raises(UserError, match="the download failed"):
        locate(f"{address}/{'a' * 5000}.pth")


@pytest.fixture
def silent_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[list[bytes], str]]:
    """(what it sends, each piece after 0.1 seconds, its address); it never closes a connection."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(download, "TIMEOUT", 0.4)
    pieces: list[bytes] = []
    closed = threading.Event()

    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection, suppress(OSError):
            for piece in pieces:
                connection.sendall(piece)
                closed.wait(0.1)
            closed.wait()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        yield pieces, f"http://127.0.0.1:{listener.getsockname()[1]}"
        closed.set()
        thread.join()


HEADER = b"HTTP/1.0 200 OK\r\nContent-Length: 100000\r\n\r\n"


@pytest.mark.parametrize(
    "pieces",
    default_lane_has(
        1,
        [
            [],
            [bytes([byte]) for byte in HEADER],  # a byte in time, again and again
            [HEADER],
            [HEADER, *[b"x"] * 50],
        ],
    ),
)
def test_locate_server_that_stops_answering_raises(
    silent_server: tuple[list[bytes], str], tmp_path: Path, pieces: list[bytes]
) -> None:
    sent, address = silent_server
    sent += pieces
    with pytest.raises(
        UserError, match=r"the download failed: .*(less than 16 kB in 0.4 seconds|timed out).* manually"
    ):
        locate(f"{address}/w.pth")
    assert list((tmp_path / "hub" / "checkpoints").iterdir()) == []


def test_locate_incomplete_answer_raises(
    silent_server: tuple[list[bytes], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sent, address = silent_server
    sent += [b"no HTTP\r\n\r\n"]
    with pytest.raises(UserError, match="the download failed: no HTTP"):
        locate(f"{address}/w.pth")


def test_is_local_finds_files_and_downloads_without_a_network(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    names = [str(tmp_path / "a.pth"), "https://example.org/w-01234567.pth", "torchvision://resnet50"]
    assert [is_local(name) for name in names] == [False] * 3
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    for path in ("a.pth", "hub/checkpoints/w-01234567.pth", "hub/checkpoints/resnet50-0676ba61.pth"):
        (tmp_path / path).write_bytes(b"")
    assert [is_local(name) for name in names] == [True] * 3
