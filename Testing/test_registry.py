"""The register of names: ours, those that others register, and those that name a module and a class."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.registry import Registry, accepted, arguments_of, check_arguments, make_entry, summary

TOOLS = '''
from Testing.test_registry import Tool
class Saw(Tool):
    """Cuts.

    And more."""
    def __init__(self, teeth: int, length: float = 3.0) -> None:
        self.teeth = teeth
NUMBER = 3
'''


class Tool:
    """What the tests register."""


class Hammer(Tool):
    """Hits."""


@pytest.fixture
def tools() -> Registry[type[Tool]]:
    registry: Registry[type[Tool]] = Registry("tool", group="partialorganseg.test_tools", base=Tool)
    registry.register("hammer", source="Stone age")(Hammer)
    return registry


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module from outside the package, `my_tools`."""
    (tmp_path / "my_tools.py").write_text(TOOLS.replace("Testing.test_registry", __name__), encoding="utf-8")
    (tmp_path / "broken_tools.py").write_text("import nothing_of_that_name", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_tools", raising=False)
    # In `importlib` mode pytest may not register this module under a name that others can import.
    monkeypatch.setitem(sys.modules, __name__, sys.modules.get(__name__, sys.modules[Tool.__module__]))
    return tmp_path


def test_registered_names(tools):
    assert tools.find("hammer") is tools["hammer"] is Hammer
    assert dict(tools) == {"hammer": Hammer}
    assert (tools.source("hammer"), summary(tools["hammer"])) == ("Stone age", "Hits.")
    tools.add("hammer", Hammer)  # once more is no mistake
    with pytest.raises(ValueError, match="tool hammer: registered twice"):
        tools.add("hammer", Tool)
    with pytest.raises(ValueError, match="expected a name without ':'"):
        tools.add("my:hammer", Hammer)


def test_a_class_of_any_module(tools, module):
    saw = tools.find("my_tools:Saw")
    assert saw.__name__ == "Saw"
    assert list(tools) == ["hammer"]


@pytest.mark.parametrize(("name", "line"), [
    ("hamer", "box: expected one of hammer or package.module:Class, found 'hamer' (did you mean 'hammer'?)"),
    ("my_tools:Sew", "box: my_tools:Sew: expected a name in my_tools, found no 'Sew' (did you mean 'Saw'?)"),
    ("my_tools:NUMBER", f"box: expected a class derived from {Tool.__module__}.Tool, found my_tools:NUMBER"),
    ("subprocess:Popen", f"box: expected a class derived from {Tool.__module__}.Tool, found subprocess:Popen"),
    ("broken_tools:Saw", "box: broken_tools:Saw: expected a module that can be imported, found ModuleNotFoundError: No "
                         "module named 'nothing_of_that_name'"),
    ("no_tools:Saw", "box: no_tools:Saw: expected a module that can be imported, found ModuleNotFoundError: No module"),
])
def test_unknown_names_are_one_line(tools, module, name, line):
    with pytest.raises(UserError) as error:
        tools.find(name, "box")
    assert str(error.value).startswith(line)
    assert "\n" not in str(error.value)


def test_modules_are_imported_when_a_name_is_looked_up(module):
    (module / "late_tools.py").write_text("from my_tools import Saw\nimport my_tools\nmy_tools.register('saw')(Saw)\n")
    # Its name is only there when something asks for it: modules register when they are imported.
    import my_tools

    registry: Registry[type[Tool]] = Registry("tool", "partialorganseg.test_tools", ["late_tools"])
    my_tools.register = registry.register
    assert "late_tools" not in sys.modules
    assert registry.find("saw") is my_tools.Saw
    with pytest.raises(UserError, match="expected one of saw, found 'my_tools:Saw'"):  # without a base: names alone
        registry.find("my_tools:Saw")
    del sys.modules["late_tools"]


def test_installed_packages_add_names(module):
    """An installed package is a folder of metadata on the path; its entry points name modules beside it."""
    metadata = module / "my_tools-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: my-tools\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[partialorganseg.test_tools]\nsaw = my_tools:Saw\n")
    registry: Registry[type[Tool]] = Registry("tool", group="partialorganseg.test_tools", base=Tool)
    assert registry.find("saw").__name__ == "Saw"
    (metadata / "entry_points.txt").write_text("[partialorganseg.test_tools]\nsaw = my_tools:Sew\n")
    registry = Registry("tool", group="partialorganseg.test_tools", base=Tool)
    # Every time: of a folder of CTs the first alone failed, and all others were read without what is missing.
    for _ in range(2):
        with pytest.raises(UserError,
                           match=r"tool saw: expected my_tools:Sew \(entry point partialorganseg\.test_tools\)"):
            list(registry)


def function(classes: int, size: int, shape: str = "round", *, colour: str = "red") -> None:
    """A function."""


def test_arguments_are_those_of_the_signature(module):
    assert [str(argument) for argument in arguments_of(function, ("classes",))] == ["size", "shape='round'",
                                                                                  "colour='red'"]
    check_arguments(function, {"size": 3, "colour": "blue"}, "f", ("classes",))
    assert accepted(function, {"size": 1, "colour": 2, "weight": 3}) == {"size": 1, "colour": 2}
    for arguments, line in (({"size": 3, "color": 1}, "f: unknown argument 'color' (did you mean 'colour'?); known: s"),
                            ({"size": 3, "classes": 1}, "f: unknown argument 'classes'; known: size, shape, colour"),
                            ({"shape": "flat"}, "f: expected the argument 'size', found none")):
        with pytest.raises(UserError) as error:
            check_arguments(function, arguments, "f", ("classes",))
        assert str(error.value).startswith(line)
    check_arguments(function, {"shape": "flat"}, "f", ("classes",), complete=False)
    check_arguments(lambda **anything: None, {"colour": 1}, "f")


def test_values_that_an_entry_cannot_work_with_are_one_line() -> None:
    """Its own words where it has some, never those of Python."""
    def careful(size: int) -> int:
        if size < 1:
            raise ValueError(f"size: expected 1 or more, found {size}")
        return size

    assert make_entry(careful, "careful", {"size": 2}) == 2
    with pytest.raises(UserError, match="careful: size: expected 1 or more, found 0"):
        make_entry(careful, "careful", {"size": 0})
    for value in (None, "x", [], {}):
        with pytest.raises(UserError, match=r"careful: expected arguments that it works with, found .'size': "):
            make_entry(careful, "careful", {"size": value})
