"""Files of class names."""

import pytest

from vexp.core.errors import UserError
from vexp.data.annotations.class_names import read_classes


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("run\njump\n", ["run", "jump"]),
        ("run\njump\n\n \n", ["run", "jump"]),  # blank lines at the end
        ("  riding a bike \r\nçöğ\r\n", ["riding a bike", "çöğ"]),
        ("\ufeffrun\n", ["run"]),
        ("1 ApplyEyeMakeup\r\n2 YoYo\r\n", ["ApplyEyeMakeup", "YoYo"]),  # UCF-101's classInd.txt
        ("2 hands\n1 hand\n", ["2 hands", "1 hand"]),  # no numbering: these are names
        ("10 pins\n", ["10 pins"]),
    ],
)
def test_read_classes_text_returns_names(tmp_path, text, names):
    path = tmp_path / "classes.txt"
    path.write_bytes(text.encode())
    assert read_classes(path) == names


def test_read_classes_invalid_text_raises(tmp_path):
    path = tmp_path / "classes.txt"
    path.write_text("run\n\njump\nrun\n run\n")
    with pytest.raises(UserError) as caught:
        read_classes(path)
    assert str(caught.value).splitlines() == [
        f"{path}:2: is empty",  # a number would be left without a name
        f"{path}:4: repeats 'run' of line 1",
        f"{path}:5: repeats 'run' of line 1",
    ]
    path.write_text("\n\n")
    with pytest.raises(UserError, match=r"contains no class name"):
        read_classes(path)
    with pytest.raises(UserError, match=r"none\.txt: no such file \(class names\)"):
        read_classes(tmp_path / "none.txt")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ('{"Pushing something": "1", "Approaching something": "0"}', ["Approaching something", "Pushing something"]),
        ('{"b": 0, "a": 1}', ["b", "a"]),  # the number counts, not the alphabet
        ('["run", "hop"]', ["run", "hop"]),
    ],
)
def test_read_classes_json_returns_names(tmp_path, text, names):
    path = tmp_path / "labels.json"
    path.write_text(text)
    assert read_classes(path) == names


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "labels.json: is not valid JSON: .* in line 1"),
        ("[" * 100_000, "labels.json: is not valid JSON: nested too deeply"),
        ("9" * 5000, "labels.json: is not valid JSON: Exceeds the limit"),
        ('{"a": 1e999}', "the value of a class must be its index"),
        ('["\\ud800"]', "half of a UTF-16 surrogate pair"),
        ('{"\\ud800": 0}', "half of a UTF-16 surrogate pair"),
        ("[1, 2]", "must contain a list of class names"),
        ('["a", "a"]', "contains the class 'a' twice"),
        ('{"a": 0, "b": 2}', r"the indices of the 2 classes must be 0\.\.1, each once"),
        ('{"a": 0, "b": 0}', r"the indices of the 2 classes must be 0\.\.1, each once"),
        ('{"a": "first"}', "the value of a class must be its index"),
        ("[]", "contains no class name"),
    ],
)
def test_read_classes_invalid_json_raises(tmp_path, text, why):
    path = tmp_path / "labels.json"
    path.write_text(text)
    with pytest.raises(UserError, match=why):
        read_classes(path)
