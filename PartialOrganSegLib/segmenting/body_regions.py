"""Where in the body an organ can be, and the parts of a result that lie elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ..imaging.body import find_body
from ..imaging.components import Component
from ..imaging.shapes import Mask, Spacing3, VoxelArray
from ..imaging.volume import Volume
from ..organ_records import organ_record
from .check_kinds import Place

MIN_LIVER_ML = 100.0  # a smaller one may be no liver, and bounds nothing
STRAY_ML = 1.0  # smaller parts are not worth a person's time
# Organs differ from patient to patient by this much; a hernia or a full bladder by more, and is worth a look.
MARGIN_MM = 30.0
LUNG_HU = -500.0
MIN_LUNG_ML = 200.0  # more gas than a loop of bowel holds
MAX_LABELLED = 0.2  # of a lung: gas inside an organ is bowel
MAX_AROUND = 0.1  # of a lung outside of the body's mask, which is coarse

# Which organs can be where. Heights are of landmarks in the same CT, see `bounds`.
THROUGH_THE_DIAPHRAGM = frozenset({"aorta", "inferior_vena_cava"})
# Organs that are landmarks: they are large, or hard to confuse with any other.
DOME, KIDNEYS = ("liver",), ("left_kidney", "right_kidney")
HIPS = ("head_of_left_femur", "head_of_right_femur")


@dataclass(frozen=True)
class Landmarks:
    """Heights (mm above the lowest slice) that bound the regions, None where the CT does not show them.

    `dome`: the top of the liver, which lies under the diaphragm. `kidneys`: the lower pole of the lower kidney.
    `hips_top` and `hips_bottom`: the ends of the femoral heads. An organ that touches the image's end gives no
    landmark on that side.
    """

    dome: float | None
    kidneys: float | None
    hips_top: float | None
    hips_bottom: float | None


def find_landmarks(main: Mapping[str, Component], step_mm: float, slices: int) -> Landmarks:
    """The landmarks of a label map of `slices` slices, `step_mm` apart; `main` is each organ's largest component."""
    def top(names: Sequence[str]) -> float | None:
        ends = [main[name].box[0].stop for name in names if name in main]
        if not ends or max(ends) == slices:  # absent, or cut off by the image's end
            return None
        return step_mm * float(max(ends))

    def bottom(names: Sequence[str]) -> float | None:
        ends = [main[name].box[0].start for name in names if name in main]
        if not ends or min(ends) == 0:
            return None
        return step_mm * float(min(ends))

    return Landmarks(top(DOME), bottom(KIDNEYS), top(HIPS), bottom(HIPS))


def bounds(organ: str, landmarks: Landmarks) -> list[tuple[Place, float, bool]]:
    """Where the organ is not, as (place, height in mm, whether the place is above that height).

    By the region of the organ's record: nothing of abdomen and pelvis lies above the diaphragm (the liver's top), the
    great vessels excepted, and nothing of the pelvis above the kidneys' lower poles. No organ that never shows in the
    pelvis lies below the top of the femoral heads, and none that does below their lower end. Each with a margin of
    30 mm, and only where the landmark is seen. An organ without a record is bounded by nothing.
    """
    record = organ_record(organ)
    places: list[tuple[Place, float, bool]] = []
    if record is None:
        return places
    if below_the_chest(organ) and landmarks.dome is not None:
        places.append((Place.ABOVE_DIAPHRAGM, landmarks.dome + MARGIN_MM, True))
    if record.region == "pelvis" and landmarks.kidneys is not None:
        places.append((Place.ABOVE_PELVIS, landmarks.kidneys + MARGIN_MM, True))
    if record.shows_in and "pelvis" not in record.shows_in and landmarks.hips_top is not None:
        places.append((Place.BELOW_ABDOMEN, landmarks.hips_top - MARGIN_MM, False))
    if "pelvis" in record.shows_in and landmarks.hips_bottom is not None:
        places.append((Place.BELOW_PELVIS, landmarks.hips_bottom - MARGIN_MM, False))
    return places


def below_the_chest(organ: str) -> bool:
    """Whether no part of the organ reaches into the chest."""
    record = organ_record(organ)
    return record is not None and record.region in ("abdomen", "pelvis") and organ not in THROUGH_THE_DIAPHRAGM


class Surroundings:
    """What the CT itself says of a place: whether it is in the patient at all, and whether lung lies around it."""

    def __init__(self, ct: Volume, labelled: Mask, steps: Sequence[int]) -> None:
        """`ct` in canonical order; `labelled` (z, y, x) bool, organs on every `steps`-th of its voxels."""
        z, y, x = steps
        coarse = np.ascontiguousarray(ct.array[::z, ::y, ::x])
        x_mm, y_mm, z_mm = ct.grid.spacing
        spacing = (z_mm * z, y_mm * y, x_mm * x)
        body = find_body(coarse, spacing)
        self.outside = np.ones(coarse.shape, bool)
        height, depth, width = (part.stop - part.start for part in body.box)
        self.outside[body.box] = body.outside((height, depth, width))
        self.lung = _lungs(coarse, self.outside, labelled, spacing)

    def place(self, component: Component, in_no_lung: bool) -> Place | None:
        """Where the component is if the CT says that the organ cannot be there: mostly outside of the patient, or, of
        an organ that is `in_no_lung`, mostly lined by lung."""
        if np.count_nonzero(self.outside[component.box] & component.mask) > component.voxels / 2:
            return Place.OUTSIDE_BODY
        if not in_no_lung:
            return None
        # The component's box and a voxel around, which is not there at the volume's ends.
        around = tuple(slice(max(0, part.start - 1), part.stop + 1) for part in component.box)
        lung = self.lung[around]
        mask = np.zeros(lung.shape, bool)
        within = tuple(slice(part.start - outer.start, part.stop - outer.start)
                       for part, outer in zip(component.box, around, strict=True))
        mask[within] = component.mask
        shell = ndimage.binary_dilation(mask, np.ones((3, 3, 3), bool)) & ~mask
        if np.count_nonzero(lung & shell) > np.count_nonzero(shell) / 2:
            return Place.IN_LUNG
        return None


def _lungs(ct: VoxelArray, outside: Mask, labelled: Mask, spacing_zyx: Spacing3) -> Mask:
    """(z, y, x) bool: large parts of air that are neither around the patient nor an organ's."""
    parts, _ = ndimage.label(ct < LUNG_HU)
    sizes = np.bincount(parts.ravel())
    around = np.bincount(parts[outside], minlength=len(sizes))
    organs = np.bincount(parts[labelled], minlength=len(sizes))
    min_voxels = MIN_LUNG_ML * 1000 / float(np.prod(spacing_zyx))
    is_lung: npt.NDArray[np.bool_] = (sizes >= min_voxels) & (around <= MAX_AROUND * sizes)
    is_lung &= organs <= MAX_LABELLED * sizes
    is_lung[0] = False  # what is no part
    lungs: Mask = is_lung[parts]
    return lungs


def mostly_beyond(component: Component, step_mm: float, limit: float, is_above: bool) -> bool:
    """Whether more than half of a component's voxels lie above (else: below) a height in mm, of slices `step_mm` apart.
    """
    heights = (np.arange(component.box[0].start, component.box[0].stop) + 0.5) * step_mm
    beyond = heights > limit if is_above else heights < limit
    # By slice, as regions end at heights.
    counts = component.mask.sum(axis=(1, 2))
    return bool(counts[beyond].sum() > component.voxels / 2)


def diaphragm(liver: Component | None, voxel_ml: float, step_mm: float, slices: int) -> float | None:
    """The height in mm above which no organ of abdomen and pelvis lies, 30 mm above the liver's top; None where a CT
    of `slices` slices does not show that.

    Only this one of the `bounds` takes away what a network found: a transplanted kidney lies in the pelvis, and hips
    may be what was taken for them.
    """
    if liver is None or liver.voxels * voxel_ml < MIN_LIVER_ML:
        return None
    dome = find_landmarks({DOME[0]: liver}, step_mm, slices).dome
    if dome is None:
        return None
    return dome + MARGIN_MM


def stray(organ: str, components: Sequence[Component], voxel_ml: float, step_mm: float, landmarks: Landmarks,
          surroundings: Surroundings | None = None) -> tuple[float, Place] | None:
    """Volume (ml) of an organ's components above 1 ml that lie outside its region, and where the largest of them is.

    A component is outside when more than half of its voxels are beyond one of the organ's `bounds` or outside of the
    patient, or when more than half of its surface is lined by lung (`Surroundings`). None when there is none.
    `voxel_ml` is the volume of a component's voxel and `step_mm` the distance of its slices.
    """
    total, first = 0.0, None
    places = bounds(organ, landmarks)
    for component in components:  # largest first
        if component.voxels * voxel_ml <= STRAY_ML:
            break
        place = None
        for candidate, limit, is_above in places:
            if mostly_beyond(component, step_mm, limit, is_above):
                place = candidate
                break
        if place is None and surroundings is not None:
            place = surroundings.place(component, below_the_chest(organ))
        if place is not None:
            total += component.voxels * voxel_ml
            first = first or place
    if first is None:
        return None
    return total, first
