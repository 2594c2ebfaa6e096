"""Label maps whose values are organs of a label space, also of segmentations of 3D Slicer.

Slicer numbers the segments of a `.seg.nrrd` in the order in which they were drawn, and may number them anew when it
saves. What a segment is stands in its name alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ..errors import Code, Problem, UserError
from ..events import Reporter
from ..formats.reading import read_labelmap
from ..formats.slicer_segmentation import Segment, is_segmentation, segments_of
from ..formats.strokes import NOT_DRAWN
from ..imaging.volume import Volume
from ..organs import BACKGROUND, LabelSpace
from .structure_names import organs_named, parse_structure

_SILENT = Reporter()


def read_organ_labels(path: Path, label_space: LabelSpace, reporter: Reporter = _SILENT, *,
                      label_map: Mapping[int, Sequence[str]] | None = None, strokes: bool = False) -> Volume:
    """A label map; in a segmentation of 3D Slicer each segment has the value of the organ that its name means.

    With a `label_map` (value to organs it may be) a segmentation keeps its values, which must not contradict its
    names. `strokes`: what no segment covers is `NOT_DRAWN`, not background. Segments of organs that the label space
    does not have become background, with a warning. Raises UserError for a segment whose name is no organ's.
    """
    labels = read_labelmap(path, reporter, segmentations=True)
    if not is_segmentation(path):
        return labels
    present = set(np.unique(labels.array).tolist()) - {0}
    names: dict[int, Segment] = {}
    for segment in segments_of(path):
        if segment.value in names:
            raise UserError(code=Code.UNKNOWN_LABEL, subject=path, expected="a value of its own for each segment",
                            found=f"'{names[segment.value].name}' and '{segment.name}' of value {segment.value}")
        names[segment.value] = segment
    # A value without a segment has no name, and a guess by its number may be another organ.
    nameless = sorted(present - set(names))
    if nameless:
        raise UserError(code=Code.UNKNOWN_LABEL, subject=path, expected="a segment for every value",
                        found=f"none for {nameless[0]}")
    segments = [names[value] for value in sorted(present)]
    if label_map:
        for segment in segments:
            _check_against(path, segment, label_map, label_space)
        return labels
    organ_of_value = np.zeros(max(present, default=0) + 1, np.uint8)
    organ_of_value[0] = NOT_DRAWN if strokes else 0
    left_out = []
    for segment in segments:
        organs = _organs_of(segment, label_space)
        if organs is None or len(organs) > 1:
            # Taken as background, an organ under a misspelt name would be trained on as one that is not there.
            raise UserError(code=Code.UNKNOWN_LABEL, subject=f"{path}: segment '{segment.name}'",
                            expected=f"the name of an organ of {label_space.name} ({', '.join(label_space.names)})",
                            found="none" if organs is None else f"one that may be {' or '.join(organs)}",
                            hint="rename the segment in Slicer, or remove it")
        if organs:
            organ_of_value[segment.value] = label_space.index(organs[0])
        else:
            left_out.append(segment.name)
    if left_out:
        reporter.warning(Problem(Code.UNKNOWN_LABEL, str(path), hint="taken as background",
                                 found=f"no organ of {label_space.name}: {', '.join(left_out)}"))
    _report_lone_sides(path, segments, label_space, reporter)
    return Volume(organ_of_value[labels.array], labels.grid)


def _organs_of(segment: Segment, label_space: LabelSpace) -> tuple[str, ...] | None:
    """`organs_named` of a segment, or "background"; its ID counts where the name is no organ's.

    Slicer keeps the ID when a segment is renamed, so it never overrules a name.
    """
    for name in (segment.name, segment.segment_id):
        if name.strip().lower() == BACKGROUND:
            return (BACKGROUND,)
        organs = organs_named(name, label_space)
        if organs is not None:
            return organs
    return None


def _report_lone_sides(path: Path, segments: Sequence[Segment], label_space: LabelSpace, reporter: Reporter) -> None:
    """Warns where only one side is drawn of an organ that the label space does not divide, such as the adrenals."""
    sides: dict[str, set[str]] = {}
    for segment in segments:
        organs, side = _organs_of(segment, label_space), parse_structure(segment.name).side
        if organs and side is not None and parse_structure(organs[0]).side is None:
            sides.setdefault(organs[0], set()).add(side)
    for organ, drawn in sides.items():
        if len(drawn) == 1:
            reporter.warning(Problem(Code.ORGAN_ABSENT, str(path),
                                     found=f"only the {min(drawn)} side of the {organ} is a segment",
                                     hint="the other side counts as background"))


def _check_against(path: Path, segment: Segment, label_map: Mapping[int, Sequence[str]],
                   label_space: LabelSpace) -> None:
    """Raises UserError for a segment that a label map does not name, or calls by another organ's name."""
    organs = _organs_of(segment, label_space)
    subject = f"{path}: segment '{segment.name}' of value {segment.value}"
    if segment.value not in label_map:
        raise UserError(code=Code.UNKNOWN_LABEL, subject=subject, expected="a value of label_map", found="none",
                        hint="without a label_map the segments' names count")
    if organs and not set(organs) & set(label_map[segment.value]):
        raise UserError(code=Code.UNKNOWN_LABEL, subject=subject,
                        expected=f"{' or '.join(organs)} for it in label_map",
                        found=" or ".join(label_map[segment.value]),
                        hint="without a label_map the segments' names count")
