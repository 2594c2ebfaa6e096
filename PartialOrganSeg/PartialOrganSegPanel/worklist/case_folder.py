"""The folder of a case of the work list: which files hold what was done, whose they are, and how new ones take their
place.

Every segmentation has a file of its own, and so has every node of strokes. What is deleted in the scene, or was never
loaded into it, stays.
"""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import slicer

from PartialOrganSegLib.atomic import put_in_place

from ..shell.work_list import ENTRY

NEW = ".saving-"  # begins the name of a folder of what is being saved
CT = "ct"  # stem of the files to learn from
STAMP = "saved.txt"  # another text after each time that the case was saved
NODES = "nodes.json"  # file of each segmentation and node of strokes to its name in the scene, what counts last
_SEGMENTATION, _STROKES, _ENDING = "segmentation", "strokes", ".seg.nrrd"
_TO_LEARN_FROM = (ENTRY, f"{CT}.nrrd", f"{CT}_labels.nrrd")
_ABANDONED_S = 3600.0  # after which what was being saved is of a Slicer that has ended
# attributes: of a segmentation its file, of a CT the stamp of what was loaded or saved here
_FILE, _STAMP_HERE = "PartialOrganSeg.SavedAs", "PartialOrganSeg.SavedStamp"


# --- whose is what

def note_file(node: slicer.vtkMRMLSegmentationNode, path: Path) -> None:
    """A segmentation or strokes were loaded from this file of a case, and will be saved to it."""
    node.SetAttribute(_FILE, str(path))


def note_stamp(volume: slicer.vtkMRMLScalarVolumeNode, folder: Path) -> None:
    """What the folder holds is, from now on, what is known here of the case."""
    volume.SetAttribute(_STAMP_HERE, stamp_of(folder))


def saved_elsewhere(folder: Path, volume: slicer.vtkMRMLScalarVolumeNode) -> bool:
    """Whether another window has saved the case since it was opened or saved here."""
    stamp = volume.GetAttribute(_STAMP_HERE)
    return bool(stamp) and stamp != stamp_of(folder)


def stamp_of(folder: Path) -> str:
    """Changes each time that the case is saved."""
    try:
        return (folder / STAMP).read_text(encoding="utf-8")
    except OSError:
        return "none"


# --- what is there

def saved_segmentations(folder: Path) -> list[Path]:
    """The files of a case's segmentations, the one that was chosen last."""
    return _in_order(folder, _SEGMENTATION)


def saved_strokes(folder: Path) -> list[Path]:
    """The files of a case's strokes, the one that counts last."""
    return _in_order(folder, _STROKES)


def node_names(folder: Path) -> dict[str, str]:
    """What the node of each file of a case was called in the scene, in the order in which they are loaded."""
    try:
        content = json.loads((folder / NODES).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # of an older version
    if not isinstance(content, dict):
        return {}
    return {file: name for file, name in content.items() if isinstance(name, str)}


def _in_order(folder: Path, stem: str) -> list[Path]:
    noted = list(node_names(folder))

    def place(path: Path) -> int:
        if path.name in noted:
            return noted.index(path.name)
        return len(noted)  # put there by a Slicer that ended before it had noted it: it came later

    return sorted(_by_number(folder, stem), key=place)


def is_strokes(name: str) -> bool:
    """Whether a file of a case holds strokes."""
    return name.startswith(_STROKES)


def _by_number(folder: Path, stem: str) -> list[Path]:
    return sorted(folder.glob(f"{stem}*{_ENDING}"),
                  key=lambda path: [int(digits) for digits in re.findall(r"\d+", path.name)])


def segmentation_names(nodes: Sequence[slicer.vtkMRMLSegmentationNode], folder: Path) -> list[str]:
    """The file of each segmentation: its own, or a free one where it has none yet."""
    return _names(nodes, folder, _SEGMENTATION, f"{_SEGMENTATION}_1{_ENDING}")


def stroke_names(nodes: Sequence[slicer.vtkMRMLSegmentationNode], folder: Path) -> list[str]:
    """The file of each node of strokes, in the same way; the first one is called as older versions call theirs."""
    return _names(nodes, folder, _STROKES, f"{_STROKES}{_ENDING}")


def _names(nodes: Sequence[slicer.vtkMRMLSegmentationNode], folder: Path, stem: str, first: str) -> list[str]:
    used, names = {path.name for path in _by_number(folder, stem)}, []
    for node in nodes:
        path = Path(node.GetAttribute(_FILE) or "")
        name, number = path.name, 1
        # a node that was copied says that it has the file of the first
        if path.parent != folder or not name.startswith(stem) or name in names:
            name = first
            while name in used:
                number += 1
                name = f"{stem}_{number}{_ENDING}"
        used.add(name)
        names.append(name)
    return names


def left_alone(folder: Path, new: Iterable[str]) -> list[str]:
    """What was saved before and is not among the new files."""
    # a segmentation of several files is never taken for another's: each node knows its own
    saved = [path.name for path in (*saved_segmentations(folder), *saved_strokes(folder))]
    return [name for name in saved if name not in set(new)]


# --- what takes whose place

def move_aside(folder: Path) -> Path:
    """Moves all that was saved into a folder of its own, which it gives."""
    number = 1
    # two windows may have disagreed before
    while (target := folder / f"earlier {number}").exists():
        number += 1
    target.mkdir()
    for path in list(folder.iterdir()):
        if path.is_file():
            put_in_place(path, target / path.name)
    return target


def remove_abandoned(folder: Path) -> None:
    """Removes what a Slicer was saving when it ended."""
    # by age, as a lock would not hold on every hospital's network drive
    for path in folder.glob(f"{NEW}*"):
        if time.time() - path.stat().st_mtime > _ABANDONED_S:
            shutil.rmtree(path, ignore_errors=True)


def replace_files(folder: Path, staging: Path, keep_to_learn_from: bool) -> None:
    """Puts the new files in the place of their earlier ones. What says how to learn from the case comes last: without
    it, after a crash, nobody learns from files that do not belong together."""
    new = sorted(staging.iterdir(), key=lambda path: path.name == ENTRY)
    if keep_to_learn_from:
        new = [path for path in new if path.name not in _TO_LEARN_FROM]
    else:
        for name in _TO_LEARN_FROM:
            (folder / name).unlink(missing_ok=True)
    for path in new:
        put_in_place(path, folder / path.name)
