"""What the front door offers as functions: segment, refine, learn, train, fine-tune and evaluate in one call each.

The examples run in a folder with a phantom: `ct.nii.gz`, its `label.nii.gz`, and a `manifest.yaml` that lists them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import UserError
from .events import Reporter
from .segmenting.options import SegmentOptions
from .segmenting.segmenter import Segmenter

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from .evaluation.evaluation import Evaluation
    from .finetuning.run import Result
    from .imaging.volume import Grid, Volume
    from .learning.run import LearnResult
    from .models.bundle import Bundle
    from .organs import LabelSpace
    from .refining.result import RefineResult
    from .refining.stroke_input import StrokeSource
    from .segmenting.result import SegmentResult


def segment(ct: object, *, spacing: Sequence[float] | None = None, origin: Sequence[float] | None = None,
            direction: Sequence[float] | npt.NDArray[np.floating[Any]] | None = None, grid: Grid | None = None,
            model: str | Path | Sequence[str | Path] = "embedded", combine: str = "mean",
            organs: Sequence[str] | str | None = None, device: str = "auto", precision: str = "auto",
            mirror: bool = False, fast: bool = False, scales: Sequence[float] | float | str = (1.0,),
            series: str | int | None = None, force: bool = False, dicom: Sequence[str] | str = (),
            absent_organs: bool = False, preview: bool = True, overwrite: bool = False,
            reporter: Reporter | None = None) -> SegmentResult:
    """Segments one CT. For several, make one `Segmenter`: it loads the model once.

    `ct`: a path (NIfTI, NRRD or MetaImage file, DICOM folder), a SimpleITK image, a `Volume`, or an array (z, y, x) in
    HU with `spacing` (x, y, z) in mm, `origin` and `direction` (3x3) in LPS, or with `grid`. The other options are
    those of `SegmentOptions`. The labels of the result lie on the CT's grid, uint8, 0 is background.

    Raises UserError for a wrong option, an unknown model or organ, and for what is not one CT in HU.

    >>> result = segment("ct.nii.gz", organs=["liver", "spleen"], device="cpu")
    >>> list(result.organs), result.array.shape
    (['liver', 'spleen'], (20, 20, 20))
    >>> result.save("liver_and_spleen.nii.gz")["labelmap"].name
    'liver_and_spleen.nii.gz'
    """
    options = SegmentOptions(model=model, combine=combine, organs=organs, device=device, precision=precision,
                             mirror=mirror, fast=fast, scales=scales, series=series, force=force, dicom=dicom,
                             absent_organs=absent_organs, preview=preview, overwrite=overwrite)
    return Segmenter(options)(ct, spacing=spacing, origin=origin, direction=direction, grid=grid, reporter=reporter)


def refine(ct: Any, strokes: StrokeSource, *, labels: Path | str | Volume | SegmentResult | None = None,
           accepted: Sequence[str] | str = (), model: str | Path = "embedded", device: str = "auto",
           series: str | int | None = None, force: bool = False, preview: bool = True, overwrite: bool = False,
           reporter: Reporter | None = None) -> RefineResult:
    """Corrects the labels of one CT with strokes, in seconds; the model learns nothing. For several corrections of one
    CT, make one `RefineSession`: it can take each back.

    `ct`: a path, a SimpleITK image or a `Volume`, as in `segment`. `strokes`: a stroke file (.json), `Strokes`, or a
    map with 0 for background strokes and 255 where nothing is drawn. `labels`: those to correct, a file, a `Volume` or
    the result of `segment` (default: the CT is segmented first). `accepted`: organs that nothing but a stroke on them
    may change. `model` says what label values mean. The other options are those of `SegmentOptions`.

    The result has `labels`, `before`, `changes` (ml and mm of each organ that changed) and `save`. Raises UserError for
    strokes or labels of another CT, strokes outside of it, contradictory ones, an unknown organ, and no strokes.

    >>> from PartialOrganSegLib.formats.strokes import Stroke, Strokes
    >>> drawn = Strokes(image="ct.nii.gz", drawn_by="me", licence="CC0-1.0", strokes=[
    ...     Stroke(organ="spleen", points=[(4.0, 4.0, 4.0), (20.0, 4.0, 4.0)], width_mm=10)])
    >>> result = refine("ct.nii.gz", drawn, labels="label.nii.gz")
    >>> int(result.array[10, 10, 10]), [change.organ for change in result.changes]
    (2, ['spleen', 'intestine'])
    """
    from .refining.refiner import refine as corrected
    from .segmenting.options import check_organ_names

    options = SegmentOptions(model=model, device=device, series=series, force=force, preview=preview,
                             overwrite=overwrite)
    names = check_organ_names(accepted or None, "accepted") or ()
    return corrected(ct, strokes, labels=labels, accepted=names, options=options, reporter=reporter)


def load_model(name_or_folder: str | Path = "embedded") -> Bundle:
    """An installed model, or the bundle in a folder; every file is compared with its SHA-256.

    `label_space` names its organs, `load_network(device)` gives the PyTorch module, `metadata` has licences, data and
    figures. Raises UserError for an unknown name, with the nearest, and for wrong metadata or checksums.

    >>> "liver" in load_model("embedded").label_space.names
    True
    """
    from .models.bundle import load_bundle

    return load_bundle(name_or_folder)


def learn(folder: str | Path, out: str | Path | None = None, *, model: str | Path = "embedded",
          minutes: float | None = None, annotated: Sequence[str] | None = None, new_organs: Sequence[str] = (),
          label_map: str | None = None, leave_out: Sequence[str] = (), validate: Sequence[str] = (),
          beside: str = "new", name: str | None = None, force: bool = False, resume: bool = False,
          device: str = "auto", reporter: Reporter | None = None) -> LearnResult:
    """Teaches `model` what was drawn on the CTs of a folder; CTs without drawings show what came of it. Nothing is
    asked: look at OUT/manifest.yaml, change it where it is wrong, and call again with `resume`.

    `folder`: CTs with masks, label maps, strokes, structure sets, segmentations or manifests in it or below it. `out`:
    where results go (default: FOLDER/learnt). `minutes`: of training (default 12, on a GPU 1.5). `annotated`: only
    these organs are learnt. `new_organs`: names of organs that nobody here knows. `label_map`: what values of label
    maps mean, "1=liver,2=spleen", a known list such as "word16" or a table's file. `leave_out`: patterns of files and
    folders. `beside`: when the start model stays whole and a copy of its network learns beside it ("new": where an
    organ is new to it, "always", "never"). `validate`, `name`, `force`: as in `finetune`. `resume`: go on with the run
    in `out`.

    The result has `selected`, the better model's folder, `page`, an HTML page, and `figures`. Raises UserError for a
    folder that cannot be understood and for cases with faults; KeyboardInterrupt when asked to stop.

    >>> result = learn("my-cts", minutes=10)                                       # doctest: +SKIP
    >>> segment("ct.nii.gz", model=result.selected)                                # doctest: +SKIP
    """
    from .finetuning.options import FinetuneOptions
    from .learning import when_beside
    from .learning.plan import FolderOptions
    from .learning.run import LearnOptions, carry_out, check, default_output, prepare, require_begun

    output = default_output(Path(folder)) if out is None else Path(out)
    if resume:
        require_begun(Path(folder), output)
    else:
        understanding = FolderOptions(None if annotated is None else list(annotated), list(new_organs), label_map,
                                      list(leave_out))
        finetuning = FinetuneOptions(minutes=minutes, validate=list(validate), name=name, force=force)
        options = LearnOptions(str(model), understanding, finetuning, when_beside(beside))
        prepare(Path(folder), output, options, reporter=reporter)
    problems = check(output, reporter)
    if problems:
        raise UserError(problems[0])
    return carry_out(output, device, reporter)


def train(recipe: str | Path, out: str | Path, *, overrides: Sequence[str] = (), resume: bool = False,
          device: str = "auto", reporter: Reporter | None = None) -> Bundle:
    """Trains a network as a recipe says, into the run folder `out`; returns the model, which lies in `out`/model.

    `recipe`: a YAML file or a shipped recipe's name ("full", "partialorganseg", ...). `overrides`: "key.sub=value"
    changes of it, such as "manifest=mine/manifest.yaml" (relative to the current folder) or "steps=2000". `resume`: go
    on from the last checkpoint, to the numbers of an uninterrupted run.

    Raises UserError for wrong settings or data, a used run folder and a missing package, and
    KeyboardInterrupt when asked to stop, the checkpoint written.

    >>> small = ["manifest=manifest.yaml", "steps=1", "workers=0",
    ...          "preprocessing={patch_zyx: [16, 16, 16], spacing_zyx: [8, 8, 8]}",
    ...          "network={name: light_unet, arguments: {channels: [4, 8]}}"]
    >>> train("full", "runs/first", overrides=small, device="cpu").name
    'full'
    """
    from .models.bundle import load_bundle
    from .training.packages import require_packages
    from .training.recipe import MODEL_FOLDER, load_recipe

    settings = load_recipe(recipe, overrides)
    require_packages("train")
    from .training.trainer import train as run_training

    run_training(settings, Path(out), resume, device, reporter)
    return load_bundle(Path(out) / MODEL_FOLDER)


def finetune(model: str | Path, data: str | Path, out: str | Path, *, minutes: float | None = None,
             steps: int | None = None, replay: str | Path = "phantoms", validate: Sequence[str] = (),
             only_listed_organs: bool = False, name: str | None = None, force: bool = False, take_new: bool = False,
             beside: bool = False, recipe: str | Path | None = None, overrides: Sequence[str] = (),
             resume: bool = False, device: str = "auto", reporter: Reporter | None = None) -> Result:
    """Fine-tunes `model` on cases of any annotation into the run folder `out`, keeping what it knew.

    `data`: a manifest, or a folder with a dataset.json. `minutes` (default 12, on a GPU 1.5) or `steps` limit it.
    `replay`: "phantoms", "none" or a manifest of cases that hold what the model knew. `validate`: cases to measure on
    instead of training on them, or ["none"] (default: a quarter, of few cases slabs). `only_listed_organs`: the new
    model knows the manifest's organs only. `name`: the new model's. `force`: learn also from what does not look like a
    CT in HU. `take_new`: the new model is selected also where it is not found to be better. `beside`: `model`
    stays whole, and a copy of its network answers for what is learnt alone. `recipe` and `overrides` as in `train`.
    `resume`: go on with the run in `out` as it was planned; all but `device` and `reporter` is known then.

    The result's `bundle` is the new model, `outcome` has Dice before and after, `selected` is the folder of the better
    of both. Raises UserError for cases that nothing can be learnt from, a used folder, a full disk and a missing
    package; KeyboardInterrupt when asked to stop, the checkpoint written.

    >>> result = finetune("embedded", "manifest.yaml", "runs/mine", minutes=10)    # doctest: +SKIP
    >>> segment("ct.nii.gz", model=result.selected)                                # doctest: +SKIP
    """
    from .finetuning import run as finetuning
    from .finetuning.options import FinetuneOptions
    from .training.packages import require_packages

    require_packages("finetune")
    if resume:
        return finetuning.resume(Path(out), device, reporter)
    options = FinetuneOptions(minutes, steps, str(replay), list(validate), only_listed_organs, force, name,
                              list(overrides), take_new, beside)
    return finetuning.finetune(model, Path(data), Path(out), device, options, None if recipe is None else Path(recipe),
                               reporter)


def evaluate(predictions: str | Path, references: str | Path, *, out: str | Path | None = None,
             label_space: str | Path | LabelSpace = "word16", organs: Sequence[str] | str | None = None,
             annotated: Sequence[str] = (), scribble: bool = False, images: str | Path | None = None,
             tolerance_mm: float = 2.0, resample: bool = False, worst: int = 10, overwrite: bool = False,
             reporter: Reporter | None = None) -> Evaluation:
    """Measures label maps against references: Dice, surface Dice and distances in mm, per organ and case.

    `predictions`, `references`: a label map each, or folders of them (matched by name); the references may also be a
    manifest. `label_space` says what values mean where no manifest does. Files as references hold all organs, only the
    `annotated` ones, or strokes (`scribble`, 255 where none is). `organs`: only these. `images`: the CT or a folder of
    CTs, for the pictures of the `worst` cases. `tolerance_mm`: of the surface Dice. `resample`: put predictions of
    another grid on the reference's. `out`: a folder for scores.csv, summary.json, report.md and report.html.

    A case that cannot be judged is in `failures`. Raises UserError when nothing fits together.

    >>> [score.dice for score in evaluate("label.nii.gz", "label.nii.gz", organs=["liver"]).scores]
    [1.0]
    """
    from .datasets.manifest import load_label_space
    from .evaluation import evaluation, pairing
    from .evaluation.report import FILES, Report
    from .organs import LabelSpace
    from .outputs import all_at_once, refuse_existing, writable_folder
    from .segmenting.options import check_organ_names, in_label_order

    reporter = reporter or Reporter()
    predictions, references = Path(predictions), Path(references)
    space = label_space if isinstance(label_space, LabelSpace) else load_label_space(str(label_space), Path())
    cases, space = pairing.references(references, space, list(annotated), scribble,
                                      None if images is None else Path(images), reporter)
    files = pairing.predictions(predictions, cases, reporter)
    names = check_organ_names(organs)
    chosen = None if names is None else tuple(in_label_order(names, space))
    options = evaluation.Options(tolerance_mm, chosen, resample, worst)
    # Before measuring, which may take an hour, rather than after.
    if out is not None:
        folder = writable_folder(Path(out))
        refuse_existing([folder / name for name in FILES.values()], overwrite)
    result = evaluation.evaluate(cases, files, space, options, reporter)
    if out is not None:
        name = Path(os.path.abspath(predictions)).name
        missing = [case.name for case in cases if case.name not in files]
        report = Report(str(references), {name: result}, {name: missing}, options)
        with all_at_once(folder) as scratch:
            report.write({kind: scratch / file for kind, file in FILES.items()})
    return result
