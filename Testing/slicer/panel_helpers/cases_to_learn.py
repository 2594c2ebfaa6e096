"""Cases of the scene to learn from: drawn, listed, written as Fine-tune writes them, and read as the library reads."""

from __future__ import annotations

import numpy as np
from PartialOrganSegPanel.finetune import export
from PartialOrganSegPanel.scene.scene_cases import CaseList
from PartialOrganSegPanel.scene.stroke_labelmap import NOT_DRAWN
from PartialOrganSegPanel.scene.voxel_counts import finished
from PartialOrganSegPanel.scene.written_cts import WrittenCts

from PartialOrganSegLib.annotation import CandidateTable
from PartialOrganSegLib.datasets.manifest import load_manifest

from .scenes import phantom, strokes_on

LIVER, SPLEEN, PANCREAS = 1, 2, 8


def draw_pancreas(volume, organs=None, values=(0, PANCREAS)):
    """Strokes on a CT: every fifth voxel of these label values, of the slices where the pancreas is. Gives
    their node and the label map."""
    labels = phantom()[1]
    strokes = np.full(labels.shape, NOT_DRAWN, np.uint8)
    chosen = np.isin(labels, values) & (np.arange(labels.size).reshape(labels.shape) % 5 == 0)
    chosen[~(labels == PANCREAS).any((1, 2))] = False
    strokes[chosen] = labels[chosen]
    return strokes_on(volume, strokes, organs), strokes


def look():
    """The cases of the scene."""
    return CaseList().look(None)


def write_cases(cases, model, run, written=None):
    """All steps at once."""
    return finished(export.write_cases(cases, model, run, written or WrittenCts()))


def codes(manifest, number=0):
    """Candidate sets of one case's voxels: bool (z, y, x, class), in RAS-like array order of the CT's file."""
    manifest_read = load_manifest(manifest)
    table = CandidateTable(manifest_read.label_space.class_count)
    case = manifest_read.cases[number]
    image = case.read_image()
    return table, case.read_codes(image, manifest_read.label_space, table), image, manifest_read


def certain(table, array, label):
    """bool: voxels that are certainly this class."""
    alone = np.zeros(table.class_count, bool)
    alone[label] = True
    return (table.table[array] == alone).all(-1)


def possible(table, array, label):
    """bool: voxels that may be this class."""
    return table.table[array][..., label]
