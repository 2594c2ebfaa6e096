"""Opens a case of the work list in the scene, saves what was done on it, and takes it out of the scene again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Generator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import slicer
import slicer.util
from slicer.i18n import tr as _

from PartialOrganSegLib.atomic import put_in_place
from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.organs import WORD16

from ..scene.case_writing import write_scene_case
from ..scene.ct_identity import CtIdentity, ct_identity
from ..scene.ct_tag import link_to_ct
from ..scene.organ_rows import DECIDED, rows
from ..scene.scene_cases import CaseList, label_space_names
from ..scene.seg_nrrd import is_whole
from ..scene.seg_nrrd_writing import write_segmentation
from ..scene.segmentation_result import find_results
from ..scene.strokes import find_strokes
from ..scene.written_cts import WrittenCts
from ..shell.job import Progress
from ..shell.steps import counted
from ..shell.work_list import BEGUN, DONE, ENTRY, NEW, SEGMENTED, STROKES, ListedCase, WorkList
from .dicom_series import SOURCE, load_series
from .rank_run import unsurest

_CASE = "PartialOrganSeg.ListedCase"  # attribute of a CT: its source in the list
_SEGMENTATIONS = "segmentation*.seg.nrrd"
_NEW = ".saving"  # folder of what is being saved


def opened_ct(source: str) -> slicer.vtkMRMLScalarVolumeNode | None:
    """The CT in the scene that was opened as this case."""
    volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    return next((volume for volume in volumes if source and volume.GetAttribute(_CASE) == source), None)


def open_case(work_list: WorkList, case: ListedCase,
              ) -> tuple[slicer.vtkMRMLScalarVolumeNode, slicer.vtkMRMLSegmentationNode | None]:
    """Loads the CT and what was saved of it; gives the CT and its latest segmentation. Raises OSError and UserError,
    with the scene as it was: where something cannot be read, or the CT is another one than when it was opened first."""
    volume = _load(case)
    try:
        identity = ct_identity(volume)
        known = CtIdentity.parsed(case.identity)
        if known is not None and not known.same_as(identity):
            raise UserError(_("{name}: the file holds another CT than when it was opened first; what was done on that "
                              "one was left alone. Remove the case and add it again.").format(name=case.name))
        volume.SetAttribute(_CASE, case.source)
        work_list.change(case.source, identity=identity.text())
        return volume, _load_work(work_list.folder_of(replace(case, identity=identity.text())), volume)
    except (OSError, UserError):
        close_case(volume)
        raise


def _load_work(folder: Path, volume: slicer.vtkMRMLScalarVolumeNode) -> slicer.vtkMRMLSegmentationNode | None:
    """Loads the segmentations and strokes that were saved of a CT; gives the latest segmentation."""
    node = None
    for path in sorted(folder.glob(_SEGMENTATIONS)):
        node = _load_segmentation(path, f"{volume.GetName()} segmentation")
        link_to_ct(node)
    if (folder / STROKES).is_file():
        _load_segmentation(folder / STROKES, f"{volume.GetName()} strokes")
        find_strokes(volume)  # links them to the CT
    return node


def _load_segmentation(path: Path, name: str) -> slicer.vtkMRMLSegmentationNode:
    unreadable = UserError(_("{path}: the file is damaged and was left alone.").format(path=path))
    if not is_whole(path):
        raise unreadable
    try:
        return slicer.util.loadSegmentation(str(path), {"name": name})
    except RuntimeError as error:
        raise unreadable from error


def _load(case: ListedCase) -> slicer.vtkMRMLScalarVolumeNode:
    if case.source.startswith(SOURCE):
        return load_series(case.source)
    if not Path(case.source).is_file():
        raise UserError(_("{path}: there is no such file.").format(path=case.source))
    try:
        volume = slicer.util.loadVolume(case.source, {"name": case.name, "show": False})
    except RuntimeError as error:
        raise UserError(_("{path}: Slicer could not read it.").format(path=case.source)) from error
    if volume is None or volume.GetImageData() is None:
        raise UserError(_("{path}: Slicer could not read it.").format(path=case.source))
    return volume


def save_case(work_list: WorkList, case: ListedCase, volume: slicer.vtkMRMLScalarVolumeNode,
              chosen: slicer.vtkMRMLSegmentationNode | None,
              written: WrittenCts) -> Generator[Progress, None, dict[str, Any]]:
    """Saves the CT's segmentations of ours and its strokes, and the files to learn from where something was accepted or
    drawn; gives what the list shall say of the case. `chosen`: of several segmentations the one that counts.

    Files of an earlier time are replaced when all new ones are whole. Raises OSError and UserError.
    """
    folder = work_list.folder_of(case)
    results, strokes = find_results(volume), find_strokes(volume)
    staging = folder / _NEW
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        for number, node in enumerate(results, 1):
            yield from counted(write_segmentation(node, staging / f"segmentation_{number}.seg.nrrd"),
                               Progress(_("saving the segmentation"), 0, 2, None))
        if strokes is not None:
            yield from counted(write_segmentation(strokes, staging / STROKES),
                               Progress(_("saving the strokes"), 0, 2, None))
        scene_case = next(listed for listed in CaseList().look(chosen) if listed.volume_id == volume.GetID())
        if scene_case.labelled:
            space = label_space_names(WORD16.names, [scene_case])
            work = write_scene_case(
                scene_case, "ct", space, staging,
                lambda node, path: written.write(node, path, folder / path.name))
            entry = yield from counted(work, Progress(_("saving the case to learn from"), 1, 2, None))
            entry |= {"space": space, "accepted": scene_case.accepted, "drawn": scene_case.drawn}
            (staging / ENTRY).write_text(json.dumps(entry), encoding="utf-8")
        _replace(folder, staging)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    counted_node = chosen
    if chosen not in results and results:
        counted_node = results[-1]
    return _state(counted_node, strokes is not None and bool(scene_case.drawn)) | _unsure(counted_node, case)


def _replace(folder: Path, staging: Path) -> None:
    """Puts the new files in the place of all earlier ones."""
    new = {path.name for path in staging.iterdir()}
    for path in list(folder.iterdir()):
        if path.is_file() and path.name not in new:
            path.unlink()
    for path in staging.iterdir():
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


def close_case(volume: slicer.vtkMRMLScalarVolumeNode) -> None:
    """Takes a CT that was saved, its segmentations of ours and its strokes out of the scene."""
    nodes = [*find_results(volume), find_strokes(volume), volume]
    for node in nodes:
        if node is not None:
            slicer.mrmlScene.RemoveNode(node)
