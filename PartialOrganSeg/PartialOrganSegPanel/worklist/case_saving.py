"""Saves what was done on an open case of the work list, and never replaces it by less unasked.

Every segmentation has a file of its own in the case's folder. What is deleted in the scene, or was never loaded into
it, stays on the disk; so does what another window has saved since.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import time
import uuid
from collections.abc import Generator, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from PartialOrganSegLib.atomic import put_in_place
from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.organs import WORD16

from ..scene.case_writing import write_scene_case
from ..scene.organ_rows import DECIDED, rows
from ..scene.organ_versions import moment, note_edits
from ..scene.scene_cases import CaseList, SceneCase, label_space_names
from ..scene.seg_nrrd_writing import write_segmentation
from ..scene.segmentation_result import find_results
from ..scene.strokes import find_strokes
from ..scene.written_cts import WrittenCts
from ..shell.job import Progress
from ..shell.steps import counted
from ..shell.work_list import BEGUN, DONE, ENTRY, NEW, SEGMENTED, STROKES, ListedCase, WorkList
from .rank_run import unsurest

_PATTERN = "segmentation*.seg.nrrd"
_CT = "ct"  # stem of the files to learn from
_TO_LEARN_FROM = (ENTRY, f"{_CT}.nrrd", f"{_CT}_labels.nrrd")
_STAMP = "saved.txt"  # another text after each time that the case was saved
_NEW = ".saving-"  # begins the name of a folder of what is being saved
_ABANDONED_S = 3600.0  # after which such a folder is of a Slicer that has ended
_TRIES = 3
# attributes: of a segmentation its file, of a CT the stamp of what was loaded or saved here
_FILE, _STAMP_HERE = "PartialOrganSeg.SavedAs", "PartialOrganSeg.SavedStamp"


@dataclass(frozen=True)
class SavedCase:
    """`facts`: what the list shall say of the case. `left_alone`: files that stay as they are, since the scene does not
    hold what is in them. `aside`: the folder of what another window had saved, None where nothing was moved."""

    facts: dict[str, Any]
    left_alone: tuple[str, ...] = ()
    aside: Path | None = None

    def text(self) -> str:
        """A line for the user, empty where nothing is to be said."""
        lines = []
        if self.left_alone:
            lines.append(_("Not in the scene and therefore kept as it was saved before: {files}. Remove the case from "
                           "the list to be rid of it.").format(files=", ".join(self.left_alone)))
        if self.aside is not None:
            lines.append(_("What the other window had saved lies in {folder}.").format(folder=self.aside))
        return " ".join(lines)


def saved_segmentations(folder: Path) -> list[Path]:
    """The files of a case's segmentations, the latest last."""
    return sorted(folder.glob(_PATTERN), key=lambda path: [int(digits) for digits in re.findall(r"\d+", path.name)])


def note_file(node: slicer.vtkMRMLSegmentationNode, path: Path) -> None:
    """The segmentation was loaded from this file of a case, and will be saved to it."""
    node.SetAttribute(_FILE, str(path))


def note_stamp(volume: slicer.vtkMRMLScalarVolumeNode, folder: Path) -> None:
    """What the folder holds is, from now on, what is known here of the case."""
    volume.SetAttribute(_STAMP_HERE, _stamp(folder))


def saved_elsewhere(folder: Path, volume: slicer.vtkMRMLScalarVolumeNode) -> bool:
    """Whether another window has saved the case since it was opened or saved here."""
    stamp = volume.GetAttribute(_STAMP_HERE)
    return bool(stamp) and stamp != _stamp(folder)


def _stamp(folder: Path) -> str:
    try:
        return (folder / _STAMP).read_text(encoding="utf-8")
    except OSError:
        return "none"


@dataclass(frozen=True)
class _Work:
    """What the scene holds of a case: its segmentations, with the names of their files, and its strokes."""

    results: list[slicer.vtkMRMLSegmentationNode]
    names: list[str]
    strokes: slicer.vtkMRMLSegmentationNode | None
    moments: list[tuple[object, ...]]  # change with all that is saved

    @property
    def files(self) -> list[str]:
        """All names."""
        if self.strokes is None:
            return self.names
        return [*self.names, STROKES]


def save_case(work_list: WorkList, case: ListedCase, volume: slicer.vtkMRMLScalarVolumeNode,
              chosen: slicer.vtkMRMLSegmentationNode | None, written: WrittenCts,
              aside: bool = False) -> Generator[Progress, None, SavedCase]:
    """Saves the CT's segmentations of ours and its strokes, and the files to learn from where something was accepted or
    drawn. `chosen`: of several segmentations the one that counts. With `aside` all that was saved before is moved into
    a folder of its own, else what the scene holds takes the place of its own files.

    Earlier files are replaced when all new ones are whole. Raises OSError, and UserError where the CT is deleted, or
    something of it is changed again and again, or saved by another window, meanwhile.
    """
    folder = work_list.folder_of(case)
    stamp = _stamp(folder)
    folder.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(folder)
    for _attempt in range(_TRIES):
        staging = Path(tempfile.mkdtemp(prefix=_NEW, dir=folder))
        try:
            for node in find_results(volume):
                yield from counted(note_edits(node), Progress(_("saving the segmentation"), 0, 2, None))
            work = _work(volume, folder)
            scene_case = yield from _write(case, volume, chosen, work, staging, folder, written)
            _refuse_deleted(case, volume)
            # an organ may have been accepted in between, or counted as edited a moment after it was
            if _work(volume, folder).moments != work.moments:
                continue
            if _stamp(folder) != stamp:
                raise UserError(_("{name} was saved by another window at the same time: save it again.").format(
                    name=case.name))
            return _put_in_place(work_list, case, volume, chosen, work, scene_case, staging, aside)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    raise UserError(_("{name} was changed while it was saved: save it again.").format(name=case.name))


def _work(volume: slicer.vtkMRMLScalarVolumeNode, folder: Path) -> _Work:
    results, strokes = find_results(volume), find_strokes(volume)
    nodes = [*results, *filter(None, [strokes])]
    return _Work(results, _file_names(results, folder), strokes, [(node.GetID(), *moment(node)) for node in nodes])


def _write(case: ListedCase, volume: slicer.vtkMRMLScalarVolumeNode, chosen: slicer.vtkMRMLSegmentationNode | None,
           work: _Work, staging: Path, folder: Path, written: WrittenCts) -> Generator[Progress, None, SceneCase]:
    """Writes all files into `staging`; gives what there is to learn from."""
    for node, name in zip(work.results, work.names, strict=True):
        yield from counted(write_segmentation(node, staging / name),
                           Progress(_("saving the segmentation"), 0, 2, None))
    if work.strokes is not None:
        yield from counted(write_segmentation(work.strokes, staging / STROKES),
                           Progress(_("saving the strokes"), 0, 2, None))
    _refuse_deleted(case, volume)
    scene_case = next((listed for listed in CaseList().look(chosen) if listed.volume_id == volume.GetID()), None)
    if scene_case is None:
        raise UserError(_("{name} has only one slice: nothing can be saved of it.").format(name=case.name))
    if scene_case.labelled:
        entry = yield from counted(_write_to_learn_from(scene_case, staging, folder, written),
                                   Progress(_("saving the case to learn from"), 1, 2, None))
        # not by `whole_file`: nothing in this folder counts before all of it is moved
        (staging / ENTRY).write_text(json.dumps(entry), encoding="utf-8")
    (staging / _STAMP).write_text(uuid.uuid4().hex, encoding="utf-8")
    return scene_case


def _refuse_deleted(case: ListedCase, volume: slicer.vtkMRMLScalarVolumeNode) -> None:
    if not slicer.mrmlScene.IsNodePresent(volume):
        raise UserError(_("{name}: the CT was deleted while it was saved.").format(name=case.name))


def _put_in_place(work_list: WorkList, case: ListedCase, volume: slicer.vtkMRMLScalarVolumeNode,
                  chosen: slicer.vtkMRMLSegmentationNode | None, work: _Work, scene_case: SceneCase, staging: Path,
                  aside: bool) -> SavedCase:
    """What was written takes its place in the case's folder; gives what is to be said of it."""
    folder, moved = staging.parent, None
    if aside:
        moved = _move_aside(folder)
    left_alone, earlier = _left_alone(folder, work.files), work_list.entry_of(case) or {}
    _replace(folder, staging, _is_more(earlier, scene_case, left_alone))
    for node, name in zip(work.results, work.names, strict=True):
        note_file(node, folder / name)
    note_stamp(volume, folder)
    facts = {}  # what the list says already holds where nothing of it is in the scene
    if work.results or not left_alone:
        counting = chosen
        if chosen not in work.results:
            counting = next(reversed(work.results), None)
        drawn = bool(scene_case.drawn) or (STROKES in left_alone and bool(earlier.get("drawn")))
        facts = _state(counting, drawn) | _unsure(counting, case)
    return SavedCase(facts, tuple(left_alone), moved)


def _write_to_learn_from(scene_case: SceneCase, staging: Path, folder: Path,
                         written: WrittenCts) -> Generator[None, None, dict[str, Any]]:
    space = label_space_names(WORD16.names, [scene_case])
    entry = yield from write_scene_case(scene_case, _CT, space, staging,
                                        lambda node, path: written.write(node, path, folder / path.name))
    return entry | {"space": space, "accepted": scene_case.accepted, "drawn": scene_case.drawn}


def _file_names(results: Sequence[slicer.vtkMRMLSegmentationNode], folder: Path) -> list[str]:
    """The file of each segmentation: its own, or a free one where it has none yet."""
    used, names = {path.name for path in saved_segmentations(folder)}, []
    for node in results:
        path = Path(node.GetAttribute(_FILE) or "")
        name, number = path.name, 1
        # a node that was copied says that it has the file of the first
        if path.parent != folder or name in names:
            while (name := f"segmentation_{number}.seg.nrrd") in used:
                number += 1
        used.add(name)
        names.append(name)
    return names


def _left_alone(folder: Path, new: Iterable[str]) -> list[str]:
    """What was saved before and is not among the new files."""
    # a segmentation of several files is never taken for another's: each node knows its own
    saved = [path.name for path in saved_segmentations(folder)]
    if (folder / STROKES).is_file():
        saved.append(STROKES)
    return [name for name in saved if name not in set(new)]


def _is_more(earlier: dict[str, Any], scene_case: SceneCase, left_alone: Sequence[str]) -> bool:
    """Whether the `earlier` files to learn from hold labels of what is left alone, and the scene none in its place."""
    accepted_lost = any(name != STROKES for name in left_alone) and earlier.get("accepted") and not scene_case.accepted
    drawn_lost = STROKES in left_alone and earlier.get("drawn") and not scene_case.drawn
    return bool(accepted_lost or drawn_lost)


def _move_aside(folder: Path) -> Path:
    number = 1
    # two windows may have disagreed before
    while (target := folder / f"earlier {number}").exists():
        number += 1
    target.mkdir()
    for path in list(folder.iterdir()):
        if path.is_file():
            put_in_place(path, target / path.name)
    return target


def _remove_abandoned(folder: Path) -> None:
    # by age, as a lock would not hold on every hospital's network drive
    for path in folder.glob(f"{_NEW}*"):
        if time.time() - path.stat().st_mtime > _ABANDONED_S:
            shutil.rmtree(path, ignore_errors=True)


def _replace(folder: Path, staging: Path, keep_to_learn_from: bool) -> None:
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


def _state(node: slicer.vtkMRMLSegmentationNode | None, drawn: bool) -> dict[str, Any]:
    """What the list says of a case with this segmentation."""
    organs = []
    if node is not None:
        organs = rows(node)
    decided = sum(row.state in DECIDED for row in organs)
    state = NEW
    if organs:
        state = SEGMENTED
    if decided or drawn:
        state = BEGUN
    if organs and decided == len(organs):
        state = DONE
    return {"state": state, "decided": decided, "organs": len(organs)}


def _unsure(node: slicer.vtkMRMLSegmentationNode | None, case: ListedCase) -> dict[str, Any]:
    """What the list says of the organ that the model is least sure of, among those that nobody has decided yet."""
    if node is None or not any(organ.entropy is not None for organ in rows(node)):
        return {}  # what was found out before, without a segmentation, holds
    unsure = unsurest((organ.organ, organ.entropy) for organ in rows(node) if organ.state not in DECIDED)
    if unsure is None:
        return {"worth": None, "worth_organ": "", "worth_z_mm": None}
    if unsure.worth_organ == case.worth_organ:  # where in the organ is known only from a look through all cases
        unsure = replace(unsure, worth_z_mm=case.worth_z_mm)
    return asdict(unsure)
