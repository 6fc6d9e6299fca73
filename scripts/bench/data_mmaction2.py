"""Run mmaction2 0.24.1 itself, in its own interpreter, as the peer of scripts/bench/data.py.

    python3.11 -m venv peer
    peer/bin/pip install "setuptools<70" wheel "numpy<2" opencv-contrib-python==4.8.1.78 decord "PyTurboJPEG<2" torch \
        torchvision
    peer/bin/pip install --no-build-isolation mmcv==1.7.0 mmaction2==0.24.1
    python scripts/bench/data.py --mmaction2 peer/bin/python

`Mmaction2` runs this file in that interpreter and exchanges lines of JSON with it: a request has the sampled frames,
the box and the flip of each sample, the response has seconds; the pixels are in a file. Time is measured in that
process, which imports nothing of vexp; the two processes take turns.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from data_timing import Figures, emptied, one_thread, timed
from torch.utils.data import DataLoader, Dataset, default_collate

MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]


class Mmaction2:
    """The pipeline of mmaction2, in its own process."""

    def __init__(self, python: str, *, reader: str, testing: bool, workers: int) -> None:
        """``reader``: "decord", or for folders of images a ``decoding_backend`` of RawFrameDecode."""
        self._pixels = Path(tempfile.mkstemp(suffix=".pt")[1])
        self._process = subprocess.Popen(
            [python, __file__, json.dumps({"reader": reader, "testing": testing, "workers": workers})],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def samples(self, drawn: list[dict[str, Any]]) -> tuple[torch.Tensor, Figures]:
        """Return a batch, float32 (N, views, 3, T, H, W), and the seconds it took."""
        return self._ask("samples", drawn)

    def spatial(self, drawn: list[dict[str, Any]]) -> tuple[torch.Tensor, Figures]:
        """Return the same, measured from the decoded frames on."""
        return self._ask("spatial", drawn)

    def loader(self, groups: list[list[dict[str, Any]]]) -> Figures:
        """Return the seconds per clip of a loader with worker processes."""
        return self._answer("loader", groups)

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        self._pixels.unlink()

    def _ask(self, what: str, drawn: list[dict[str, Any]]) -> tuple[torch.Tensor, Figures]:
        found = self._answer(what, drawn)
        return torch.load(self._pixels, weights_only=True, mmap=True), found

    def _answer(self, what: str, drawn: Any) -> Figures:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps([what, drawn, str(self._pixels)]), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(
                f"mmaction2's interpreter ended with status {self._process.wait()}; see its output above"
            )
        return {name: float(value) for name, value in json.loads(answer).items()}


class Drawn(Dataset[Any]):
    """Samples with given random values, through a pipeline of mmaction2."""

    def __init__(self, groups: list[list[dict[str, Any]]], make: Any) -> None:
        self.samples, self.make = [sample for group in groups for sample in group], make

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, number: int) -> Any:
        return self.make(_results(self.samples[number]))


def serve(requests: Any, responses: Any, *, reader: str, testing: bool, workers: int) -> None:
    """Answer requests until there are no more."""
    decoding, rest = _steps(reader, testing)
    from mmaction.datasets.pipelines import Compose

    whole, decode, spatial = Compose([*decoding, *rest]), Compose(decoding), Compose(rest)
    for request in requests:
        what, drawn, pixels = json.loads(request)
        if what == "loader":
            loader: Any = DataLoader(
                Drawn(drawn, whole), batch_size=len(drawn[0]), num_workers=workers, multiprocessing_context="fork",
                worker_init_fn=one_thread,
            )  # fmt: skip
            cpu, wall = emptied(loader, drawn)
        else:
            started = [_results(sample) if what == "samples" else decode(_results(sample)) for sample in drawn]
            make = whole if what == "samples" else spatial
            made, cpu, wall = timed(lambda: default_collate([make(results)["imgs"] for results in started]))  # noqa: B023
            torch.save(made, pixels)
            cpu, wall = cpu / len(drawn), wall / len(drawn)
        print(json.dumps({"cpu": cpu, "wall": wall}), file=responses, flush=True)


def _results(sample: dict[str, Any]) -> dict[str, Any]:
    """Return the results of mmaction2's SampleFrames."""
    import numpy as np

    named = "frame_dir" if Path(sample["path"]).is_dir() else "filename"
    return {
        named: sample["path"], "frame_inds": np.array(sample["frames"]) + sample["first"], "box": sample["box"],
        "mirrored": sample["mirrored"], "num_clips": sample["clips"], "clip_len": sample["clip_len"], "label": 0,
        "total_frames": sample["total_frames"], "start_index": sample["first"], "offset": 0, "modality": "RGB",
        "filename_tmpl": "img_{:05}.jpg", "frame_interval": 1,
    }  # fmt: skip


def _steps(reader: str, testing: bool) -> tuple[list[Any], list[Any]]:
    """Return the transforms of decoding and the later ones, as in published configs, with given random values."""
    from mmaction.datasets.builder import PIPELINES
    from mmaction.datasets.pipelines import Flip, RandomResizedCrop

    @PIPELINES.register_module()  # type: ignore[untyped-decorator]
    class DrawnCrop(RandomResizedCrop):  # type: ignore[misc]
        def __call__(self, results: dict[str, Any]) -> Any:
            left, top, width, height = results.pop("box")
            self.get_crop_bbox = lambda *_: (left, top, left + width, top + height)
            return super().__call__(results)

    @PIPELINES.register_module()  # type: ignore[untyped-decorator]
    class DrawnFlip(Flip):  # type: ignore[misc]
        def __call__(self, results: dict[str, Any]) -> Any:
            self.flip_ratio = float(results.pop("mirrored"))
            return super().__call__(results)

    decoding = (
        [{"type": "DecordInit"}, {"type": "DecordDecode"}]
        if reader == "decord"
        else [{"type": "RawFrameDecode", "decoding_backend": reader}]
    )
    views = (
        [{"type": "ThreeCrop", "crop_size": 256}]
        if testing
        else [
            {"type": "DrawnCrop"},
            {"type": "Resize", "scale": (224, 224), "keep_ratio": False},
            {"type": "DrawnFlip"},
        ]
    )
    rest = [
        {"type": "Resize", "scale": (-1, 256)},
        *views,
        {"type": "Normalize", "mean": MEAN, "std": STD, "to_bgr": False},
        {"type": "FormatShape", "input_format": "NCTHW"},
        {"type": "Collect", "keys": ["imgs", "label"], "meta_keys": []},
        {"type": "ToTensor", "keys": ["imgs", "label"]},
    ]
    return decoding, rest


def main() -> None:
    import cv2

    # What mmaction2 prints must not mix with the responses.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    serve(sys.stdin, answers, **json.loads(sys.argv[1]))


if __name__ == "__main__":
    main()
