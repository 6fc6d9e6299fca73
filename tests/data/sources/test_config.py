"""Data options: the source of each split, class numbers, and invalid combinations."""

import io
import json
import os

import numpy as np
import pytest

from vexp.core.errors import ConfigError, UserError
from vexp.data.loading.dataset import ClipDataset, flip_table
from vexp.data.sources.config import Data, Folder, Motion, VideoList
from vexp.data.sources.splits import Split, TrainSplit
from vexp.data.sources.subsets import select_samples
from vexp.evaluation.label_checks import class_counts


def write_list(path, text):
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return str(path)


def names(source):
    return [source.name(i) for i in range(len(source))]


@pytest.fixture
def lists(tmp_path):
    """A training list with classes 0..2 and a validation list that holds only class 1."""
    train = write_list(tmp_path / "train.txt", "a.mp4 0\nb.mp4 1\nc.mp4 2\n")
    val = write_list(tmp_path / "val.txt", "v.mp4 1\nw.mp4 1\n")
    return {"train": TrainSplit(ann_file=train), "val": Split(ann_file=val)}


@pytest.fixture
def folders(tmp_path):
    """``train`` with three classes, ``val`` with two of them."""
    for name in ("train/hop/1.mp4", "train/hop/2.mp4", "train/run/1.mp4", "train/sit/1.mp4", "val/sit/9.mp4"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return tmp_path


# ---- lists ----


def test_video_list_sources_have_samples_of_lists(lists, tmp_path):
    data = VideoList(**lists)
    data.check_files()
    train, val = data.source("train"), data.source("val")
    assert (names(train), train.labels.tolist()) == (["a.mp4", "b.mp4", "c.mp4"], [0, 1, 2])
    assert (names(val), val.labels.tolist()) == (["v.mp4", "w.mp4"], [1, 1])
    assert train.annotation.path(0) == str(tmp_path / "a.mp4")  # the list's own folder
    assert data.source("test") is None


def test_splits_share_class_indices_of_training_list(lists, tmp_path):
    assert VideoList(**lists).source("val").classes == ["0", "1", "2"]  # not ["0", "1"], which val alone would give
    lists["val"].ann_file = write_list(tmp_path / "val.txt", "v.mp4 3\n")
    with pytest.raises(UserError, match=r"val\.txt:1: label 3, but there are 3 classes"):
        VideoList(**lists).source("val")


def test_classes_file_applies_to_all_splits(lists, tmp_path):
    classes = write_list(tmp_path / "classes.txt", "hop\nrun\nsit\nspin\n")
    data = VideoList(classes=classes, **lists)
    assert data.source("train").classes == data.source("val").classes == ["hop", "run", "sit", "spin"]
    with pytest.raises(UserError, match=r"train\.txt:3: label 2, but there are 2 classes"):
        VideoList(classes=write_list(tmp_path / "two.txt", "hop\nrun\n"), **lists).source("train")


def test_data_prefix_of_split_is_used(lists, tmp_path):
    lists["val"].data_prefix = str(tmp_path / "videos")
    data = VideoList(**lists)
    assert data.source("val").annotation.path(0) == str(tmp_path / "videos" / "v.mp4")
    assert data.source("train").annotation.path(0) == str(tmp_path / "a.mp4")


def test_paths_expand_home_folder(lists, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    lists["train"].ann_file = "~/train.txt"
    lists["train"].data_prefix = "~/videos"
    assert VideoList(**lists).source("train").annotation.path(0) == str(tmp_path / "videos" / "a.mp4")


def test_list_without_ann_file_raises(lists):
    lists["val"].ann_file = None  # refused by the config of a run that evaluates
    data = VideoList(**lists)
    assert (data.source("val"), data.missing_split_error("train")) == (None, None)
    error = data.missing_split_error("val")
    assert (error.key, error.value) == ("val.ann_file", None)
    lists["train"].ann_file = None
    with pytest.raises(ConfigError) as caught:
        VideoList(**lists)
    assert (caught.value.key, caught.value.value) == ("train.ann_file", None)


def test_from_split_needs_no_list(lists):
    lists["val"] = Split(from_split="train")  # the engine asks for the source of "train" then
    data = VideoList(**lists)
    data.check_files()
    assert data.source("val") is None


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_from_split_of_itself_raises(lists, split):
    lists[split] = (TrainSplit if split == "train" else Split)(from_split=split)
    with pytest.raises(ConfigError) as caught:
        VideoList(**lists)
    assert (caught.value.key, caught.value.value) == (f"{split}.from_split", split)


def test_check_files_missing_list_raises(lists, tmp_path):
    lists["val"].ann_file = str(tmp_path / "none.txt")
    with pytest.raises(UserError, match=r"data\.val\.ann_file=.*none\.txt: no such file"):
        VideoList(**lists).check_files()


# ---- folders ----


def test_folder_sources_have_videos_of_folders(folders):
    data = Folder(root=str(folders))
    data.check_files()
    train, val = data.source("train"), data.source("val")
    assert names(train) == ["hop/1.mp4", "run/1.mp4", "sit/1.mp4", "hop/2.mp4"]
    assert (train.classes, train.labels.tolist()) == (["hop", "run", "sit"], [0, 1, 2, 0])
    assert (val.classes, val.labels.tolist()) == (["hop", "run", "sit"], [2])  # numbered as in train
    assert data.source("test") is None  # optional


def test_folder_data_prefix_names_folder_of_split(folders):
    by_hand = Folder(
        train=TrainSplit(data_prefix=str(folders / "train")),
        val=Split(data_prefix=str(folders / "val")),
        test=Split(data_prefix=str(folders / "val")),
    )
    by_root = Folder(root=str(folders))
    assert [names(by_hand.source(split)) for split in ("train", "val")] == [
        names(by_root.source(split)) for split in ("train", "val")
    ]
    assert by_hand.source("test").labels.tolist() == [2]


def test_folder_unknown_class_raises(folders):
    (folders / "val" / "spin").mkdir()
    with pytest.raises(UserError, match="val: folders spin are not among the 3 classes"):
        Folder(root=str(folders)).source("val")


def test_folder_missing_root_raises(folders):
    with pytest.raises(ConfigError) as caught:
        Folder()
    assert caught.value.key == "root"
    with pytest.raises(UserError, match=r"data\.train: no folder .*none/train;"):
        Folder(root=str(folders / "none")).check_files()


# ---- the embedded set ----


def test_motion_source_is_listed_without_creating_it(tmp_path):
    data = Motion(cache_dir=str(tmp_path), train_clips=1, val_clips=1)
    assert data.source("test") is None
    train = data.source("train")
    assert list(tmp_path.iterdir()) == []
    data.prepare()
    (folder,) = tmp_path.iterdir()
    assert [f"{train.name(i)} {train.labels[i]}" for i in range(8)] == (folder / "train.txt").read_text().splitlines()
    assert train.classes == (folder / "classes.txt").read_text().splitlines()
    with train.open(3) as reader:
        assert reader.num_frames == 32


# ---- for all ----


@pytest.mark.parametrize(
    ("split", "indices", "expected"),
    [
        ("train", 2, ["a.mp4", "b.mp4"]),
        ("train", -1, ["c.mp4"]),
        ("train", [2, 0], ["c.mp4", "a.mp4"]),
        ("val", 1, ["v.mp4"]),
    ],
)
def test_indices_select_samples_of_their_split(lists, split, indices, expected):
    lists[split].indices = indices
    data = VideoList(**lists)
    assert names(select_samples(data, split)) == expected
    assert select_samples(data, split).classes == ["0", "1", "2"]  # the classes are those of the whole list
    other = "val" if split == "train" else "train"
    assert len(select_samples(data, other)) == {"train": 3, "val": 2}[other]


def test_indices_out_of_range_raise_with_key(lists):
    lists["val"].indices = [5]
    with pytest.raises(UserError, match=r"data\.val\.indices: 5 is outside 0\.\.1"):
        select_samples(VideoList(**lists), "val")


@pytest.mark.parametrize("indices", [0, [], [1, "2"], "4", 2.0, 1.0, 0.0, -0.5, [0.5], True, [True], [[1]]])
def test_invalid_indices_raise(indices):
    with pytest.raises(ValueError, match=r"^indices=.*: must be a number of samples \(not 0"):
        Split(indices=indices)


@pytest.mark.parametrize("indices", [None, 1, -3, 0.25, [0], [0, -1, 5]])
def test_valid_indices_are_accepted(indices):
    assert Split(indices=indices).indices == indices


# ---- what a split takes ----


@pytest.fixture
def table(tmp_path):
    """Forty videos of four groups and two classes, and a validation list that shares one of the groups."""
    rows = "".join(f"{i}.mp4,{i % 2},g{i // 10}\n" for i in range(40))
    train = write_list(tmp_path / "train.csv", "path,label,group\n" + rows)
    val = write_list(tmp_path / "val.csv", "path,label,group\nx.mp4,0,g3\ny.mp4,1,h\n")
    return {"train": TrainSplit(ann_file=train), "val": Split(ann_file=val)}


def test_hold_out_is_not_trained_on_and_divides_no_group(table):
    data = VideoList(train=table["train"], val=Split(hold_out=0.25), test=Split(hold_out=0.25))
    data.check_files()
    taken = {split: names(select_samples(data, split)) for split in ("train", "val", "test")}
    assert {split: len(found) for split, found in taken.items()} == {"train": 20, "val": 10, "test": 10}
    everything = [name for found in taken.values() for name in found]
    assert sorted(everything, key=lambda name: int(name[:-4])) == [f"{i}.mp4" for i in range(40)]
    groups = {split: set(select_samples(data, split).groups) for split in taken}
    assert not groups["train"] & groups["val"] | groups["train"] & groups["test"] | groups["val"] & groups["test"]
    assert select_samples(data, "val").classes == ["0", "1"]
    other = VideoList(train=table["train"], val=Split(hold_out=0.25), split_seed=3)
    assert {*select_samples(other, "val").groups} != groups["val"]  # another seed, another group
    assert names(select_samples(VideoList(train=table["train"], val=Split(hold_out=0.25)), "val")) == taken["val"]


def test_indices_apply_after_hold_out(table):
    table["train"].indices = 3
    data = VideoList(train=table["train"], val=Split(hold_out=0.25, per_class=2))
    assert len(select_samples(data, "train")) == 3
    assert select_samples(data, "val").labels.tolist() == [0, 1, 0, 1]


def test_hold_out_divides_folder(folders):
    data = Folder(train=TrainSplit(data_prefix=str(folders / "train")), val=Split(hold_out=0.5))
    data.check_files()
    # a class of one video keeps it
    assert [len(select_samples(data, split)) for split in ("train", "val")] == [3, 1]
    assert names(select_samples(data, "val"))[0].startswith("hop/")
    by_root = Folder(root=str(folders), val=Split(hold_out=0.5))
    assert names(select_samples(by_root, "val")) == names(select_samples(data, "val"))


def test_hold_out_leaving_no_sample_raises(table, lists):
    with pytest.raises(UserError, match=r"data\.val\.hold_out=0\.01: no sample remains for val; of the 40 "):
        select_samples(VideoList(train=table["train"], val=Split(hold_out=0.01)), "val")
    with pytest.raises(UserError, match=r"data\.val\.hold_out=0\.5: no sample remains for val; of the 3 "):
        select_samples(VideoList(train=lists["train"], val=Split(hold_out=0.5)), "train")  # one video a class


@pytest.mark.parametrize("other", [{"ann_file": "x"}, {"data_prefix": "x"}, {"from_split": "train"}])
def test_hold_out_with_own_list_raises(other):
    with pytest.raises(ValueError, match=r"^hold_out=0\.1: takes its samples from the training split"):
        Split(hold_out=0.1, **other)
    with pytest.raises(ValueError, match=r"^hold_out=0\.1: is for val and test"):
        TrainSplit(hold_out=0.1)


def test_from_split_applies_selection_of_both_splits(table):
    table["train"].indices = 8
    data = VideoList(train=table["train"], val=Split(from_split="train"), test=Split(from_split="train", indices=-2))
    assert names(select_samples(data, "val")) == names(select_samples(data, "train")) == [f"{i}.mp4" for i in range(8)]
    assert names(select_samples(data, "test")) == ["6.mp4", "7.mp4"]


def test_fraction_and_per_class_select_samples(table):
    table["train"].indices, table["val"].per_class = 0.5, 1
    data = VideoList(**table)
    assert len(select_samples(data, "train")) == 20
    assert len(set(select_samples(data, "train").groups)) == 2  # whole groups
    assert len(select_samples(data, "val")) == 2


def test_class_balance_without_shuffle_raises():
    with pytest.raises(ConfigError) as caught:
        TrainSplit(class_balance=0.5, shuffle=False)
    assert (caught.value.key, caught.value.value) == ("class_balance", 0.5)


def test_multi_label_of_training_list_applies_to_all_splits(tmp_path):
    train = write_list(tmp_path / "train.txt", "a.mp4 0 1\nb.mp4 1\n")
    val = write_list(tmp_path / "val.txt", "c.mp4 1\n")
    data = VideoList(train=TrainSplit(ann_file=train), val=Split(ann_file=val))
    assert data.source("val").multi_label
    classes = write_list(tmp_path / "classes.txt", "x\ny\n")
    data = VideoList(train=TrainSplit(ann_file=train), val=Split(ann_file=val), classes=classes)
    assert (data.source("val").multi_label, data.source("val").classes) == (True, ["x", "y"])


def test_check_files_reports_all_missing_lists(tmp_path):
    data = VideoList(train=TrainSplit(ann_file="no.txt"), val=Split(ann_file="*_test_split1.txt"), classes="none.txt")
    with pytest.raises(UserError) as caught:
        data.check_files()
    assert str(caught.value).splitlines() == [
        "data.train.ann_file=no.txt: no such file",
        "data.val.ann_file=*_test_split1.txt: no such file",
        "data.classes=none.txt: no such file",
    ]


def test_video_list_of_frames_raises(tmp_path):
    frames = write_list(tmp_path / "train.txt", "dir 12 0\n")
    data = VideoList(train=TrainSplit(ann_file=frames), val=Split(from_split="train"))
    with pytest.raises(UserError, match=r"train\.txt: text list of raw frames.*data=raw_frames"):
        data.source("train")


def test_custom_data_set_defines_source():
    with pytest.raises(TypeError, match="source"):
        Data()


# ---- labels of mirrored clips ----

CLASSES = ["left", "right", "up", "down"]


@pytest.mark.parametrize(
    ("mapping", "table"),
    [
        ({"left": "right"}, [1, 0, 2, 3]),  # one direction is enough
        ({"left": "right", "right": "left"}, [1, 0, 2, 3]),
        ({"left": "right", "down": "up"}, [1, 0, 3, 2]),
        ({"up": "up"}, [0, 1, 2, 3]),  # its own mirror image
    ],
)
def test_flip_table_returns_mirrored_classes(mapping, table):
    found = flip_table(CLASSES, mapping)
    assert found.tolist() == table
    assert found.dtype == np.int64
    assert found[found].tolist() == [0, 1, 2, 3]  # mirrored twice is not mirrored


def test_flip_table_empty_map_returns_none():
    assert flip_table(CLASSES, {}) is None


@pytest.mark.parametrize(
    ("mapping", "text"),
    [
        ({"left": "rihgt"}, "data.flip_label_map: 'rihgt' is not a class; classes: left, right, up, down"),
        ({"lfet": "right"}, "'lfet' is not a class"),
        ({"left": "right", "up": "right"}, "left is mirrored to right, but right to up"),
        ({"left": "right", "right": "up"}, "left is mirrored to right, but right to up"),
    ],
)
def test_flip_table_invalid_map_raises(mapping, text):
    with pytest.raises(UserError, match=text):
        flip_table(CLASSES, mapping)


# ---- decoding ----


@pytest.mark.parametrize("name", ["exact_color", "strict"])
def test_exact_color_with_other_backend_raises(name, lists):
    for backend in ("auto", "av"):
        data = VideoList(decoding_backend=backend, **{name: True}, **lists)
        assert data.source("train").backend == backend
    for backend in ("decord", "torchcodec", "opencv"):
        with pytest.raises(ConfigError, match=f"decoding_backend={backend}") as caught:
            VideoList(decoding_backend=backend, **{name: True}, **lists)
        assert (caught.value.key, caught.value.value) == (name, True)


def test_source_uses_decoding_options(lists):
    source = VideoList(strict=True, **lists).source("train")
    assert (source.backend, source.strict) == ("auto", True)
    assert source.take(np.array([2, 0])).strict  # also a part of it
    assert VideoList(decoding_backend="opencv", **lists).source("val").backend == "opencv"


def test_check_files_backend_not_installed_raises(lists, monkeypatch):
    monkeypatch.setattr("vexp.data.decoding.backends.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"data\.decoding_backend=decord: decord is not installed: pip install decord"):
        VideoList(decoding_backend="decord", **lists).check_files()
    VideoList(**lists).check_files()


# ---- several lists ----


@pytest.fixture
def two(tmp_path):
    """Two training lists, of three and two videos, whose labels reach 2 and 3."""
    first = write_list(tmp_path / "one" / "a.txt", "a.mp4 0\nb.mp4 1\nc.mp4 2\n")
    second = write_list(tmp_path / "two" / "b.txt", "d.mp4 3\ne.mp4 0\n")
    return [first, second]


def test_lists_of_a_split_are_read_in_order(two, tmp_path):
    data = VideoList(train=TrainSplit(ann_file=two, data_prefix=["x", "y"]), val=Split(ann_file=two[0]))
    data.check_files()
    train = data.source("train")
    assert [name[len(os.getcwd()) + 1 :] for name in names(train)] == [
        "x/a.mp4",
        "x/b.mp4",
        "x/c.mp4",
        "y/d.mp4",
        "y/e.mp4",
    ]
    assert train.labels.tolist() == [0, 1, 2, 3, 0]
    assert train.classes == ["0", "1", "2", "3"]
    assert train.parts.tolist() == [0, 0, 0, 1, 1]
    assert train.take(np.array([4, 0])).parts.tolist() == [1, 0]
    assert train.annotation.path(3).endswith("/y/d.mp4")
    assert names(VideoList(train=TrainSplit(ann_file=two)).source("train"))[3] == str(tmp_path / "two" / "d.mp4")
    assert data.source("val").classes == train.classes


def test_lists_with_names_have_the_classes_of_all(tmp_path):
    lists = [write_list(tmp_path / f"{name}.csv", f"path,label\nv.mp4,{name}\n") for name in ("run", "hop")]
    source = VideoList(train=TrainSplit(ann_file=lists)).source("train")
    assert (source.classes, source.labels.tolist()) == (["hop", "run"], [1, 0])
    numbers = [write_list(tmp_path / "n.txt", "v.mp4 2\n"), write_list(tmp_path / "n.csv", "path,label\nv.mp4,0\n")]
    source = VideoList(train=TrainSplit(ann_file=numbers)).source("train")
    assert (source.classes, source.labels.tolist()) == (["0", "1", "2"], [2, 0])


def test_bad_lines_of_several_lists_name_their_list(two, tmp_path):
    write_list(tmp_path / "two" / "b.txt", "d.mp4 3\ne.mp4 x\n")
    with pytest.raises(UserError, match=r"two/b\.txt:2: the label 'x' is not an integer"):
        VideoList(train=TrainSplit(ann_file=two)).source("train")
    write_list(tmp_path / "two" / "b.txt", "\n")
    with pytest.raises(UserError, match=r"two/b\.txt: contains no video"):
        VideoList(train=TrainSplit(ann_file=two)).source("train")
    table = write_list(tmp_path / "k.csv", "label,youtube_id,time_start,time_end,split\nrun,x,0,1,train\n")
    with pytest.raises(UserError, match="do not name their classes in the same way"):
        VideoList(train=TrainSplit(ann_file=[two[0], table])).source("train")


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"data_prefix": ["x"]}, "data_prefix"), ({"repeat": [1, 2, 3]}, "repeat"), ({"ratio": [1]}, "ratio"),
        ({"repeat": 0}, "repeat"), ({"repeat": 2, "ratio": [1, 2]}, "ratio"), ({"batch_sizes": [1, 2]}, "batch_sizes"),
        ({"mix": "steps", "ann_file": "a"}, "mix"), ({"mix": "steps", "repeat": [1, 2]}, "repeat"),
        ({"mix": "steps", "ratio": [1.5, 1]}, "ratio"), ({"mix": "losses", "ratio": [1, 1]}, "ratio"),
        ({"mix": "losses", "shuffle": False}, "mix"), ({"mix": "losses", "batch_sizes": [1]}, "batch_sizes"),
        ({"own_classes": True}, "own_classes"), ({"mix": "losses", "own_classes": True, "per_class": 1}, "own_classes"),
        ({"repeat": 2, "shuffle": False}, "repeat"),
        ({"one_per_group": True, "shuffle": False}, "one_per_group"), ({"ann_file": []}, "ann_file"),
        ({"ann_file": [3]}, "ann_file"),
    ],
)  # fmt: skip
def test_options_of_several_lists_are_checked(options, key, two):
    with pytest.raises(ConfigError) as caught:
        TrainSplit(**{"ann_file": two, **options})
    assert caught.value.key == key


def test_classes_of_further_lists_follow_those_of_the_first(tmp_path):
    lists = [write_list(tmp_path / "a.txt", "a.mp4 2\nb.mp4 0\n"), write_list(tmp_path / "b.txt", "c.jpg 7\nd.jpg 0\n")]
    split = TrainSplit(ann_file=lists, mix="losses", own_classes=True)
    source = VideoList(train=split).source("train")
    assert source.classes == ["0", "1", "2"]
    assert np.asarray(source.labels).tolist() == [2, 0, 10, 3]
    dataset = ClipDataset(source, {}, seed=0, lazy=True, own_classes=True)
    assert [int(dataset._labels(i, mirrored=False)) for i in range(4)] == [2, 0, 7, 0]
    assert class_counts(source).tolist() == [1, 0, 1]
    names = write_list(tmp_path / "classes.txt", "x\ny\nz\n")
    assert VideoList(train=split, classes=names).source("train").classes == ["x", "y", "z"]
    write_list(tmp_path / "b.txt", "c.jpg cat\n")
    with pytest.raises(UserError, match=r"is not an integer, as data\.train\.own_classes requires"):
        VideoList(train=split).source("train")


def test_folder_takes_one_folder_a_split():
    with pytest.raises(ConfigError, match="must be one folder"):
        Folder(root="videos", val=Split(ann_file=["a", "b"], data_prefix=["a", "b"]))


def test_image_is_a_video_of_one_frame(tmp_path):
    image = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    (tmp_path / "{x} 1.png").write_bytes(encode_png(image))
    listed = write_list(tmp_path / "a.txt", "{x} 1.png 0\n")
    with VideoList(train=TrainSplit(ann_file=listed)).source("train").open(0) as reader:
        assert (reader.num_frames, reader.height, reader.width) == (1, 4, 6)
        np.testing.assert_array_equal(reader.frames([0])[0], image)


def encode_png(image):
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "text", "options"),
    [
        ("raw.txt", "some dir/one 2 9 0 3\nother 1 4 2\nnone 0 5\n", {"format": "raw_videos"}),
        ("raw.json", json.dumps([
            {"video_dir": "some dir/one", "label": 2, "num_clips": 9, "positive_clip_inds": [0, 3]},
            {"video_dir": "other", "label": 1, "num_clips": 4, "positive_clip_inds": [2]},
         ]), {}),
    ],
)  # fmt: skip
def test_raw_videos_are_listed_by_their_parts(name, text, options, tmp_path):
    data = VideoList(train=TrainSplit(ann_file=write_list(tmp_path / name, text)), **options)
    source = data.source("train")
    assert names(source) == ["some dir/one/part_0.mp4", "some dir/one/part_3.mp4", "other/part_2.mp4"]
    assert (source.labels.tolist(), list(source.groups)) == ([2, 2, 1], ["some dir/one"] * 2 + ["other"])
