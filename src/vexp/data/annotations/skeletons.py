"""Lists of skeletons: the pickles that mmaction2 publishes for PoseC3D, and JSON files of the same structure.

A file is ``{"split": {NAME: [names]}, "annotations": [entries]}``, or a list of entries. An entry has

    frame_dir or filename   name of the sample
    label                   class index
    img_shape               (height, width) of the frames in pixels
    total_frames            number of frames, T
    keypoint                (persons, T, joints, 2), x and y in pixels; a joint at (0, 0) is missing
    keypoint_score          (persons, T, joints), confidence 0..1; missing: 1

Kinetics has one pickle per video instead, FOLDER/NAME.pkl, with a row per detected person: ``keypoint`` (rows, joints,
3), x, y and score, and ``frame_inds`` (rows,), their frames. Its entries have ``box_score`` (rows,), the confidence of
each detection, and ``valid`` {threshold: frames}, the frames with a person of that confidence (0.x: ``valid@0.5``).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vexp.core.array_pickle import read_pickle
from vexp.core.documents import read_json
from vexp.core.errors import UserError
from vexp.data.annotations.builder import Problems
from vexp.data.annotations.packed import PackedStrings
from vexp.data.storage import is_stored, read

Joints = NDArray[np.floating[Any]]  # (persons, frames, joints, 3): x and y in pixels, confidence
_MOST_FRAMES = 1 << 20  # of a video; a damaged number must not allocate all memory
_PICKLES = (".pkl", ".pickle")


@dataclass(slots=True, eq=False)
class Skeletons:
    """The skeletons of a split."""

    names: PackedStrings
    labels: NDArray[np.int32]  # (n,), class indices
    sizes: NDArray[np.int32]  # (n, 2), width and height of the frames in pixels
    joints: list[Joints | None]  # of each sample; None if they are in a file of their own
    rows: list[NDArray[np.bool_] | None]  # the rows of that file whose detections are used; None: all
    folder: str = ""  # of these files
    origin: str = ""  # for the log

    def __len__(self) -> int:
        return len(self.names)

    def file(self, index: int) -> str:
        """Return the path of the pickle that holds the joints of a sample."""
        return os.path.join(self.folder, f"{self.names[index].removesuffix('.pkl')}.pkl")


def read_skeletons(
    path: Path, *, subset: str | None = None, folder: str = "", box_thr: float = 0.5, valid_ratio: float = 0.0,
    class_count: int | None = None,
) -> Skeletons:  # fmt: skip
    """Read a list of skeletons.

    Args:
        path: The file, a pickle or JSON.
        subset: Name of the list in ``split`` whose samples are read; None: all.
        folder: Folder of the files with the joints of each sample, for entries without them.
        box_thr: Confidence of the detections that count, if ``valid_ratio`` is positive.
        valid_ratio: Fraction of the frames that must have such a detection.
        class_count: Number of classes; None: any label.

    Raises:
        UserError: If the file cannot be read, an entry is invalid, or no sample remains.
    """
    entries = _entries(path, subset)
    problems, names, found = Problems(path), [], []
    for position, entry in enumerate(entries):
        try:
            if valid_ratio > 0 and _valid_frames(entry, box_thr) < valid_ratio * _number(entry, "total_frames"):
                continue
            found.append(_sample(entry, box_thr if valid_ratio > 0 else None, class_count))
            names.append(_name(entry))
        except UserError as error:
            problems.add(_name(entry, position), str(error))
    problems.raise_any()
    if not found:
        raise UserError(f"{path}: contains no sample" + (" with enough valid frames" if entries else ""))
    labels, sizes, joints, rows = zip(*found, strict=True)
    listed = f"{len(found)} skeletons" + (f" of {subset}" if subset else "")
    return Skeletons(
        PackedStrings.pack(names), np.array(labels, np.int32), np.array(sizes, np.int32), list(joints), list(rows),
        folder, f"{path}: {listed}",
    )  # fmt: skip


def read_joints(path: str | Path, rows: NDArray[np.bool_] | None, *, max_person: int, squeeze: bool) -> Joints:
    """Read the file of one sample and arrange its detections by person and frame (``DecompressPose`` of mmaction2).

    Args:
        path: The pickle.
        rows: Detections that are used, bool (rows,); None: all.
        max_person: Persons in a frame; those with the highest sums of scores are kept.
        squeeze: Whether frames without a person are removed.

    Raises:
        UserError: If it cannot be read, or holds no detection.
    """
    try:
        content = read_pickle(path, read(str(path)) if is_stored(path) else None)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    joints, frames = (np.asarray(_field(content, key)) for key in ("keypoint", "frame_inds"))
    if joints.ndim != 3 or joints.shape[2] != 3 or frames.shape != joints.shape[:1] or frames.dtype.kind not in "iu":
        raise UserError(f"{path}: keypoint must be (rows, joints, 3) and frame_inds (rows,), integers")
    if rows is not None:
        if rows.shape != frames.shape:
            raise UserError(f"{path}: has {len(frames)} rows, the box_score of the list has {len(rows)}")
        joints, frames = joints[rows], frames[rows]
    if not len(frames):
        raise UserError(f"{path}: has no person")
    if not 0 <= int(frames.min()) <= int(frames.max()) < _MOST_FRAMES:
        raise UserError(f"{path}: frame_inds must be in 0..{_MOST_FRAMES - 1}")
    if squeeze:
        frames = np.unique(frames, return_inverse=True)[1]
    # Persons with the highest scores come first if there are too many; otherwise the order of the file counts.
    counts = np.bincount(frames)
    scores = -joints[:, :, 2].astype(np.float32).sum(1) if counts.max() > max_person else np.zeros(len(frames))
    order = np.lexsort((scores, frames))
    person = np.arange(len(frames)) - np.repeat(np.cumsum(counts) - counts, counts)
    kept = person < max_person
    result = np.zeros((min(int(counts.max()), max_person), len(counts), *joints.shape[1:]), np.float16)
    result[person[kept], frames[order][kept]] = joints[order][kept]
    return result


def _entries(path: Path, subset: str | None) -> Sequence[Any]:
    content = read_pickle(path) if path.suffix in _PICKLES else read_json(path)
    entries = content.get("annotations") if isinstance(content, dict) else content
    if not isinstance(entries, list):
        raise UserError(f"{path}: is no list of skeletons: a list of entries, or a dict of split and annotations")
    if subset is None:
        return entries
    subsets = content.get("split") if isinstance(content, dict) else None
    if not isinstance(subsets, dict) or not isinstance(subsets.get(subset), list):
        known = f"it has {', '.join(map(str, subsets))}" if isinstance(subsets, dict) else "it has no splits"
        raise UserError(f"{path}: has no split {subset!r}; {known}")
    members = set(subsets[subset])
    return [entry for entry in entries if _name(entry, 0) in members]


def _name(entry: Any, position: int | None = None) -> str:
    """Return the name of an entry, or its position if it has none."""
    for key in ("frame_dir", "filename"):
        if isinstance(entry, dict) and isinstance(entry.get(key), str):
            return str(entry[key])
    if position is None:
        raise UserError("has no frame_dir, the name of the sample")
    return f"annotations[{position}]"


def _sample(
    entry: Any, box_thr: float | None, class_count: int | None
) -> tuple[int, tuple[int, int], Joints | None, NDArray[np.bool_] | None]:
    """Return label, size, joints and used rows of an entry."""
    label = int(_number(entry, "label"))
    if label < 0 or (class_count is not None and label >= class_count):
        raise UserError(f"label {label}, but there are {class_count or 'no negative'} classes")
    height, width = (int(side) for side in np.asarray(_field(entry, "img_shape")).reshape(-1)[:2])
    if min(height, width) < 1:
        raise UserError(f"img_shape is {height}x{width}, must be height and width in pixels")
    if "keypoint" not in entry:
        boxes = None if box_thr is None else np.asarray(_field(entry, "box_score")) >= box_thr
        return label, (width, height), None, boxes
    return label, (width, height), _joints(entry), None


def _joints(entry: Mapping[str, Any]) -> Joints:
    try:
        points, scores = np.asarray(entry["keypoint"]), entry.get("keypoint_score")
        scores = np.ones(points.shape[:3], np.float16) if scores is None else np.asarray(scores)
    except ValueError:
        raise UserError("keypoint or keypoint_score has rows of different length") from None
    if points.ndim == 4 and points.shape[3] == 3 and "keypoint_score" not in entry:
        raise UserError("has joints in three dimensions, which only graph networks take; heat maps need x and y")
    if points.ndim != 4 or points.shape[3] < 2 or scores.shape != points.shape[:3] or points.dtype.kind not in "iuf":
        shapes = f"{points.shape} and {scores.shape}"
        raise UserError(f"keypoint must be (persons, frames, joints, 2) and keypoint_score without the 2, not {shapes}")
    if points.shape[1] < 1:
        raise UserError("has no frame")
    exact = points.dtype == scores.dtype == np.float16  # as published; half of the memory
    kind = np.float16 if exact or (points.dtype == np.float16 and "keypoint_score" not in entry) else np.float32
    return np.concatenate(
        [points[..., :2], scores[..., None]], axis=3, dtype=kind, casting="same_kind" if exact else "unsafe"
    )


def _valid_frames(entry: Any, box_thr: float) -> float:
    """Return the number of frames that have a person detected with a confidence of ``box_thr``."""
    valid = entry.get("valid") if isinstance(entry, dict) else None
    if isinstance(valid, dict) and box_thr in valid:
        return float(valid[box_thr])
    if isinstance(valid, dict) and f"{box_thr}" in valid:  # JSON
        return float(valid[f"{box_thr}"])
    key = f"valid@{box_thr}" if f"valid@{box_thr}" in entry else "valid_frames"
    return _number(entry, key)


def _number(entry: Any, key: str) -> float:
    value = _field(entry, key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UserError(f"{key} must be a number, not {type(value).__name__}")
    return value


def _field(entry: Any, key: str) -> Any:
    if not isinstance(entry, dict) or key not in entry:
        raise UserError(f"has no {key}")
    return entry[key]
