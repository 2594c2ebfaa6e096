"""Writes PartialOrganSeg/files.cmake, the list of what the extension installs. Run it after adding or removing a file:

    python Testing/slicer/list_files.py
"""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
LIST = ROOT / "PartialOrganSeg" / "files.cmake"
HEAD = "# Every file that the extension installs. Written by Testing/slicer/list_files.py; a test compares.\n"


def cmake_text() -> str:
    """What files.cmake must be for the tree as it is."""
    module = ROOT / "PartialOrganSeg"
    return HEAD + "".join([
        _variable("PANEL_SCRIPTS", module, "PartialOrganSegPanel", python=True),
        _variable("PANEL_RESOURCES", module, "Resources", python=False),
        _variable("LIBRARY_SCRIPTS", ROOT, "PartialOrganSegLib", python=True),
        _variable("LIBRARY_RESOURCES", ROOT, "PartialOrganSegLib", python=False),
    ])


def _variable(name: str, base: Path, folder: str, python: bool) -> str:
    paths = [path.relative_to(base).as_posix() for path in (base / folder).rglob("*")
             if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith(".")]
    lines = [f"  {path}\n" for path in sorted(paths)
             if path.endswith(".py") == python]
    return f"\nset({name}\n{''.join(lines)}  )\n"


if __name__ == "__main__":
    LIST.write_text(cmake_text(), encoding="utf-8")
