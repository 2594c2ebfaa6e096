"""Which module imports which, read from the source without running it."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from pathlib import Path

Arrows = dict[str, set[str]]


def import_arrows(folder: Path, package: str) -> tuple[Arrows, Arrows]:
    """Of every module below `folder`, which is `package`: its own modules that it imports, and all names it imports.

    Imports inside functions and of types alone count: what is imported late is imported all the same. The package of a
    module does not, although Python runs its `__init__.py` first.
    """
    files = {_module_name(path, folder, package): path for path in folder.rglob("*.py")}
    names = {module: _imported_names(module, path) for module, path in files.items()}
    arrows = {}
    for module, imported in names.items():
        targets = {_nearest(name, files) for name in imported}
        arrows[module] = {target for target in targets if target is not None} - {module}
    return arrows, names


def circles(arrows: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """The groups of modules that can be reached from each other, sorted; each group once."""
    reach = {module: reachable(arrows, module) for module in arrows}
    groups = set()
    for module in arrows:
        if module in reach[module]:
            circle = [target for target in reach[module] if module in reach[target]]
            groups.add(tuple(sorted(circle)))
    return [list(group) for group in sorted(groups)]


def reachable(arrows: Mapping[str, Iterable[str]], start: str) -> set[str]:
    """All modules that `start` imports, and what these import in turn."""
    reached: set[str] = set()
    waiting = list(arrows.get(start, ()))
    while waiting:
        module = waiting.pop()
        if module not in reached:
            reached.add(module)
            waiting.extend(arrows.get(module, ()))
    return reached


def _module_name(path: Path, folder: Path, package: str) -> str:
    parts = path.relative_to(folder).with_suffix("").parts
    return ".".join([package, *parts]).removesuffix(".__init__")


def _imported_names(module: str, path: Path) -> set[str]:
    """Absolute dotted names of all that a file imports: `from .a import b` in package.room.file is package.room.a.b."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = module.split(".")
            # The package itself is what one dot means in it.
            if path.name == "__init__.py":
                parents.append("__init__")
            base = parents[:len(parents) - node.level] if node.level else []
            stem = base if node.module is None else [*base, node.module]  # `from . import b` has no module
            names.update(".".join([*stem, alias.name]) for alias in node.names)
    return names


def _nearest(name: str, modules: Mapping[str, Path]) -> str | None:
    """The module that an imported name is or lies in; None for what is none of ours."""
    while name not in modules and "." in name:
        name = name.rpartition(".")[0]
    return name if name in modules else None
