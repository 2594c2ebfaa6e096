"""Strokes and corrected organs that teach a model, as a user would give them to `finetune`; used by benchmarks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import yaml

from PartialOrganSegLib.annotation import Kind
from PartialOrganSegLib.events import ConsoleReporter
from PartialOrganSegLib.finetuning.options import FinetuneOptions
from PartialOrganSegLib.finetuning.plan import PLAN_FILE, read_plan
from PartialOrganSegLib.finetuning.run import finetune, resume
from PartialOrganSegLib.formats.writing import write_ct, write_labelmap
from PartialOrganSegLib.imaging.volume import Volume
from PartialOrganSegLib.models.bundle import Bundle
from PartialOrganSegLib.organs import WORD16
from PartialOrganSegLib.refining.neighbourhood import NOT_DRAWN
from PartialOrganSegLib.segmenting.options import SegmentOptions
from PartialOrganSegLib.segmenting.segmenter import Segmenter
from Testing.helpers.stroke_benchmark import Corrector
from Testing.helpers.stroke_user import Drawn, Scene


def case_entry(folder: Path, scene: Scene, label: np.ndarray, kind: Kind, organs: Sequence[str]) -> dict[str, object]:
    """A manifest's entry of a CT and its label, whose files it writes into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    image, file = folder / f"{scene.name}.nii.gz", folder / f"{scene.name}_label.nii.gz"
    if not image.exists():
        write_ct(image, scene.ct)
    write_labelmap(file, Volume(label, scene.ct.grid))
    return {"name": scene.name, "image": str(image), "label": str(file), "kind": kind.value, "annotated": list(organs)}


def taught(model: str, entries: Sequence[dict[str, object]], folder: Path,
           options: FinetuneOptions) -> tuple[Bundle, int]:
    """The model after a fine-tuning on the entries, whatever its verdict, and how many steps it had. A run that was
    ended in `folder` is gone on with."""
    run = folder / "run"
    if (run / PLAN_FILE).exists():
        bundle = resume(run, "cpu", ConsoleReporter()).bundle
        return bundle, read_plan(run).steps
    manifest = folder / "manifest.yaml"
    content = {"label_space": list(WORD16.names), "datasets": [{"name": "strokes", "cases": list(entries)}]}
    folder.mkdir(parents=True, exist_ok=True)
    manifest.write_text(yaml.safe_dump(content), encoding="utf-8")
    bundle = finetune(model, manifest, run, "cpu", options, None, ConsoleReporter()).bundle
    return bundle, read_plan(run).steps


def finetuned(model: str, steps: int, folder: Path) -> Callable[[Scene], Corrector]:
    """An arm that fine-tunes the model on all strokes of the CT so far, and segments the CT anew with what comes out.

    `folder` is for the runs, one a stroke, and must be empty.
    """
    def arm(scene: Scene) -> Corrector:
        drawn = np.full(scene.start.shape, NOT_DRAWN, np.uint8)

        def correct(stroke: Drawn) -> np.ndarray:
            drawn[stroke.voxels] = stroke.value
            run = folder / f"{np.count_nonzero(drawn != NOT_DRAWN)}"
            organs = [WORD16.names[value - 1] for value in np.unique(drawn).tolist() if 0 < value < NOT_DRAWN]
            entry = case_entry(run, scene, drawn, Kind.SCRIBBLE, organs)
            bundle, _ = taught(model, [entry], run, FinetuneOptions(steps=steps, validate=["none"]))
            labels = Segmenter(SegmentOptions(model=bundle.folder, force=True))(scene.ct).labels.array.copy()
            # Strokes are obeyed, as in ours.
            labels[drawn != NOT_DRAWN] = drawn[drawn != NOT_DRAWN]
            return labels

        return correct

    return arm
