"""YAML and JSON from elsewhere: read, or refused with one line within a second, whatever they expand to."""

import json
import time
from pathlib import Path

import pytest

from PartialOrganSegLib import bounded_file
from PartialOrganSegLib.errors import UserError, brief
from PartialOrganSegLib.json_file import read_json
from PartialOrganSegLib.training.overrides import apply_override
from PartialOrganSegLib.yaml_file import read_yaml


def bomb(levels: int) -> str:
    """Nine to the power of `levels` values in some hundred bytes."""
    lines = ["a0: &a0 [lol,lol,lol,lol,lol,lol,lol,lol,lol]"]
    for level in range(1, levels):
        lines.append(f"a{level}: &a{level} [{','.join([f'*a{level - 1}'] * 9)}]")
    return "\n".join(lines)


# Each once brought a parser down: to its knees, to a traceback, or to another meaning than was written.
BAD_YAML = {
    "bomb": (bomb(10), "aliases"), "loop": ("a: &a [*a]", "alias of something that holds it"),
    "deep": ("a: " + "[" * 3000, "nested"), "deep_closed": ("a: " + "[" * 200 + "]" * 200, "nested"),
    "date": ("a: 2020-99-99", "date"), "boolean": ("a: !!bool x", "tag"), "digits": ("a: " + "9" * 5000, "number"),
    "code": ("a: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
    "twice": ("a: 1\nb: 2\na: 3", "the key 'a' twice (line 3)"), "nul": ('a: "x\\0y"', "NUL"),
    "two": ("a: 1\n---\nb: 2", "single document"), "open": ("a: [1, 2", "expected"), "control": ("a: \x01", "special"),
}


@pytest.mark.parametrize("name", list(BAD_YAML))
def test_yaml_that_no_person_writes(tmp_path: Path, name: str) -> None:
    text, reason = BAD_YAML[name]
    path = tmp_path / "a.yaml"
    path.write_text(text)
    began = time.perf_counter()
    with pytest.raises(UserError) as caught:
        read_yaml(path, "manifest")
    line = str(caught.value)
    # Expanded, the bomb would have 3.5 billion values.
    assert time.perf_counter() - began < 5
    assert str(path) in line
    assert reason in line
    assert "\n" not in line
    assert len(line) < 600


def test_anchors_merge_keys_and_byte_order_marks_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("base: &b {kind: full, weight: 1}\ncases: [{<<: *b, image: a}, {<<: *b, image: ü}]",
                    encoding="utf-8-sig")
    content = read_yaml(path, "manifest")
    assert [case["weight"] for case in content["cases"]] == [1, 1]
    path.write_text("")
    assert read_yaml(path, "manifest") is None


def test_override_with_a_bad_value_names_itself() -> None:
    content: dict = {}
    apply_override(content, "a.b=[1, 2]")
    assert content == {"a": {"b": [1, 2]}}
    for text in ("2020-99-99", "[" * 3000, "!!bool x", "{"):
        with pytest.raises(UserError, match="--set a="):
            apply_override(content, f"a={text}")


@pytest.mark.parametrize("text", ["[" * 100_000, "9" * 5000, "NaN", '{"a": Infinity}', "{", "", '{"a": 1}x',
                                  '{"a": [{"digits": 1, "b": 2, "digits": 3}]}'])
def test_json_that_no_program_writes(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        read_json(path, "settings")
    line = str(caught.value)
    assert str(path) in line
    assert "settings" in line
    assert len(line) < 300


def test_json_says_plainly_what_is_amiss(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    for text, found in ((" \n", "nothing"), ('{"digits": 1, "digits": 1}', "the key 'digits' twice"),
                        ("9" * 5000, "a number of thousands of digits")):
        path.write_text(text)
        with pytest.raises(UserError) as caught:
            read_json(path, "settings")
        assert str(caught.value) == f"{path}: expected settings, found {found}"


def test_json_with_and_without_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    for encoding in ("utf-8", "utf-8-sig"):
        path.write_text(json.dumps({"ü": [1.5]}, ensure_ascii=False), encoding=encoding)
        assert read_json(path, "settings") == {"ü": [1.5]}
    path.write_bytes(b'{"a": "\xff"}')
    with pytest.raises(UserError, match=r"a\.json"):
        read_json(path, "settings")


def test_values_in_messages_are_short() -> None:
    nested: list = []
    # 60 ** 60 elements, if anybody wrote them out.
    for _ in range(60):
        nested = [nested] * 60
    for value in (nested, "x" * 10**6, 10**2000, {"k": nested}):
        assert len(brief(value)) < 2000
    assert brief([1, "a"]) == "[1, 'a']"


def test_a_path_of_windows_in_double_quotes_says_what_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text('image: "C:\\Users\\Jörg"', encoding="utf-8")
    with pytest.raises(UserError, match="use single quotes or slashes"):
        read_yaml(path, "manifest")


@pytest.mark.parametrize("read", [read_yaml, read_json])
def test_a_folder_is_called_one_on_windows_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read) -> None:
    """There opening one is refused as opening a file is to whom it does not belong."""
    def opened(*_arguments: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(bounded_file, "open", opened, raising=False)
    folder = tmp_path / "Fälle.yaml"
    folder.mkdir()
    with pytest.raises(UserError, match="found Is a directory"):
        read(folder, "manifest")
