"""Strokes that correct one CT, against simpler ways to use the same strokes, drawn by a simulated user.

    python Testing/benchmarks/refine.py -o output/refine --cases crlm_1006 hcc_006 waw2144_eq --model embedded

For every CT and every organ that its label can be compared with, the user looks for the largest error of that organ
(the largest connected part deeper than a rim of 1.5 mm), draws a stroke of 3 mm through its middle on the axial slice
where it is largest, and says what is there: the organ where it is missing, and where it is too much the reference's
label, mostly background. He sees the answer before the next stroke. Every organ begins at the model's labels anew.

Arms: `ours` (`RefineSession`); `pasted` (nothing but the drawn voxels changes); `watershed` (SimpleITK's, on the CT's
gradient) and `random_walker` (scikit-image's), which grow the strokes and the cores of all start labels into what lies
between; a start label's core counts only farther than 25 mm from a stroke that contradicts it.

The CTs are those of ../shared/data/manifest.yaml, whose labels are mostly other models': settings are chosen on them.
Figures: Dice of the organ and HD95 (mm) before and after 1, 3, 5, 10 strokes, the largest loss of another organ, and
seconds a stroke. Start labels are kept in OUT/starts. Results go to OUT/results.json and OUT/results.md after every CT.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from PartialOrganSegLib.datasets.case import Case
from PartialOrganSegLib.datasets.manifest import load_manifest
from PartialOrganSegLib.evaluation.metrics import dice
from PartialOrganSegLib.formats.reading import read_ct, read_labelmap
from PartialOrganSegLib.formats.writing import write_labelmap
from PartialOrganSegLib.imaging.surface import surface_distances
from PartialOrganSegLib.imaging.volume import Grid, Volume
from PartialOrganSegLib.organs import WORD16
from PartialOrganSegLib.refining.coarse import block_means, block_sizes
from PartialOrganSegLib.refining.propagation import WORKING_MM
from PartialOrganSegLib.refining.session import RefineSession, padded_box
from PartialOrganSegLib.segmenting.options import SegmentOptions
from PartialOrganSegLib.segmenting.segmenter import Segmenter
from PartialOrganSegLib.synthesis.scribble_paths import medial_path, painted

MANIFEST = Path(__file__).resolve().parents[3] / "shared" / "data" / "manifest.yaml"
NOT_DRAWN = 255
# A brush as people use it, and the rim of partial voxels that nobody would correct.
BRUSH_MM, RIM_MM = 3.0, 1.5
CORE_MM, FREE_MM, MARGIN_MM = 2.5, 25.0, 40.0  # of the rivals' markers, and of the box they work in
AFTER = (0, 1, 3, 5, 10)
LOW = 0.80  # Dice of a start that is worth a stroke
NEIGHBOURS = np.ones((3, 3, 3))


@dataclass(frozen=True)
class Scene:
    """A CT on axes to left, posterior and superior, the model's labels, and the reference's."""

    name: str
    ct: Volume
    start: np.ndarray
    reference: np.ndarray
    organs: tuple[int, ...]

    @property
    def spacing(self) -> tuple[float, float, float]:
        """(z, y, x) mm."""
        x, y, z = self.ct.grid.spacing
        return z, y, x


def comparable(case: Case) -> tuple[int, ...]:
    """The organs that a case's label can be compared with."""
    coarse = {name for _, names in case.label_map for name in names}
    names = [name for name in (case.annotated or WORD16.names) if name not in coarse and name not in case.ignored]
    return tuple(WORD16.index(name) for name in names)


def load_scene(case: Case, segmenter: Segmenter, folder: Path) -> Scene:
    """A case with the labels that the model gives it, from `folder` where they are already."""
    name = case.image.parent.name
    file = folder / f"{name}.nii.gz"
    ct = read_ct(case.image, force=True)
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_labelmap(file, segmenter(ct).labels)
    start, reference = (np.ascontiguousarray(read_labelmap(path).canonical().array) for path in (file, case.label))
    upright = ct.canonical()
    organs = tuple(organ for organ in comparable(case) if (reference == organ).any())
    return Scene(name, Volume(np.ascontiguousarray(upright.array), upright.grid), start, reference, organs)


@dataclass(frozen=True)
class Drawn:
    """A stroke: its voxels, an index to an array, and its label."""

    voxels: tuple[np.ndarray, np.ndarray, np.ndarray]
    value: int


class User:
    """Draws through the middle of the largest error of one organ."""

    def __init__(self, scene: Scene, organ: int, seed: int) -> None:
        self.scene, self.organ = scene, organ
        self._generator = np.random.default_rng(seed)

    def next_stroke(self, labels: np.ndarray) -> Drawn | None:
        """Into the labels as they are; None where nothing is wrong."""
        reference = self.scene.reference
        missing = (reference == self.organ) & (labels != self.organ)
        surplus = (labels == self.organ) & (reference != self.organ)
        # The larger of what is missing and what is too much is what a user sees first.
        errors = [error for error in (self._largest(missing), self._largest(surplus)) if error is not None]
        if not errors:
            return None
        _, part, wrong, box = max(errors, key=lambda error: error[0])
        z = int(part.sum(axis=(1, 2)).argmax())
        sections, _ = ndimage.label(wrong[z], np.ones((3, 3)))
        section = sections == np.bincount(sections[part[z]]).argmax()
        spacing = self.scene.spacing[1:]
        path = medial_path(section, spacing, self._generator)
        y, x = painted(path, BRUSH_MM, section, spacing).T
        voxels = (np.full(len(y), z + box[0].start), y + box[1].start, x + box[2].start)
        # A stroke says one thing: where it crosses several, the voxels of the most frequent stay.
        values = reference[voxels]
        value = int(np.bincount(values).argmax())
        z_kept, y_kept, x_kept = (index[values == value] for index in voxels)
        return Drawn((z_kept, y_kept, x_kept), value)

    def _largest(self, wrong: np.ndarray) -> tuple[int, np.ndarray, np.ndarray, tuple[slice, ...]] | None:
        """Voxel count and mask of the largest part, all that is wrong, and the box of both masks."""
        if not wrong.any():
            return None
        outer = ndimage.find_objects(wrong.astype(np.uint8))[0]
        box = tuple(slice(max(0, part.start - 1), part.stop + 1) for part in outer)
        inside = wrong[box]
        spacing = self.scene.spacing[1:]
        depth = np.stack([ndimage.distance_transform_edt(np.pad(plane, 1), sampling=spacing)[1:-1, 1:-1]
                          for plane in inside])
        # Where everything wrong is thin, the thin part is what there is to draw in.
        core = depth > RIM_MM * max(spacing[0], 1.0)
        if not core.any():
            core = inside
        parts, _ = ndimage.label(core, NEIGHBOURS)
        sizes = np.bincount(parts.ravel())[1:]
        largest = int(sizes.argmax())
        return int(sizes[largest]), parts == largest + 1, inside, box


Corrector = Callable[[Drawn], np.ndarray]
"""Takes a stroke, gives the labels after it."""


def ours(scene: Scene) -> Corrector:
    """The library's session."""
    session = RefineSession(scene.ct, Volume(scene.start, scene.ct.grid), WORD16)

    def correct(stroke: Drawn) -> np.ndarray:
        drawn = np.full(scene.start.shape, NOT_DRAWN, np.uint8)
        drawn[stroke.voxels] = stroke.value
        return session.add(Volume(drawn, scene.ct.grid)).labels.array

    return correct


def pasted(scene: Scene) -> Corrector:
    """What was drawn, and nothing else."""
    labels = scene.start.copy()

    def correct(stroke: Drawn) -> np.ndarray:
        labels[stroke.voxels] = stroke.value
        return labels.copy()

    return correct


def from_markers(grow: Callable[[np.ndarray, np.ndarray, Grid], np.ndarray]) -> Callable[[Scene], Corrector]:
    """An arm that grows markers: `grow(hu, markers, grid)` gives label + 1 of every voxel, markers hold 0 or that."""
    def arm(scene: Scene) -> Corrector:
        drawn = np.full(scene.start.shape, NOT_DRAWN, np.uint8)

        def correct(stroke: Drawn) -> np.ndarray:
            drawn[stroke.voxels] = stroke.value
            place = ndimage.find_objects((drawn != NOT_DRAWN).astype(np.uint8))[0]
            box = padded_box(place, MARGIN_MM, scene.spacing, drawn.shape)
            start = scene.start[box]
            markers = cores(start, drawn[box], scene.spacing)
            size = start.shape[::-1]
            grown = grow(scene.ct.array[box], markers, Grid(size, scene.ct.grid.spacing))
            labels = scene.start.copy()
            labels[box] = np.where(grown > 0, grown - 1, start)
            # Whatever the rival grows, strokes are obeyed, as in ours.
            labels[drawn != NOT_DRAWN] = drawn[drawn != NOT_DRAWN]
            return labels

        return correct

    return arm


def cores(start: np.ndarray, drawn: np.ndarray, spacing: tuple[float, float, float]) -> np.ndarray:
    """uint8 markers, label + 1: strokes, and start labels away from their borders and from what contradicts them."""
    markers = np.zeros(start.shape, np.uint8)
    for value in np.unique(start).tolist():
        mask = start == value
        core = ndimage.distance_transform_edt(mask, sampling=spacing) > CORE_MM
        against = mask & (drawn != NOT_DRAWN) & (drawn != value)
        if against.any():
            core &= ndimage.distance_transform_edt(~against, sampling=spacing) > FREE_MM
        markers[core] = value + 1
    markers[drawn != NOT_DRAWN] = drawn[drawn != NOT_DRAWN] + 1
    return markers


def watershed(hu: np.ndarray, markers: np.ndarray, grid: Grid) -> np.ndarray:
    """SimpleITK's, on the CT's gradient."""
    image = sitk.GetImageFromArray(hu.clip(-160, 240).astype(np.float32))
    image.SetSpacing(grid.spacing)
    seeds = sitk.GetImageFromArray(markers)
    seeds.CopyInformation(image)
    gradient = sitk.GradientMagnitudeRecursiveGaussian(image, 1.0)
    grown = sitk.MorphologicalWatershedFromMarkers(gradient, seeds, markWatershedLine=False, fullyConnected=True)
    return sitk.GetArrayFromImage(grown).astype(np.int16)


def random_walker(hu: np.ndarray, markers: np.ndarray, grid: Grid) -> np.ndarray:
    """scikit-image's, on the blocks of voxels that ours works on, or it would take minutes."""
    from skimage.segmentation import random_walker as walk

    x, y, z = grid.spacing
    block = block_sizes((z, y, x), WORKING_MM)
    coarse_hu = block_means(hu.clip(-160, 240), block)
    coarse = np.zeros(coarse_hu.shape, np.int32)
    shares = {value: block_means(markers == value, block) for value in np.unique(markers[markers > 0]).tolist()}
    for value, share in shares.items():
        coarse[share > 0.5] = value
    for value, share in shares.items():  # strokes are thin: any of them in a block counts
        coarse[(share > 0) & (coarse == 0)] = value
    spacing = [mm * length for mm, length in zip((z, y, x), block, strict=True)]
    grown = walk(coarse_hu / 400, coarse, beta=130, mode="cg_j", tol=1e-3, spacing=spacing)
    fine = grown.repeat(block[0], 0).repeat(block[1], 1).repeat(block[2], 2)
    return fine[:hu.shape[0], :hu.shape[1], :hu.shape[2]].astype(np.int16)


ARMS: dict[str, Callable[[Scene], Corrector]] = {
    "ours": ours, "pasted": pasted, "watershed": from_markers(watershed), "random_walker": from_markers(random_walker)}


def run_organ(scene: Scene, organ: int, arm: str, strokes: int, seed: int) -> dict[str, Any]:
    """The figures of one organ: `dice` and `hd95` by number of strokes."""
    user, correct = User(scene, organ, seed), ARMS[arm](scene)
    labels, seconds, satisfied = scene.start, [], False
    figures: dict[str, Any] = {"case": scene.name, "organ": WORD16.names[organ - 1], "arm": arm, "dice": {}, "hd95": {}}
    before = {}
    for neighbour in scene.organs:
        if neighbour != organ:
            before[neighbour] = dice(scene.start == neighbour, scene.reference == neighbour) or 0.0
    for number in range(strokes + 1):
        if number > 0 and not satisfied:
            stroke = user.next_stroke(labels)
            satisfied = stroke is None
            if stroke is not None:
                # The simulated user's own time is not counted.
                since = time.perf_counter()
                labels = correct(stroke)
                seconds.append(time.perf_counter() - since)
        if number in AFTER:
            predicted, reference = labels == organ, scene.reference == organ
            figures["dice"][number] = dice(predicted, reference)
            figures["hd95"][number] = hd95(predicted, reference, scene.spacing)
    losses = [(dice(labels == neighbour, scene.reference == neighbour) or 0.0) - value
              for neighbour, value in before.items()]
    return figures | {"seconds": float(np.mean(seconds)) if seconds else 0.0, "worst_other": min(losses, default=0.0)}


def hd95(predicted: np.ndarray, reference: np.ndarray, spacing: tuple[float, float, float]) -> float | None:
    """None where one of the masks is empty."""
    if not predicted.any() or not reference.any():
        return None
    return surface_distances(predicted, reference, spacing).hd95


def mean_by_strokes(figures: Sequence[dict[int, float]], numbers: Sequence[int]) -> list[float]:
    """The means of a figure after each of these numbers of strokes."""
    means = []
    for number in numbers:
        means.append(float(np.mean([values[number] for values in figures])))
    return means


def table(results: Sequence[dict[str, Any]], strokes: int) -> Iterator[str]:
    """Markdown: an arm and a group of organs a line."""
    after = [number for number in AFTER if number <= strokes]
    titles = " | ".join(f"Dice {number}" for number in after)
    yield f"| arm | organs | n | {titles} | HD95 {after[0]} | {after[-1]} | worst own | worst other | s a stroke |"
    yield "|---" * (len(after) + 8) + "|"
    for arm in dict.fromkeys(result["arm"] for result in results):
        for group in ("below", "above"):
            chosen = [result for result in results
                      if result["arm"] == arm and (result["dice"][0] < LOW) == (group == "below")]
            if not chosen:
                continue
            means = mean_by_strokes([result["dice"] for result in chosen], after)
            measured = [result["hd95"] for result in chosen
                        if None not in (result["hd95"][after[0]], result["hd95"][after[-1]])]
            distances = mean_by_strokes(measured, (after[0], after[-1]))
            worst = min(min(result["dice"].values()) - result["dice"][0] for result in chosen)
            worst_neighbour = min(result["worst_other"] for result in chosen)
            seconds = float(np.mean([result["seconds"] for result in chosen]))
            cells = [arm, f"{group} {LOW:.2f}", str(len(chosen)), *(f"{mean:.3f}" for mean in means),
                     *(f"{distance:.1f}" for distance in distances), f"{worst:+.3f}", f"{worst_neighbour:+.3f}",
                     f"{seconds:.2f}"]
            yield f"| {' | '.join(cells)} |"


def main() -> None:
    """Runs what is asked for, printing the table at the end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--cases", nargs="+", default=[], help="default: all of the manifest")
    parser.add_argument("--organs", nargs="+", default=[], help="default: all that can be compared")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--strokes", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    cases = {case.image.parent.name: case for case in load_manifest(MANIFEST).cases}
    chosen = arguments.cases or list(cases)
    organs = WORD16.indices(arguments.organs or WORD16.names)
    segmenter = Segmenter(SegmentOptions(model=arguments.model))
    results: list[dict[str, Any]] = []
    for name in chosen:
        scene = load_scene(cases[name], segmenter, arguments.output / "starts")
        for organ in scene.organs:
            if organ in organs:
                results += [run_organ(scene, organ, arm, arguments.strokes, arguments.seed) for arm in arguments.arms]
        # After every CT: hours of work are not lost with the last.
        (arguments.output / "results.json").write_text(json.dumps(results, indent=1) + "\n")
        (arguments.output / "results.md").write_text("\n".join(table(results, arguments.strokes)) + "\n")
        print(f"{name} done", flush=True)
    print((arguments.output / "results.md").read_text())


if __name__ == "__main__":
    main()
