"""What manifests and data set folders in a folder list, as the manifest that `learn` writes lists it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from ..datasets.case import Case
from ..datasets.manifest import Manifest
from ..errors import Code, Problem
from ..organs import LabelSpace
from ..real_paths import relative_path


def groups_of_one_name(listed: Mapping[Path, Manifest], case_names: Iterable[str]) -> list[Problem]:
    """A problem for each group that a manifest states and that is called as one of another manifest, or as a CT in the
    folder. They stay one, so that no patient is trained and measured on, and may be two patients."""
    owners = {name: f"the CT {name}" for name in case_names}
    problems = []
    for path, manifest in listed.items():
        for group in dict.fromkeys(case.group for case in manifest.cases if case.name in manifest.stated):
            owner = owners.setdefault(group, str(path))
            if owner != str(path):
                problems.append(Problem(Code.CASES_JOINED, str(path), hint="if they are two, give one another 'group'",
                                        found=f"the group '{group}' is taken for the same patient as that of {owner}"))
    return problems


def listed_datasets(listed: Mapping[Path, Manifest], case_names: Iterable[str], space: LabelSpace,
                    output: Path) -> list[dict[str, object]]:
    """The data sets of manifests and data set folders in the organs of `space`, for a manifest in the folder `output`.

    `case_names`: those that are taken by other cases.
    """
    datasets: list[dict[str, object]] = []
    taken = {name.casefold() for name in case_names}
    for path, manifest in listed.items():
        # A manifest is called after its folder; all of them have one name.
        place = path.name if path.is_dir() else path.parent.name
        entries: dict[str, list[dict[str, object]]] = {}
        weights: dict[str, float] = {}
        for case in manifest.cases:
            name, number = case.name, 1
            # Two centres number their patients alike; names are those of results.
            while name.casefold() in taken:
                name = f"{place} {case.name}"
                if number > 1:
                    name += f" {number}"
                number += 1
            taken.add(name.casefold())
            entries.setdefault(case.dataset, []).append(_entry(case, name, manifest, space, output))
            weights[case.dataset] = case.weight
        for dataset, cases in entries.items():
            # Two data sets of one manifest may be drawn from unlike often.
            title = f"{place} (listed)" if len(entries) == 1 else f"{place}: {dataset} (listed)"
            entry: dict[str, object] = {"name": title, "cases": cases}
            if weights[dataset] != 1:
                entry["weight"] = weights[dataset]
            datasets.append(entry)
    return datasets


def _entry(case: Case, name: str, manifest: Manifest, space: LabelSpace, output: Path) -> dict[str, object]:
    entry: dict[str, object] = {"image": relative_path(case.image, output), "name": name, "kind": case.kind.value}
    # One that no manifest states is the case's own or was joined, which the written manifest does anew: over all its
    # data sets, of which two may have one image, and by names that differ.
    if case.name in manifest.stated:
        entry["group"] = case.group
    for key, file in (("label", case.label), ("strokes", case.strokes), ("soft_targets", case.soft_targets)):
        if file is not None:
            entry[key] = relative_path(file, output)
    if case.annotated:
        entry["annotated"] = list(case.annotated)
    if case.ignored:
        entry["ignored"] = list(case.ignored)
    if case.other_values:
        entry["other_values"] = case.other_values
    # Another order of organs numbers them otherwise. Where values are named and others mean something of their own,
    # an organ's number says nothing.
    label_map: dict[int, list[str]] = {}
    named = bool(case.label_map or case.split_left_right)
    if manifest.label_space.names != space.names and case.label is not None and not (case.other_values and named):
        label_map = {organ.index: [organ.name] for organ in manifest.label_space.organs}
    label_map |= {value: list(names) for value, names in case.label_map}
    split = {value: list(pair_) for value, pair_ in case.split_left_right}
    label_map = {value: names for value, names in label_map.items() if value not in split}
    for key, mapping in (("label_map", label_map), ("split_left_right", split)):
        if mapping:
            entry[key] = mapping
    return entry
