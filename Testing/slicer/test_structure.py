"""The rooms of the panel: no import cycle, imports go to the same room or a lower floor, and little of the library."""

from __future__ import annotations

import ast
import graphlib
import itertools
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
PANEL = HERE.parent.parent / "PartialOrganSeg" / "PartialOrganSegPanel"
SECTIONS = ("worklist", "segment", "review", "scribble", "export", "finetune", "models")
FLOORS = {"shell": 0, "scene": 1, **dict.fromkeys(SECTIONS, 2), "panel": 3}
NO_ROOMS_OF_THE_PANEL = {"host", "panel_helpers"}  # folders of these tests beside those that mirror it

# What may be imported of the library when Slicer starts: nothing in it needs a package that Slicer does not ship
# (test_extension.py imports it all where there are none). Everything else runs in the child process.
LIBRARY = "PartialOrganSegLib"
OF_THE_LIBRARY = ("organs", "organ_records", "annotation", "formats", "imaging", "geometry", "errors",
                  "atomic", "file_locks", "resources", "models.folders",  # whole files, where files and models lie
                  "safe_text",  # cells of tables that spreadsheets do not take for formulas
                  "segmenting.check_kinds")  # what a result's checks are


class Import:
    """One name or module that a file imports, as an absolute dotted name; `at_load`: outside of functions."""

    def __init__(self, name: str, at_load: bool) -> None:
        self.name, self.at_load = name, at_load


def imports_of(path: Path, root: Path) -> list[Import]:
    """All imports of a file of the package in the folder `root`, also in functions and under TYPE_CHECKING."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    inside = set(map(id, itertools.chain.from_iterable(map(ast.walk, functions))))
    package = [root.name, *path.relative_to(root).parts[:-1]]
    names = []
    for node in ast.walk(tree):
        at_load = id(node) not in inside
        if isinstance(node, ast.Import):
            names += [Import(alias.name, at_load) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = [node.module] if node.module else []
            if node.level:
                base = package[:len(package) - node.level + 1] + base
            names += [Import(".".join([*base, alias.name]), at_load) for alias in node.names]
    return names


def module_of(path: Path, root: Path) -> str:
    """Dotted name of a file: `PartialOrganSegPanel.review.table`; that of its folder for an __init__.py."""
    parts = [root.name, *path.relative_to(root).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def graph_of(root: Path) -> dict[str, set[str]]:
    """Module to the modules of the same package that it imports."""
    files = {module_of(path, root): path for path in root.rglob("*.py")}
    graph = {}
    for module, path in files.items():
        graph[module] = set()
        for name in (imported.name for imported in imports_of(path, root)):
            target = name if name in files else name.rpartition(".")[0]  # a module, or a name in one
            if target in files and target != module:
                graph[module].add(target)
    return graph


def cycle_of(graph: dict[str, set[str]]) -> list[str]:
    """The modules of an import cycle; empty when there is none."""
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return error.args[1]
    return []


def wrong_arrows(graph: dict[str, set[str]]) -> list[str]:
    """Imports from a higher floor, or from another section."""
    wrong = []
    for module, targets in graph.items():
        for target in targets:
            rooms = [name.split(".")[1] if "." in name else "" for name in (module, target)]
            if "" in rooms or rooms[0] == rooms[1]:
                continue
            if FLOORS[rooms[1]] >= FLOORS[rooms[0]]:
                wrong.append(f"{module} -> {target}")
    return sorted(wrong)


def beyond(names: list[Import]) -> list[str]:
    """Imports of the library at load that are not among `OF_THE_LIBRARY`."""
    allowed = [f"{LIBRARY}.{name}" for name in OF_THE_LIBRARY]
    at_load = [imported.name for imported in names if imported.at_load and imported.name.split(".")[0] == LIBRARY]
    # With a dot behind: `formats` allows `formats.strokes`, not `formats_of_tomorrow`.
    return [name for name in at_load if not f"{name}.".startswith(tuple(f"{prefix}." for prefix in allowed))]


def test_every_file_is_in_a_room():
    assert {path.name for path in PANEL.glob("*.py")} == {"__init__.py", "panel.py"}
    rooms = {path.parent.name for path in PANEL.rglob("*.py")} - {PANEL.name}
    assert rooms == set(FLOORS) - {"panel"}
    assert all((PANEL / room / "__init__.py").is_file() for room in rooms)


def test_tests_mirror_the_rooms():
    folders = {path.parent.name for path in HERE.glob("*/*.py")}
    assert folders - NO_ROOMS_OF_THE_PANEL == set(FLOORS) - {"panel"}


def test_no_import_cycle():
    assert cycle_of(graph_of(PANEL)) == []


def test_arrows_go_down():
    graph = graph_of(PANEL)
    assert sum(map(len, graph.values())) > 150  # they were looked at
    assert wrong_arrows(graph) == []


def test_little_of_the_library_is_imported_when_slicer_starts():
    imports = {path: imports_of(path, PANEL) for path in PANEL.rglob("*.py")}
    module = PANEL.parent / "PartialOrganSeg.py"
    imports[module] = imports_of(module, module.parent)
    of_library = [name for name in itertools.chain(*imports.values()) if name.name.startswith(LIBRARY)]
    assert len(of_library) > 10  # they were looked at
    too_much = {path.name: beyond(names) for path, names in imports.items()}
    assert {name: names for name, names in too_much.items() if names} == {}


@pytest.mark.parametrize(("text", "cycle", "arrows", "library"), [
    ("from ..shell.job import Job", False, 0, 0),
    ("from ..panel import Panel", True, 1, 0),
    ("if TYPE_CHECKING:\n    from ..panel import Panel", True, 1, 0),
    ("def late():\n    from .. import panel", True, 1, 0),
    ("from ..models.text import card", False, 1, 0),
    ("from PartialOrganSegLib.organs import WORD16", False, 0, 0),
    ("import PartialOrganSegLib.formats.strokes", False, 0, 0),
    ("from PartialOrganSegLib import training", False, 0, 1),
    ("from PartialOrganSegLib.models.store import install", False, 0, 1),
    ("def late():\n    import PartialOrganSegLib.training", False, 0, 0),
])
def test_the_rules_notice(tmp_path, text, cycle, arrows, library):
    """A file of section Review that says `text`, below a panel that imports the section."""
    files = {"__init__": "", "panel": "from .review.table import fill", "shell/__init__": "", "shell/job": "Job = 1",
             "models/__init__": "", "models/text": "card = 1", "review/__init__": "", "review/table": text}
    root = tmp_path / "panel_package"
    for name, content in files.items():
        path = root / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    graph = graph_of(root)
    assert bool(cycle_of(graph)) == cycle
    assert len(wrong_arrows(graph)) == arrows
    assert len(beyond(imports_of(root / "review" / "table.py", root))) == library
