"""What section Review says: of the segmentation, of an organ, and why a button cannot be pressed."""

from __future__ import annotations

import slicer
from slicer.i18n import tr as _

from ..scene.ct_tag import misses_its_ct, why_no_ct
from ..scene.organ_rows import ABSENT, ACCEPTED, DECIDED, PREDICTED, accepted_organs, rows
from ..scene.strokes import stroke_organs
from .logic import Review
from .prediction import predicted_segment


def progress_text(node: slicer.vtkMRMLSegmentationNode | None, review: Review | None) -> str:
    """How far the review is, or why there is none."""
    if node is None:
        return _("Choose a segmentation, or make one in section Segment.")
    if review is None and stroke_organs(node):
        return _("{name} holds strokes, which section Strokes shows: choose a segmentation.").format(
            name=node.GetName())
    if review is None:
        return _("{name} was not made by PartialOrganSeg: its segments are not marked as organs. Segment the CT in "
                 "section Segment to review its organs.").format(name=node.GetName())
    states = [row.state for row in rows(node)]
    text = _("{decided} of {all} organs accepted or absent.").format(
        decided=sum(state in DECIDED for state in states), all=len(states))
    if misses_its_ct(node):
        text += " " + _("Made on a CT that is not in the scene: load that CT to check and accept organs.")
    return text


def organ_text(review: Review, segment_id: str) -> str:
    """Time and changes of an organ."""
    record, row = review.record(segment_id), review.row(segment_id)
    if record is None:
        return ""
    minutes, seconds = divmod(round(record.seconds), 60)
    parts = [_("{organ}: {minutes}:{seconds:02d} min").format(
        organ=review.segment(segment_id).GetName(), minutes=minutes, seconds=seconds)]
    if row.predicted_ml is not None:
        text = _("predicted {ml:.1f} ml")
        if row.model:
            text = _("predicted {ml:.1f} ml by {model}")
        parts.append(text.format(ml=row.predicted_ml, model=row.model))
    if record.added is None:
        parts.append(_("changes unknown: the prediction was not saved with it"))
    elif record.added == record.removed == 0:
        parts.append(_("unchanged"))
    else:
        parts.append(_("+{added} -{removed} voxels").format(added=record.added, removed=record.removed))
        if record.dice is not None:
            parts.append(_("Dice with the prediction {dice:.3f}").format(dice=record.dice))
    return ", ".join(parts)


def reasons(review: Review | None, segment_id: str) -> dict[str, str]:
    """Why the buttons (accept, acceptAll, strokes, absent, back, undo, next, only, table, case) cannot be pressed;
    empty where they can.

    `segment_id`: the selected organ, or empty.
    """
    if review is None:
        buttons = ("accept", "acceptAll", "strokes", "absent", "back", "undo", "next", "only", "table", "case")
        return dict.fromkeys(buttons, _("There is nothing to review."))
    why = {"only": "", "undo": "", "table": "", "case": _why_no_case(review.segmentation), "next": ""}
    why |= {"acceptAll": "", "strokes": ""}
    if not review.acceptable():
        why["acceptAll"] = _("No organ is left to accept.")
    if review.next_to_check(segment_id) is None:
        why["next"] = _("All organs are accepted or absent.")
    why["strokes"] = why_no_ct(review.segmentation)
    unseen = ""  # nobody can check an organ on another CT
    if misses_its_ct(review.segmentation):
        unseen = _("The CT of this segmentation is not in the scene.")
    why["acceptAll"] = unseen or why["acceptAll"]
    if not segment_id:
        return why | dict.fromkeys(("accept", "absent", "back", "strokes", "only"), _("Select an organ in the table."))
    state = review.row(segment_id).state
    why |= {"accept": "", "absent": "", "back": ""}
    if state == ACCEPTED:
        why["accept"] = _("The organ is accepted.")
    elif review.is_empty(segment_id):
        why["accept"] = _("The organ has no voxel: draw it, or mark it as absent.")
    if state == ABSENT:
        why["absent"] = _("The organ is marked as absent.")
    why |= {name: unseen or why[name] for name in ("accept", "absent")}
    # the prediction is in the scene's hidden node, which a .seg.nrrd lacks
    if state == PREDICTED:
        why["back"] = _("The organ is as it was predicted.")
    elif predicted_segment(review.segmentation, segment_id) is None:
        why["back"] = _("The prediction was not kept: it is saved in .mrb, not in .seg.nrrd files.")
    return why


def _why_no_case(node: slicer.vtkMRMLSegmentationNode) -> str:
    why = why_no_ct(node)
    if why:
        return why
    if not accepted_organs(node):
        return _("Accept an organ first.")
    return ""


def tips() -> dict[str, str]:
    """What the buttons do."""
    return {
        "accept": _("The organ is right as it is and becomes a label (Shift+A)"),
        "acceptAll": _("All organs with voxels that are neither accepted nor absent become labels as they are"),
        "strokes": _("Draw where this organ is wrong, in any plane: the CT is corrected after each stroke"),
        "absent": _("The organ is not in this CT; its segment is emptied (Shift+X)"),
        "back": _("Drops the corrections of this organ (Shift+P)"),
        "undo": _("Takes back the last edit, acceptance or other change (Shift+Z)"),
        "next": _("Selects the next organ that is neither accepted nor absent (Shift+N)"),
        "only": _("Hides the other organs in all views, and follows the selection; pressed again, shows them "
                  "(Shift+Y)"),
        "table": _("Saves a table (CSV) of all segmentations of the scene: of each organ the time it took, and how "
                   "much was changed"),
        "case": _("Saves the CT and its accepted organs in a folder, to learn from later or on another computer"),
    }
