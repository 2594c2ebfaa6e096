"""The CTs of a run, each with a name that no other has: from files, folders, a CSV or a manifest."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ..errors import Code, Problem, UserError
from ..events import Reporter
from ..real_paths import real_path
from ..segmenting.result_files import result_files, result_name
from .case_list import Entry, is_list, read_list
from .earlier_names import EarlierNames
from .file_names import fits_everywhere, folded
from .fingerprint import dicom_files, is_result


@dataclass(frozen=True)
class Case:
    """One CT to segment. Its results are called `name` with an ending each, in the subfolder `place` of the output.

    `series` chooses one of a DICOM folder's series. `dicom` are the kinds of DICOM files to write as well.
    """

    path: Path
    name: str
    series: str | None = None
    place: str = ""
    dicom: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """The name with its subfolder: no other case of the run has it."""
        return f"{self.place}/{self.name}" if self.place else self.name

    def outputs(self, folder: Path, preview: bool) -> dict[str, Path]:
        """Kind of result to its file in `folder`."""
        return result_files(folder, self.name, preview, self.dicom)


def expand(inputs: Sequence[Path], output: Path, reporter: Reporter) -> tuple[list[Entry], list[tuple[Path, Problem]]]:
    """The CTs that the inputs stand for, and the inputs that hold no CT, with the reason.

    Our results and the folder `output` are left out of a folder, so that it stands for the same CTs while the run
    writes into it.

    Raises UserError for a list that cannot be understood: it must not be segmented in part.
    """
    entries: list[Entry] = []
    failures: list[tuple[Path, Problem]] = []
    for source in inputs:
        if is_list(source):
            entries += read_list(source, reporter)
            continue
        try:
            paths = _cts_of(source, output)
        except UserError as error:
            failures.append((source, error.problem))
            continue
        except OSError as error:  # a folder that cannot be listed, or a name that no file can have
            failures.append((source, Problem(Code.NOT_READABLE, str(source), "a CT file or a folder",
                                             error.strerror or str(error))))
            continue
        entries += map(Entry, paths)
        _warn_of_several_kinds(source, paths, output, reporter)
        if not paths:
            failures.append((source, Problem(Code.NO_CASES, str(source), "CTs", "only results of this program")))
    # A CT that is named twice, or is in two of the inputs, is segmented once.
    return list(dict.fromkeys(entries)), failures


def _cts_of(source: Path, output: Path) -> list[Path]:
    """The CTs that a file or folder stands for. Raises UserError where there are none of any kind."""
    from ..formats.reading import list_inputs

    paths = list_inputs([source], lambda path: is_result(path) or real_path(path) == real_path(output))
    # A subfolder that holds nothing but our DICOM results is no CT.
    return [path for path in paths if path == source or not path.is_dir() or any(dicom_files(path))]


def _warn_of_several_kinds(source: Path, paths: Sequence[Path], output: Path, reporter: Reporter) -> None:
    """Says what is done with a folder that holds CTs in files and CTs in DICOM: they may be the same."""
    from ..formats.dicom_slices import holds_dicom

    volumes = [path for path in paths if path.parent == source and path.is_file()]
    if not volumes:
        return
    if source in paths:
        reporter.warning(Problem(Code.SERIES_UNCLEAR, str(source), found=f"holds DICOM slices and {volumes[0].name}: "
                                 "both are taken as CTs"))
        return
    folders = [entry for entry in sorted(source.iterdir()) if entry.is_dir() and not entry.name.startswith(".")
               and real_path(entry) != real_path(output) and holds_dicom(entry)]
    if folders:
        reporter.warning(Problem(Code.SERIES_UNCLEAR, str(source), found=f"holds CTs in files, so its folders with "
                                 f"DICOM files are left out (first: {folders[0].name})",
                                 hint="name them as inputs to take them as well"))


def named_cases(entries: Sequence[Entry], reporter: Reporter, output: Path | None = None) -> list[Case]:
    """Cases with names that differ as files on every system; a shared name gets its folder's before it.

    `output`: the folder of earlier results. A CT keeps the name that its record there has, so that a result never
    changes its patient when a run is resumed with more CTs; no other CT gets that name, unless the user gives it as
    `output` of an entry.

    Raises UserError for an `output` that leaves the output folder or that two CTs share.
    """
    chosen = {entry: _inside(entry) for entry in entries if entry.output is not None}
    names = _Names()
    for entry, path in chosen.items():
        if not names.take(str(path)):
            raise UserError(code=Code.NAME_TAKEN, subject=entry.path, expected="an output that no other CT has",
                            found=f"'{path}' twice")
    unnamed = [entry for entry in entries if entry not in chosen]
    earlier = EarlierNames(output)
    recorded = {}
    for entry in unnamed:
        name = earlier.name_of(entry.path, entry.series)
        if name is not None and names.take(name):
            recorded[entry] = name
    counts = Counter(folded(result_name(entry.path)) for entry in unnamed)
    cases: list[Case] = []
    for entry in entries:
        # What the user named keeps its name, whatever else the run holds.
        if entry in chosen:
            place = chosen[entry].parent.as_posix()
            cases.append(Case(entry.path, chosen[entry].name, entry.series, "" if place == "." else place))
            continue
        usual_name = result_name(entry.path)
        name = recorded.get(entry)
        if name is None:
            shared = counts[folded(usual_name)] > 1
            name = _free_name(entry, usual_name, shared, names, earlier)
        cases.append(Case(entry.path, name, entry.series))
        if name != usual_name:
            reporter.warning(Problem(Code.CASE_RENAMED, str(entry.path), found="another CT has the same name, so "
                                     f"its results are called '{name}'"))
    return cases


class _Names:
    """The names of a run, which differ as files on every system."""

    def __init__(self) -> None:
        self._folded: set[str] = set()

    def take(self, name: str) -> bool:
        """Whether the name was free; it is taken from now on."""
        if folded(name) in self._folded:
            return False
        self._folded.add(folded(name))
        return True


def _free_name(entry: Entry, usual_name: str, shared: bool, names: _Names, earlier: EarlierNames) -> str:
    """A name that neither another CT of the run nor an earlier result of another CT has."""
    folder = Path(os.path.abspath(entry.path)).parent.name  # as the user wrote it, whatever a link points to
    with_folder = f"{folder}_{usual_name}".lstrip("_")
    candidates = [usual_name, with_folder]
    if shared:
        candidates = [with_folder]
    for number in itertools.count(2):
        for name in candidates:
            if earlier.may_have(name, entry.path, entry.series) and names.take(name):
                return name
        candidates = [f"{with_folder}_{number}"]
    raise AssertionError("itertools.count ends")


def _inside(entry: Entry) -> PurePosixPath:
    """`output` as a path that stays inside the output folder and that every system can hold. Raises UserError for any
    other."""
    output = PurePosixPath((entry.output or "").replace("\\", "/"))
    hidden = any(part.startswith(".") for part in output.parts)  # "..", and names that a run takes for leftovers
    if not output.name or output.is_absolute() or hidden:
        raise UserError(code=Code.NAME_UNFIT, subject=f"{entry.path}: output",
                        expected="a name, or folders and a name, inside the output folder", found=f"'{entry.output}'")
    # A run must be able to move to any system.
    if not all(map(fits_everywhere, output.parts)):
        raise UserError(code=Code.NAME_UNFIT, subject=f"{entry.path}: output",
                        expected="names that every system can hold", found=f"'{entry.output}'")
    return output
