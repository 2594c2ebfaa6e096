"""Saves what was done on an open case of the work list, and never replaces it by less unasked.

What is deleted in the scene, or was never loaded into it, stays on the disk; so does what another window has saved
since.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import uuid
from collections.abc import Generator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.organs import WORD16

from ..scene.case_writing import write_scene_case
from ..scene.organ_rows import DECIDED, rows
from ..scene.organ_versions import moment, note_edits
from ..scene.overlap_text import overlap_text
from ..scene.scene_cases import CaseList, SceneCase, label_space_names
from ..scene.seg_nrrd_writing import write_segmentation
from ..scene.segmentation_result import find_results
from ..scene.strokes import find_all_strokes
from ..scene.written_cts import WrittenCts
from ..shell.job import Progress
from ..shell.steps import counted
from ..shell.work_list import BEGUN, DONE, ENTRY, NEW, SEGMENTED, ListedCase, WorkList
from . import case_folder
from .rank_run import unsurest

_TRIES = 3


@dataclass(frozen=True)
class SavedCase:
    """`facts`: what the list shall say of the case. `left_alone`: files that stay as they are, since the scene does not
    hold what is in them. `aside`: the folder of what another window had saved, None where nothing was moved. `latest`:
    the strokes that count, and `uncounted` others in which something is drawn (names). `lost`: voxels that accepted
    organs have lost, in the files to learn from, to others which overlap with them."""

    facts: dict[str, Any]
    left_alone: tuple[str, ...] = ()
    aside: Path | None = None
    latest: str = ""
    uncounted: tuple[str, ...] = ()
    lost: Mapping[str, int] = field(default_factory=dict)

    def text(self) -> str:
        """A line for the user, empty where nothing is to be said."""
        lines = []
        if self.left_alone:
            lines.append(_("Not in the scene and therefore kept as it was saved before: {files}. Remove the case from "
                           "the list to be rid of it.").format(files=", ".join(self.left_alone)))
        if self.aside is not None:
            lines.append(_("What the other window had saved lies in {folder}.").format(folder=self.aside))
        if self.uncounted:
            lines.append(_("Only the latest strokes count, {latest}: those of {others} are saved and come back with "
                           "the case, but nothing is learnt from them.").format(
                latest=self.latest, others=", ".join(self.uncounted)))
        return " ".join(filter(None, [*lines, overlap_text(self.lost)]))


@dataclass(frozen=True)
class _Work:
    """What the scene holds of a case: its segmentations and its strokes, with the names of their files."""

    results: list[slicer.vtkMRMLSegmentationNode]
    names: list[str]
    strokes: list[slicer.vtkMRMLSegmentationNode]
    stroke_names: list[str]
    moments: list[tuple[object, ...]]  # change with all that is saved
    lost: dict[str, int] = field(default_factory=dict)  # as in `SavedCase`

    @property
    def files(self) -> dict[str, slicer.vtkMRMLSegmentationNode]:
        """All nodes by the names of their files."""
        return dict(zip([*self.names, *self.stroke_names], [*self.results, *self.strokes], strict=True))

    def node_names(self, chosen: slicer.vtkMRMLSegmentationNode | None) -> dict[str, str]:
        """What the node of each file is called; the `chosen` segmentation is the last, as the latest strokes are."""
        files = sorted(self.files.items(), key=lambda file: file[1] is chosen)
        return {name: node.GetName() for name, node in files}


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
    stamp = case_folder.stamp_of(folder)
    folder.mkdir(parents=True, exist_ok=True)
    case_folder.remove_abandoned(folder)
    for _attempt in range(_TRIES):
        staging = Path(tempfile.mkdtemp(prefix=case_folder.NEW, dir=folder))
        try:
            for node in find_results(volume):
                yield from counted(note_edits(node), Progress(_("saving the segmentation"), 0, 2, None))
            work = _work(volume, folder)
            scene_case = yield from _write(case, volume, chosen, work, staging, folder, written)
            _refuse_deleted(case, volume)
            # an organ may have been accepted in between, or counted as edited a moment after it was
            if _work(volume, folder).moments != work.moments:
                continue
            if case_folder.stamp_of(folder) != stamp:
                raise UserError(_("{name} was saved by another window at the same time: save it again.").format(
                    name=case.name))
            return _put_in_place(work_list, case, volume, chosen, work, scene_case, staging, aside)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    raise UserError(_("{name} was changed while it was saved: save it again.").format(name=case.name))


def _work(volume: slicer.vtkMRMLScalarVolumeNode, folder: Path) -> _Work:
    results = find_results(volume)
    # a stroke that somebody copied into a segmentation is saved with it
    strokes = [node for node in find_all_strokes(volume) if node not in results]
    moments = [(node.GetID(), *moment(node)) for node in (*results, *strokes)]
    return _Work(results, case_folder.segmentation_names(results, folder),
                 strokes, case_folder.stroke_names(strokes, folder), moments)


def _write(case: ListedCase, volume: slicer.vtkMRMLScalarVolumeNode, chosen: slicer.vtkMRMLSegmentationNode | None,
           work: _Work, staging: Path, folder: Path, written: WrittenCts) -> Generator[Progress, None, SceneCase]:
    """Writes all files into `staging`; gives what there is to learn from."""
    for name, node in work.files.items():
        text = _("saving the segmentation")
        if case_folder.is_strokes(name):
            text = _("saving the strokes")
        yield from counted(write_segmentation(node, staging / name), Progress(text, 0, 2, None))
    _refuse_deleted(case, volume)
    scene_case = next((listed for listed in CaseList().look(chosen) if listed.volume_id == volume.GetID()), None)
    if scene_case is None:
        raise UserError(_("{name} has only one slice: nothing can be saved of it.").format(name=case.name))
    if scene_case.labelled:
        entry = yield from counted(_write_to_learn_from(scene_case, work, staging, folder, written),
                                   Progress(_("saving the case to learn from"), 1, 2, None))
        # not by `whole_file`: nothing in this folder counts before all of it is moved
        (staging / ENTRY).write_text(json.dumps(entry), encoding="utf-8")
    (staging / case_folder.STAMP).write_text(uuid.uuid4().hex, encoding="utf-8")
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
        moved = case_folder.move_aside(folder)
    left_alone, earlier = case_folder.left_alone(folder, work.files), work_list.entry_of(case) or {}
    drawn_lost = _is_drawn_lost(folder, earlier, scene_case, left_alone)
    # what comes back from the disk alone counts before nothing that is in the scene
    noted = case_folder.node_names(folder)
    noted = {name: noted.get(name, "") for name in left_alone} | work.node_names(chosen)
    (staging / case_folder.NODES).write_text(json.dumps(noted), encoding="utf-8")
    case_folder.replace_files(folder, staging, drawn_lost or _is_accepted_lost(earlier, scene_case, left_alone))
    for name, node in work.files.items():
        case_folder.note_file(node, folder / name)
    case_folder.note_stamp(volume, folder)
    facts = {}  # what the list says already holds where no segmentation of it is in the scene
    if work.results or all(map(case_folder.is_strokes, left_alone)):
        counting = chosen
        if chosen not in work.results:
            counting = next(reversed(work.results), None)
        facts = _state(counting, bool(scene_case.drawn) or drawn_lost) | _unsure(counting, case)
    latest = [node.GetName() for node in find_all_strokes(volume)][-1:]
    return SavedCase(facts, tuple(left_alone), moved, "".join(latest), scene_case.uncounted, work.lost)


def _write_to_learn_from(scene_case: SceneCase, work: _Work, staging: Path, folder: Path,
                         written: WrittenCts) -> Generator[None, None, dict[str, Any]]:
    space = label_space_names(WORD16.names, [scene_case])
    entry = yield from write_scene_case(scene_case, case_folder.CT, space, staging,
                                        lambda node, path: written.write(node, path, folder / path.name), work.lost)
    accepted_in = [name for name, node in work.files.items() if node.GetID() == scene_case.segmentation_id]
    return entry | {"space": space, "accepted": scene_case.accepted, "drawn": scene_case.drawn,
                    "accepted_in": "".join(accepted_in)}


def _is_accepted_lost(earlier: dict[str, Any], scene_case: SceneCase, left_alone: Sequence[str]) -> bool:
    """Whether the `earlier` files to learn from hold organs of a segmentation that is left alone, and the scene none in
    their place."""
    alone = earlier.get("accepted_in") in left_alone
    if "accepted_in" not in earlier:  # of an older version
        alone = not all(map(case_folder.is_strokes, left_alone))
    return bool(alone and earlier.get("accepted") and not scene_case.accepted)


def _is_drawn_lost(folder: Path, earlier: dict[str, Any], scene_case: SceneCase, left_alone: Sequence[str]) -> bool:
    """The same of strokes: of several only those that counted are in the files to learn from."""
    counted_before = [path.name for path in case_folder.saved_strokes(folder)][-1:]
    alone = bool(counted_before) and counted_before[0] in left_alone
    return bool(alone and earlier.get("drawn") and not scene_case.drawn)


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
