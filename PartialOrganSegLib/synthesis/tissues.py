"""Tissue intensities in HU, measured on real CTs, and the draw of one consistent scan: phase, organs, blood, bone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Mean HU over the organ's eroded label and its standard deviation between scans, measured on ten CTs (five plain, five
# in late arterial or portal venous phase). Hollow organs: the soft part of wall and contents only (gas and oral
# contrast left out). Bladder, colon (with rectum) and intestine were measured on one plain scan only; their contrast
# figures follow the stomach's and duodenum's. Muscle and fat: peaks of the histogram outside the labels.
MEASURED_HU = {
    #              plain          contrast
    "liver":       ((51, 15), (107, 11)),
    "spleen":      ((46, 8), (112, 6)),
    "kidney":      ((23, 7), (155, 38)),
    "stomach":     ((30, 10), (85, 25)),
    "gallbladder": ((8, 14), (20, 10)),
    "esophagus":   ((25, 12), (50, 22)),
    "pancreas":    ((36, 9), (90, 16)),
    "duodenum":    ((22, 12), (92, 25)),
    "colon":       ((20, 15), (75, 25)),
    "intestine":   ((28, 12), (80, 25)),
    "adrenal":     ((5, 18), (42, 15)),
    "rectum":      ((30, 12), (65, 20)),
    "bladder":     ((12, 8), (12, 10)),
    "muscle":      ((37, 9), (56, 8)),
    "fat":         ((-102, 9), (-102, 9)),
}
PHASES = {"plain": 0.35, "arterial": 0.15, "portal": 0.38, "delayed": 0.12}


@dataclass
class Palette:
    """The intensities of one scan in HU. `oral_contrast` is None when none was given."""

    phase: str
    organ: dict[str, float]
    aorta: float
    veins: float
    portal_vein: float
    cortex: float
    medulla: float
    renal_pelvis: float
    trabecular: float
    cortical: float
    lung: float
    oral_contrast: float | None

    @property
    def muscle(self) -> float:
        """HU of muscle."""
        return self.organ["muscle"]

    @property
    def fat(self) -> float:
        """HU of fat."""
        return self.organ["fat"]


def draw_palette(rng: np.random.Generator, phase: str | None = None) -> Palette:
    """One scan's intensities. `phase` is a key of PHASES; drawn at random if not given. Raises KeyError otherwise."""
    if phase is None:
        phase = str(rng.choice(list(PHASES), p=list(PHASES.values())))
    uptake = {"plain": 0.0, "arterial": 0.75, "portal": 1.0, "delayed": 0.7}[phase]
    strength = rng.normal(1.0, 0.15)  # dose and timing shift all organs together
    organ = {}
    for name, ((plain, plain_sd), (contrast, contrast_sd)) in MEASURED_HU.items():
        amount = uptake * strength
        spread = 1.4 * ((1 - uptake) * plain_sd + uptake * contrast_sd) * 0.7
        organ[name] = plain + amount * (contrast - plain) + spread * rng.standard_normal()
    if phase == "arterial":
        organ["liver"] -= rng.uniform(5, 35)
        organ["spleen"] += rng.uniform(0, 40)
        organ["pancreas"] += rng.uniform(0, 30)
    if rng.random() < 0.15:  # fatty liver
        organ["liver"] -= rng.uniform(15, 60)

    between = rng.uniform
    aorta, veins, portal = {
        "plain": (between(32, 55),) * 3,
        "arterial": (between(190, 380), between(50, 110), between(60, 160)),
        "portal": (between(120, 190), between(100, 170), between(130, 200)),
        "delayed": (between(85, 130), between(85, 130), between(85, 135)),
    }[phase]
    kidney = organ["kidney"]
    cortex, medulla, pelvis = {
        "plain": (kidney, kidney, between(-5, 15)),
        "arterial": (max(between(130, 230), organ["spleen"] + 15), between(50, 110), between(0, 20)),
        "portal": (kidney + between(0, 35), kidney - between(0, 35), between(0, 30)),
        "delayed": (kidney + between(-20, 10), kidney + between(-20, 10), between(150, 1200)),
    }[phase]
    trabecular, cortical, lung = between(60, 220), between(380, 900), between(-900, -720)
    oral_contrast = None
    if rng.random() < 0.3:
        oral_contrast = between(120, 450)
    return Palette(phase, organ, aorta, veins, portal, cortex, medulla, pelvis, trabecular, cortical, lung,
                   oral_contrast)
