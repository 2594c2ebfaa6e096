"""Where in the body an organ can be, and the parts of a result that lie elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ..imaging.body import find_body
from ..imaging.components import Component
from ..imaging.volume import Volume
from .check_kinds import Place

# Who can be where. Heights are of landmarks in the same CT, see `bounds`.
STRAY_ML = 1.0  # smaller parts are not worth a person's time
# Organs differ from patient to patient by this much; a hernia or a full bladder by more, and is worth a look.
MARGIN_MM = 30.0
LUNG_HU = -500.0
LEAST_LUNG_ML = 200.0  # more gas than a loop of bowel holds
MOST_LABELLED = 0.2  # of a lung: gas inside an organ is bowel
MOST_AROUND = 0.1  # of a lung outside of the body's mask, which is coarse

UPPER_ABDOMEN = frozenset({"liver", "spleen", "pancreas", "gallbladder", "esophagus", "stomach", "duodenum", "adrenal",
                           "left_kidney", "right_kidney"})
PELVIS = frozenset({"bladder", "rectum", "head_of_left_femur", "head_of_right_femur"})
BOWEL = frozenset({"colon", "intestine"})
BELOW_THE_CHEST = (UPPER_ABDOMEN | PELVIS | BOWEL) - {"esophagus"}
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
    def ends(names: Sequence[str], upper: bool) -> list[int]:
        found = []
        for name in names:
            if name in main:
                span = main[name].box[0]
                cut = span.stop == slices if upper else span.start == 0
                if cut:
                    return []
                found.append(span.stop if upper else span.start)
        return found

    domes, poles = ends(DOME, upper=True), ends(KIDNEYS, upper=False)
    tops, bottoms = ends(HIPS, upper=True), ends(HIPS, upper=False)
    return Landmarks(max(domes) * step_mm if domes else None,
                     min(poles) * step_mm if poles else None,
                     max(tops) * step_mm if tops else None, min(bottoms) * step_mm if bottoms else None)


def bounds(organ: str, landmarks: Landmarks) -> list[tuple[Place, float, bool]]:
    """Where the organ is not, as (place, height in mm, whether the place is above that height).

    Nothing of the abdomen lies above the diaphragm (the liver's top), the oesophagus excepted. Nothing of the
    pelvis lies above the kidneys' lower poles. Nothing of the upper abdomen lies below the top of the femoral heads,
    and no bowel or pelvic organ below their lower end. Each with a margin of 30 mm, and only where the landmark
    is seen. An organ of no known region is bounded by nothing.
    """
    places: list[tuple[Place, float, bool]] = []
    if organ in BELOW_THE_CHEST and landmarks.dome is not None:
        places.append((Place.ABOVE_DIAPHRAGM, landmarks.dome + MARGIN_MM, True))
    if organ in PELVIS and landmarks.kidneys is not None:
        places.append((Place.ABOVE_PELVIS, landmarks.kidneys + MARGIN_MM, True))
    if organ in UPPER_ABDOMEN and landmarks.hips_top is not None:
        places.append((Place.BELOW_ABDOMEN, landmarks.hips_top - MARGIN_MM, False))
    if organ in PELVIS | BOWEL and landmarks.hips_bottom is not None:
        places.append((Place.BELOW_PELVIS, landmarks.hips_bottom - MARGIN_MM, False))
    return places


class Surroundings:
    """What the CT itself says of a place: whether it is in the patient at all, and whether lung is around it."""

    def __init__(self, ct: Volume, labelled: np.ndarray, steps: Sequence[int]) -> None:
        """`ct` in canonical order; `labelled` (z, y, x) bool, organs on every `steps`-th of its voxels."""
        every = tuple(slice(None, None, step) for step in steps)
        coarse = np.ascontiguousarray(ct.array[every])
        spacing = [mm * step for mm, step in zip(ct.grid.spacing[::-1], steps, strict=True)]
        body = find_body(coarse, (spacing[0], spacing[1], spacing[2]))
        self.outside = np.ones(coarse.shape, bool)
        self.outside[body.box] = body.outside(tuple(part.stop - part.start for part in body.box))
        self.lung = _lungs(coarse, self.outside, labelled, spacing)

    def place(self, component: Component, below_the_chest: bool) -> Place | None:
        """Where the component is if the CT says that the organ cannot be there: mostly outside of the patient, or, of
        an organ that lies `below_the_chest`, mostly lined by lung."""
        if np.count_nonzero(self.outside[component.box] & component.mask) > component.voxels / 2:
            return Place.OUTSIDE_BODY
        if not below_the_chest:
            return None
        wider = tuple(slice(max(0, part.start - 1), part.stop + 1) for part in component.box)
        lung = self.lung[wider]
        before = [part.start - wide.start for part, wide in zip(component.box, wider, strict=True)]
        mask = np.pad(component.mask, [(first, size - first - length) for first, size, length
                                       in zip(before, lung.shape, component.mask.shape, strict=True)])
        shell = ndimage.binary_dilation(mask, np.ones((3, 3, 3), bool)) & ~mask
        return Place.IN_LUNG if np.count_nonzero(lung & shell) > np.count_nonzero(shell) / 2 else None


def _lungs(ct: np.ndarray, outside: np.ndarray, labelled: np.ndarray, spacing_zyx: Sequence[float]) -> np.ndarray:
    """(z, y, x) bool: large parts of air that are neither around the patient nor an organ's."""
    parts, _ = ndimage.label(ct < LUNG_HU)
    sizes = np.bincount(parts.ravel())
    around = np.bincount(parts[outside], minlength=len(sizes))
    organs = np.bincount(parts[labelled], minlength=len(sizes))
    least = LEAST_LUNG_ML * 1000 / float(np.prod(spacing_zyx))
    lung = (sizes >= least) & (around <= MOST_AROUND * sizes) & (organs <= MOST_LABELLED * sizes)
    lung[0] = False
    return lung[parts]


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
        heights = (np.arange(component.box[0].start, component.box[0].stop) + 0.5) * step_mm
        counts = component.mask.sum(axis=(1, 2))
        place = None
        for candidate, limit, above in places:
            beyond = heights > limit if above else heights < limit
            if counts[beyond].sum() > component.voxels / 2:
                place = candidate
                break
        if place is None and surroundings is not None:
            place = surroundings.place(component, organ in BELOW_THE_CHEST)
        if place is not None:
            total += component.voxels * voxel_ml
            first = first or place
    return None if first is None else (total, first)
