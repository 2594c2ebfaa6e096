"""Loads a case of the work list into the scene, and takes it out of the scene again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import slicer
import slicer.util
from slicer.i18n import tr as _

from PartialOrganSegLib.errors import UserError

from ..scene.ct_identity import CtIdentity, ct_identity
from ..scene.ct_tag import is_of_another_ct
from ..scene.seg_nrrd import is_whole
from ..scene.segmentation_result import find_results
from ..scene.strokes import find_all_strokes
from ..scene.subject_hierarchy import stand_beside
from ..shell.work_list import ListedCase, WorkList
from .case_folder import node_names, note_file, note_stamp, saved_segmentations, saved_strokes
from .dicom_series import SOURCE, load_series

_CASE = "PartialOrganSeg.ListedCase"  # attribute of a CT: its source in the list


def opened_ct(source: str) -> slicer.vtkMRMLScalarVolumeNode | None:
    """The CT in the scene that was opened as this case."""
    volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    return next((volume for volume in volumes if source and volume.GetAttribute(_CASE) == source), None)


def let_go(volume: slicer.vtkMRMLScalarVolumeNode) -> None:
    """From now on a CT that was opened as a case is one of the scene like any other."""
    volume.RemoveAttribute(_CASE)


def load_case(work_list: WorkList, case: ListedCase,
              ) -> tuple[slicer.vtkMRMLScalarVolumeNode, slicer.vtkMRMLSegmentationNode | None]:
    """Loads the CT and what was saved of it; gives the CT and the segmentation that was chosen. Raises OSError and
    UserError, with the scene as it was: where something cannot be read, or the CT is another one than when it was
    opened first."""
    before = set(slicer.util.getNodesByClass("vtkMRMLSegmentationNode"))
    volume = _load(case)
    try:
        identity = ct_identity(volume)
        known = CtIdentity.parsed(case.identity)
        if known is not None and not known.same_as(identity):
            raise UserError(_("{name}: the file holds another CT than when it was opened first; what was done on that "
                              "one was left alone. Remove the case and add it again.").format(name=case.name))
        volume.SetAttribute(_CASE, case.source)
        work_list.change(case.source, identity=identity.text())
        folder = work_list.folder_of(replace(case, identity=identity.text()))
        note_stamp(volume, folder)  # before the files are read: what another window saves meanwhile is noticed
        return volume, _load_work(folder, volume)
    except (OSError, UserError):
        # never the user's own strokes on this CT, which nobody has saved
        for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode"):
            if node not in before:
                slicer.mrmlScene.RemoveNode(node)
        slicer.mrmlScene.RemoveNode(volume)
        raise


def _load_work(folder: Path, volume: slicer.vtkMRMLScalarVolumeNode) -> slicer.vtkMRMLSegmentationNode | None:
    """Loads the segmentations and strokes that were saved of a CT; gives the segmentation that was chosen."""
    node, names = None, node_names(folder)
    for path in saved_segmentations(folder):
        node = _load_segmentation(path, names.get(path.name) or f"{volume.GetName()} segmentation", volume)
        note_file(node, path)
    for path in saved_strokes(folder):
        name = names.get(path.name) or slicer.mrmlScene.GenerateUniqueName(
            _("{ct} strokes").format(ct=volume.GetName()))
        note_file(_load_segmentation(path, name, volume), path)
    return node


def _load_segmentation(path: Path, name: str,
                       volume: slicer.vtkMRMLScalarVolumeNode) -> slicer.vtkMRMLSegmentationNode:
    unreadable = UserError(_("{path}: the file is damaged and was left alone.").format(path=path))
    if not is_whole(path):
        raise unreadable
    try:
        node = slicer.util.loadSegmentation(str(path), {"name": name})
    except RuntimeError as error:
        raise unreadable from error
    node.SetName(name)  # Slicer numbers one that another case has, too, which would be saved with the case
    # to this very CT: the user may have the same one in the scene once more
    if not is_of_another_ct(node, volume):
        node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
        stand_beside(node, volume)
    return node


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
    volume.SetName(case.name)  # Slicer counts on each time that it loads a file of that name, and files are called so
    return volume


def close_case(volume: slicer.vtkMRMLScalarVolumeNode) -> None:
    """Takes a CT that was saved, its segmentations of ours and its strokes out of the scene."""
    for node in (*find_results(volume), *find_all_strokes(volume), volume):
        slicer.mrmlScene.RemoveNode(node)
