"""What the values of a label map are called: by a table beside it, a known list of organs, or `1=liver,2=spleen`."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ..datasets.own_names import names_in_table
from ..errors import Code, UserError, did_you_mean
from ..formats.registry import stem_of
from ..json_file import read_json
from ..organs import BACKGROUND, LABEL_SPACES
from ..yaml_file import read_yaml

ValueNames = dict[int, str]
_TABLE_SUFFIXES = (".json", ".yaml", ".yml", ".csv", ".tsv", ".ctbl", ".txt", ".label")
# Names of a table for a whole folder.
_TABLE_NAMES = ("labels", "label_map", "labelmap", "organs", "dataset")
_MOST_BYTES = 1 << 20
# ITK-SNAP: IDX R G B A VIS MESH "NAME". Slicer's colour tables: IDX NAME R G B A.
_SNAP = re.compile(r'\s*(\d+)\s+\d+\s+\d+\s+\d+\s+[\d.]+\s+[01]\s+[01]\s+"(.*)"\s*')
_COLOUR_TABLE = re.compile(r"\s*(\d+)\s+(\S+)\s+\d+\s+\d+\s+\d+\s+\d+\s*")
_PAIR = re.compile(r"\s*(\d+)\s*[=:,;\t]\s*\"?([^\",;=\t]+?)\"?\s*")
_REVERSED_PAIR = re.compile(r"\s*\"?([^\",;=\t\d][^\",;=\t]*?)\"?\s*[=:,;\t]\s*(\d+)\s*")


def value_names(setting: str) -> ValueNames:
    """The names that `--label-map` gives: a known label space's, those of a table's file, or `1=liver,2=spleen`.

    Raises UserError for what is none of these.

    >>> value_names("1=liver, 5=spleen")
    {1: 'liver', 5: 'spleen'}
    """
    if "=" in setting and not os.path.exists(setting):
        return _of_lines(setting.split(","), "--label-map", strict=True)
    if setting in LABEL_SPACES:
        return {organ.index: organ.name for organ in LABEL_SPACES[setting].organs}
    path = Path(setting)
    if not os.path.isfile(path):
        raise UserError(code=Code.UNKNOWN_NAME, subject="--label-map", found=f"'{setting}'",
                        expected=f"1=liver,2=spleen, a table's file or one of {', '.join(LABEL_SPACES)}",
                        hint=did_you_mean(setting, LABEL_SPACES))
    names = read_table(path)
    if not names:
        raise UserError(code=Code.WRONG_FORMAT, subject=path, expected="values and names of organs", found="none")
    return names


def table_beside(label: Path, folder: Path) -> ValueNames:
    """The names in a table that lies beside a label map, or in `folder` for all of them; empty where there is none."""
    return _first_table(_candidates(label, folder, (stem_of(label), *_TABLE_NAMES)))


def unread_table(label: Path, folder: Path) -> Path | None:
    """A file that is called as a table of a label map and in which no names were found; None where there is none."""
    return next(_candidates(label, folder, (stem_of(label), *_TABLE_NAMES)), None)


def own_table(label: Path) -> ValueNames:
    """The names in a table that is called as the label map and lies beside it; empty where there is none."""
    return _first_table(_candidates(label, label.parent, (stem_of(label),)))


def _first_table(files: Iterable[Path]) -> ValueNames:
    for file in files:
        names = read_table(file)
        if names:
            return names
    return {}


def _candidates(label: Path, folder: Path, stems: Sequence[str]) -> Iterator[Path]:
    """Files that may be the table of a label map, the nearest first."""
    for stem in stems:
        for suffix in _TABLE_SUFFIXES:
            file = label.parent / (stem + suffix)
            if file.is_file() and file.stat().st_size <= _MOST_BYTES:
                yield file
    if label.parent != folder:
        for stem in _TABLE_NAMES:
            for suffix in _TABLE_SUFFIXES:
                file = folder / (stem + suffix)
                if file.is_file() and file.stat().st_size <= _MOST_BYTES:
                    yield file


def read_table(path: Path) -> ValueNames:
    """Value to name, without the background, from JSON or YAML (`{"1": "liver"}`, `{"liver": 1}`, either below
    "labels"), CSV, ITK-SNAP's label descriptions or Slicer's colour tables; empty where nothing of it is there."""
    suffix = path.suffix.lower()
    if suffix in (".json", ".yaml", ".yml"):
        content = read_json(path, "JSON") if suffix == ".json" else read_yaml(path, "table of labels")
        if isinstance(content, dict) and isinstance(content.get("labels"), dict):
            content = content["labels"]
        return _of_mapping(content)
    names = names_in_table(path)
    if names:
        return _without_background(names)
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    return _of_lines(text.splitlines(), str(path), strict=False)


def _of_mapping(content: object) -> ValueNames:
    """Either way round; empty where keys and values are anything else."""
    if not isinstance(content, dict):
        return {}
    names: ValueNames = {}
    for key, entry in content.items():
        value, name = key, entry
        if isinstance(entry, int) and not str(key).isdecimal():
            value, name = entry, key
        if not str(value).isdecimal() or not isinstance(name, str):
            return {}
        names[int(value)] = name
    return _without_background(names)


def _of_lines(lines: list[str], subject: str, strict: bool) -> ValueNames:
    """A value and a name a line; other lines are headings and notes, or where `strict` an error."""
    names: ValueNames = {}
    for line in lines:
        reversed_pair = _REVERSED_PAIR.fullmatch(line)
        match = _SNAP.fullmatch(line) or _COLOUR_TABLE.fullmatch(line) or _PAIR.fullmatch(line)
        if match is not None and not line.lstrip().startswith("#"):
            names[int(match[1])] = match[2].strip()
        elif reversed_pair is not None:
            names[int(reversed_pair[2])] = reversed_pair[1].strip()
        elif strict:
            raise UserError(code=Code.VALUE_UNFIT, subject=subject, expected="a value and an organ such as 1=liver",
                            found=f"'{line.strip()}'")
    return _without_background(names)


def _without_background(names: ValueNames) -> ValueNames:
    return {value: name for value, name in names.items()
            if value and name.strip().lower() not in (BACKGROUND, "clear label")}
