"""`partialorganseg segment`: one CT, several or a folder of them into labelmaps, tables and pictures."""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from ..events import Reporter
from . import logfile
from .options import add_common_options
from .outputs import all_at_once, refuse_existing, writable_folder

if TYPE_CHECKING:
    from ..inference.predictor import Predictor

HELP = "Segment the organs of one CT, of several or of a folder."
EXAMPLE = "partialorganseg segment scan.nii.gz other-scan/ -o results --organs liver,spleen"
OUTPUTS = {"labelmap": ".labels.nii.gz", "segmentation": ".seg.nrrd", "table": ".volumes.csv",
           "preview": ".preview.png"}
SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd", ".dcm")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("inputs", nargs="+", type=Path, metavar="INPUT",
                        help="a NIfTI, NRRD or MetaImage file, a DICOM folder, or a folder of such")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT", help="folder for the results")
    parser.add_argument("--organs", metavar="A,B", help="only these organs, e.g. liver,left_kidney (default: all)")
    parser.add_argument("--model", default="embedded", help="an installed model's name or a bundle's folder")
    parser.add_argument("--series", help="which DICOM series: its number in the list, UID or description")
    parser.add_argument("--mirror", action="store_true",
                        help="also predict the mirrored CT and average: twice the time; "
                             "for models that were trained on mirrored patches, the embedded one was not")
    parser.add_argument("--scales", type=_scales, default=(1.0,), metavar="A,B",
                        help="also predict the CT at these sizes in plane and average, e.g. 0.75,1,1.25; "
                             "for models that were trained at several sizes")
    parser.add_argument("--force", action="store_true", help="segment what does not look like a CT in HU")
    parser.add_argument("--overwrite", action="store_true", help="replace results of an earlier run")
    parser.add_argument("--no-preview", action="store_true", help="make no picture")
    add_common_options(parser)


def _scales(text: str) -> tuple[float, ...]:
    try:
        scales = tuple(float(part) for part in text.split(","))
    except ValueError:
        scales = ()
    if not scales or not all(0.25 <= scale <= 4 for scale in scales):
        raise argparse.ArgumentTypeError(f"expected numbers from 0.25 to 4 like 0.75,1,1.25, found '{text}'")
    return scales


@dataclass(frozen=True)
class Case:
    """One CT to segment and the name its results bear."""

    path: Path
    name: str

    def outputs(self, folder: Path, preview: bool) -> dict[str, Path]:
        """Kind of result to its file in `folder`."""
        return {kind: folder / (self.name + suffix) for kind, suffix in OUTPUTS.items() if preview or kind != "preview"}


def run(arguments: argparse.Namespace, reporter: Reporter) -> int:
    """Segments every case. A failing one is told and does not stop the others; 1 if any failed."""
    from ..models.bundle import load_bundle

    bundle = load_bundle(arguments.model)
    organs = chosen_organs(arguments.organs, bundle.label_space)
    folder = writable_folder(arguments.output)
    reporter.started(command="segment", inputs=arguments.inputs, output=folder, model=bundle.name,
                     organs=organs or bundle.label_space.names, device=arguments.device)
    paths, failures = expand(arguments.inputs, reporter)
    cases = named_cases(paths, reporter)
    segmented = 0
    if cases:
        from ..inference.predictor import Predictor

        predictor = Predictor(bundle, device=arguments.device, mirror=arguments.mirror, scales=arguments.scales)
    for number, case in enumerate(cases, 1):
        try:
            refuse_existing(list(case.outputs(folder, not arguments.no_preview).values()), arguments.overwrite)
            segment_case(case, predictor, organs, arguments, reporter)
            segmented += 1
        except Exception as error:
            message = told(error, case, folder / logfile.NAME)
            reporter.close()
            reporter.error(message)
            failures.append((case.path, message))
        if len(cases) > 1:
            reporter.progress("cases", number, len(cases))
    reporter.close()
    reporter.result(segmented=segmented, failed=[{"input": path, "error": message} for path, message in failures])
    if segmented + len(failures) > 1:
        names = ", ".join(str(path) for path, _ in failures)
        print(f"{segmented} segmented, {len(failures)} failed{': ' + names if names else ''}")
    return 1 if failures else 0


def told(error: Exception, case: Case, log: Path) -> str:
    """The one line for what stopped a case; the traceback goes to the log."""
    if isinstance(error, UserError):
        logfile.record(error, log)
        return str(error)
    return f"{case.path}: {logfile.explain(error, log)}"


def expand(inputs: Sequence[Path], reporter: Reporter) -> tuple[list[Path], list[tuple[Path, str]]]:
    """The CTs that the inputs stand for, and the inputs that are none with the reason; our own results are left out."""
    from ..formats.reading import list_inputs

    paths: list[Path] = []
    failures: list[tuple[Path, str]] = []
    for given in inputs:
        try:
            found = list_inputs([given])
        except UserError as error:
            reporter.error(str(error))
            failures.append((given, str(error)))
            continue
        paths += [path for path in found if path == given or not path.name.endswith(OUTPUTS["labelmap"])]
    return list(dict.fromkeys(paths)), failures


def named_cases(paths: Sequence[Path], reporter: Reporter) -> list[Case]:
    """Cases with names that differ, also where capitals do not count; a shared name gets its folder's before it."""
    def stem(path: Path) -> str:
        name = path.resolve().name
        return next((name[:-len(s)] for s in SUFFIXES if name.lower().endswith(s) and len(name) > len(s)), name) or "ct"

    shared = Counter(stem(path).casefold() for path in paths)
    cases: list[Case] = []
    taken: set[str] = set()
    for path in paths:
        name = stem(path)
        if shared[name.casefold()] > 1:
            name = f"{path.resolve().parent.name}_{name}".lstrip("_")
        unique, number = name, 2
        while unique.casefold() in taken:
            unique, number = f"{name}_{number}", number + 1
        taken.add(unique.casefold())
        cases.append(Case(path, unique))
        if unique != stem(path):
            reporter.warning(f"{path}: another input has the same name, so its results are called '{unique}'")
    return cases


def chosen_organs(text: str | None, label_space: Any) -> list[str] | None:
    """Names from `--organs`, in label order; None for all. Raises UserError for an unknown one, with the nearest."""
    if text is None:
        return None
    wanted = {label_space.organ(name).index for name in text.split(",") if name.strip()}
    if not wanted:
        raise UserError("--organs: expected organ names separated by commas, found none")
    return [organ.name for organ in label_space.organs if organ.index in wanted]


def segment_case(case: Case, predictor: Predictor, organs: Sequence[str] | None, arguments: argparse.Namespace,
                 reporter: Reporter) -> None:
    """Reads, segments, checks and writes one CT. Its files appear together, or not at all when anything raises."""
    from ..formats.preview import write_preview
    from ..formats.reading import read_ct
    from ..formats.writing import format_table, write_labelmap, write_segmentation, write_table
    from ..inference.checks import check_organs

    since = time.monotonic()
    ct = read_ct(case.path, series=arguments.series, reporter=reporter, force=arguments.force)
    prediction = predictor.predict(ct, organs=organs, reporter=reporter)
    space = predictor.bundle.label_space
    reports = check_organs(prediction.labels, space, prediction.entropy)
    if organs is not None:
        reports = [report for report in reports if report.organ in organs]
    rows = [{**asdict(report), "checks": "; ".join(report.checks)} for report in reports]
    with all_at_once(arguments.output) as scratch:
        files = case.outputs(scratch, not arguments.no_preview)
        write_labelmap(files["labelmap"], prediction.labels)
        write_segmentation(files["segmentation"], prediction.labels, space)
        write_table(files["table"], rows)
        if "preview" in files:
            write_preview(files["preview"], ct, prediction.labels, space)
    seconds = time.monotonic() - since
    written = case.outputs(arguments.output, not arguments.no_preview)
    reporter.close()
    reporter.result(input=case.path, name=case.name, files=written, organs=rows, seconds=round(seconds, 2))
    print(f"{case.path} ({seconds:.1f} s)\n{format_table(rows)}")
    print("\n".join(f"{kind:<13}{path}" for kind, path in written.items()), flush=True)

