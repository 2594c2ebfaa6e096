"""The CTs of a run, each with a name of its own: from files, folders, a CSV or a manifest."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ..errors import Code, Problem, UserError, did_you_mean
from ..events import Reporter
from ..formats.dicom_export import ENDINGS as DICOM_ENDINGS
from ..segmenting.result_files import ENDINGS, case_name, result_files

COLUMNS = ("image", "output", "series")
MANIFEST_SUFFIXES = (".yaml", ".yml", ".json")


@dataclass(frozen=True)
class Case:
    """One CT to segment, and where its results go: `name` with an ending each, in the folder `place` of the output.

    `dicom` are the kinds of DICOM files that are wanted besides.
    """

    path: Path
    name: str
    series: str | None = None
    place: str = ""
    dicom: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """The name with its place: no other case of the run has it."""
        return f"{self.place}/{self.name}" if self.place else self.name

    def outputs(self, folder: Path, preview: bool) -> dict[str, Path]:
        """Kind of result to its file in `folder`."""
        return result_files(folder, self.name, preview, self.dicom)


@dataclass(frozen=True)
class Entry:
    """A CT as it was asked for; `output` is where its results go, if somebody said so."""

    path: Path
    output: str | None = None
    series: str | None = None


def is_list(path: Path) -> bool:
    """Whether an input is a CSV or a manifest, by its name."""
    return path.suffix.lower() in (".csv", *MANIFEST_SUFFIXES) and not path.is_dir()


def is_ours(path: Path) -> bool:
    """Whether a file is called as our results are."""
    return path.name.endswith((*ENDINGS.values(), *DICOM_ENDINGS.values()))


def dicom_files(folder: Path) -> Iterator[Path]:
    """The DICOM files in a CT's folder and below it, without our own results and what is hidden there."""
    from ..formats.dicom_slices import looks_like_dicom

    for file in folder.rglob("*"):
        hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
        if not hidden and not is_ours(file) and file.is_file() and looks_like_dicom(file):
            yield file


def expand(inputs: Sequence[Path], output: Path, reporter: Reporter) -> tuple[list[Entry], list[tuple[Path, Problem]]]:
    """The CTs that the inputs stand for, and the inputs that are none with the reason.

    Our own results and the folder `output` are left out of a folder, so that it stands for the same CTs all along.

    Raises UserError for a list that cannot be understood: it must not be segmented in part.
    """
    from ..formats.reading import list_inputs

    entries: list[Entry] = []
    failures: list[tuple[Path, Problem]] = []
    for given in inputs:
        if is_list(given):
            entries += read_list(given, reporter)
            continue
        try:
            found = list_inputs([given], lambda path: is_ours(path) or path.resolve() == output.resolve())
        except UserError as error:
            failures.append((given, error.problem))
            continue
        found = [path for path in found if path == given or path.is_file() or any(dicom_files(path))]
        entries += map(Entry, found)
        if not found:
            failures.append((given, Problem(Code.NO_CASES, str(given), "CTs", "only results of ours")))
    return list(dict.fromkeys(entries)), failures


def read_list(path: Path, reporter: Reporter) -> list[Entry]:
    """The rows of a CSV (columns image, output, series; relative to its folder) or the images of a manifest's cases."""
    if path.suffix.lower() in MANIFEST_SUFFIXES:
        from ..datasets.manifest import load_manifest

        return [Entry(case.image, case.name) for case in load_manifest(path, reporter).cases]
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(code=Code.WRONG_FORMAT, subject=path, expected="a CSV in UTF-8", found=error) from None
    first = text.partition("\n")[0]
    rows = csv.DictReader(text.splitlines(), delimiter=";" if ";" in first and "," not in first else ",",
                          skipinitialspace=True)
    columns = [column.strip() for column in rows.fieldnames or []]
    for column in columns:
        if column not in COLUMNS:
            raise UserError(code=Code.UNKNOWN_NAME, subject=path, expected=f"the columns {', '.join(COLUMNS)}",
                            found=f"'{column}'", hint=did_you_mean(column, COLUMNS))
    if "image" not in columns:
        raise UserError(code=Code.WRONG_FORMAT, subject=path, expected="a column 'image'",
                        found=", ".join(columns) or "an empty file")
    rows.fieldnames = columns
    entries = []
    for row in rows:
        if None in row:
            raise UserError(code=Code.WRONG_FORMAT, subject=f"{path}: line {rows.line_num}",
                            expected=f"{len(columns)} values", found="more")
        values = {column: (row[column] or "").strip() or None for column in columns}
        if values["image"] is None:
            raise UserError(code=Code.WRONG_FORMAT, subject=f"{path}: line {rows.line_num}", expected="an image",
                            found="none")
        entries.append(Entry(path.parent / values["image"], values.get("output"), values.get("series")))
    if not entries:
        raise UserError(code=Code.NO_CASES, subject=path, expected="a CT a line", found="none")
    return entries


def named_cases(entries: Sequence[Entry], reporter: Reporter) -> list[Case]:
    """Cases with names that differ, also where capitals do not count; a shared name gets its folder's before it.

    Raises UserError for an `output` that leaves the output folder or that two CTs share.
    """
    given = {entry: _inside(entry) for entry in entries if entry.output is not None}
    taken: set[str] = set()
    for entry, output in given.items():
        if str(output).casefold() in taken:
            raise UserError(code=Code.NAME_TAKEN, subject=entry.path, expected="an output of its own",
                            found=f"'{output}' twice")
        taken.add(str(output).casefold())
    shared = Counter(case_name(entry.path).casefold() for entry in entries if entry not in given)
    cases: list[Case] = []
    for entry in entries:
        if entry in given:
            place = given[entry].parent.as_posix()
            cases.append(Case(entry.path, given[entry].name, entry.series, "" if place == "." else place))
            continue
        name = case_name(entry.path)
        if shared[name.casefold()] > 1:
            name = f"{entry.path.resolve().parent.name}_{name}".lstrip("_")
        unique, number = name, 2
        while unique.casefold() in taken:
            unique, number = f"{name}_{number}", number + 1
        taken.add(unique.casefold())
        cases.append(Case(entry.path, unique, entry.series))
        if unique != case_name(entry.path):
            reporter.warning(Problem(Code.CASE_RENAMED, str(entry.path), found="another input has the same name, so "
                                     f"its results are called '{unique}'"))
    return cases


def _inside(entry: Entry) -> PurePosixPath:
    """`output` as a path that stays inside the output folder."""
    output = PurePosixPath((entry.output or "").replace("\\", "/"))
    if not output.name or output.is_absolute() or any(part == ".." or part.startswith(".") for part in output.parts) \
            or any(letter in str(output) for letter in ':*?"<>|\0'):
        raise UserError(code=Code.NAME_UNFIT, subject=f"{entry.path}: output",
                        expected="a name, or folders and a name, inside the output folder", found=f"'{entry.output}'")
    return output
