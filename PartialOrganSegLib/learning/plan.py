"""What a run of `learn` sets out to do: the folder's cases, written as a manifest that the user can read and change."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import yaml

from ..annotation import Kind
from ..atomic import whole_file
from ..datasets.manifest import Manifest, load_manifest
from ..errors import Code, Problem, UserError
from ..events import Reporter
from ..formats.own_slices import OwnSlices
from ..organs import BACKGROUND, LabelSpace
from ..real_paths import relative_path
from .drawn_names import NamedDrawing, Wishes, name_drawing
from .label_maps import join_masks
from .labelling import Labelling, label_case
from .listed import groups_of_one_name, listed_datasets
from .organ_list import Ask, OrganList, how_to_add
from .pairing import PairedCase, pair
from .series import SERIES, write_folder
from .survey import Survey, survey
from .value_names import value_names

MANIFEST, LABELS = "manifest.yaml", "labels"
# How often a patch is of a CT on which nothing is drawn, beside 1 for the others: there the start model is the teacher.
UNDRAWN_WEIGHT = 0.25
_MOST_LISTED = 6  # slices in a message
_MINOR = (Code.UNKNOWN_NAME, Code.NO_LABELS)


@dataclass(frozen=True)
class FolderOptions:
    """How a folder is to be understood. `annotated`: the only organs to be learnt. `new_organs`: names of organs that
    nobody knows yet. `label_map`: what the values of label maps mean, see `value_names`. `leave_out`: patterns of files
    and folders that do not count."""

    annotated: Sequence[str] | None = None
    new_organs: Sequence[str] = ()
    label_map: str | None = None
    leave_out: Sequence[str] = ()


@dataclass
class PlannedCase:
    """A CT of the folder, and what is known of it."""

    name: str
    image: Path
    labelling: Labelling
    how: list[str] = field(default_factory=list)

    @property
    def is_annotated(self) -> bool:
        """Whether there is anything to learn from, beside the image."""
        return self.labelling.kind is not Kind.UNLABELLED


@dataclass
class Plan:
    """The cases of a folder and where the results go. `listed`: manifests in the folder, which are taken as they are.
    `left_out`: what does not count, and why."""

    folder: Path
    output: Path
    space: LabelSpace
    new_organs: list[str]
    cases: list[PlannedCase] = field(default_factory=list)
    listed: dict[Path, Manifest] = field(default_factory=dict)
    left_out: list[Problem] = field(default_factory=list)

    @property
    def manifest(self) -> Path:
        """The file that is written."""
        return self.output / MANIFEST

    def rows(self) -> list[dict[str, str]]:
        """The table that a user confirms: a CT a row."""
        rows = []
        for case in self.cases:
            files = ", ".join(relative_path(path, self.folder) for path in case.labelling.files)
            organs = ", ".join(case.labelling.annotated)
            rows.append({"case": case.name, "CT": relative_path(case.image, self.folder),
                         "kind": case.labelling.kind.value, "drawn in": files, "by": ", ".join(dict.fromkeys(case.how)),
                         "organs": organs})
        for path, manifest in self.listed.items():
            for listed in manifest.cases:
                files = ", ".join(relative_path(file, self.folder) for file in listed.files() if file != listed.image)
                rows.append({"case": listed.name, "CT": relative_path(listed.image, self.folder),
                             "kind": listed.kind.value, "drawn in": files, "by": path.name,
                             "organs": ", ".join(listed.annotated)})
        return rows


def make_plan(folder: Path, output: Path, start: LabelSpace, options: FolderOptions, ask: Ask | None = None,
              reporter: Reporter | None = None) -> Plan:
    """Looks at a folder and pairs, names and puts together what lies there; writes OUTPUT/manifest.yaml with relative
    paths, and label maps that had to be put together into OUTPUT/labels.

    `start`: the organs of the start model. Raises UserError for a folder without a CT or without anything to learn
    from, and for names that nobody knows.
    """
    reporter = reporter or Reporter()
    # Once and before all: a slip in it would leave out one file after the other.
    if options.label_map is not None:
        value_names(options.label_map)
    content = survey(folder, options.leave_out, output, reporter)
    for pattern in content.unused_patterns:
        reporter.warning(Problem(Code.SETTING_IGNORED, "--leave-out", found=f"no file or folder is called '{pattern}'",
                                 hint=f"a name, or a path as it is within {folder}"))
    cases, problems = pair(content)
    organs = OrganList(start.names, options.new_organs, options.annotated, ask)
    named = _named(cases, content, options, organs, ask, problems)
    listed = {path: load_manifest(path, reporter) for path in content.manifests}
    for manifest in listed.values():
        organs.declare(manifest.label_space.names)
    plan = Plan(folder, output, organs.space, organs.added, listed=listed, left_out=[*content.left_out, *problems])
    for name in organs.unknown:
        plan.left_out.append(Problem(Code.UNKNOWN_NAME, name, found="no organ that the model or the library knows",
                                     hint=how_to_add(name)))
    for case in cases:
        plan.cases.append(_planned(case, named[case.name], organs, plan))
    shown = set().union(*(case.labelling.shown for case in plan.cases))
    _forget(organs.without_drawing(shown), plan.cases)
    plan.space, plan.new_organs = organs.space, organs.added
    _check_something_to_learn(plan)
    for problem in groups_of_one_name(plan.listed, [case.name for case in plan.cases]):
        reporter.warning(problem)
    _write(plan, organs.setting)
    return plan


def _named(cases: Sequence[PairedCase], content: Survey, options: FolderOptions, organs: OrganList, ask: Ask | None,
           problems: list[Problem]) -> dict[str, list[NamedDrawing]]:
    """Case to its drawings with their names. All are looked at before any is labelled: each may add an organ."""
    wishes = Wishes(options.label_map, options.annotated)
    named: dict[str, list[NamedDrawing]] = {}
    for case in cases:
        named[case.name] = []
        for drawing in case.drawings:
            try:
                with_names = name_drawing(drawing, case, content.folder, wishes, organs, ask)
            except UserError as error:
                problems.append(error.problem)
                continue
            named[case.name].append(with_names)
            strokes = []
            if drawing.strokes is not None:
                strokes = [stroke.organ for stroke in drawing.strokes.strokes]
            for name in dict.fromkeys([*with_names.names.values(), *with_names.absent, *strokes]):
                organs.take(name)
    return named


def _planned(case: PairedCase, drawings: Sequence[NamedDrawing], organs: OrganList, plan: Plan) -> PlannedCase:
    """The case with its labelling, put together into one label map where several files say it."""
    try:
        labelling = _labelled(case, drawings, organs, plan)
    except UserError as error:
        plan.left_out.append(error.problem)
        labelling = Labelling()
    # What was drawn and cannot be used is listed as left out, not in the table.
    how = []
    if labelling.kind is not Kind.UNLABELLED:
        how = case.how
    image = case.ct.path
    if case.ct.slices:
        image = write_folder(plan.output / SERIES / case.name, case.ct.slices)
    return PlannedCase(case.name, image, labelling, how)


def _forget(organs: Collection[str], cases: Sequence[PlannedCase]) -> None:
    """Takes organs out of the cases of which every structure was unfit: a model would be grown by what none shows."""
    for case in cases:
        labelling = case.labelling
        labelling.label_map = {value: [name for name in names if name not in organs]
                               for value, names in labelling.label_map.items()}


def _labelled(case: PairedCase, drawings: Sequence[NamedDrawing], organs: OrganList, plan: Plan) -> Labelling:
    """An organ of which a structure in DICOM does not lie on the CT, or leaves slices of it out, is unknown in it, and
    the others are learnt. Raises UserError where there are none, where most do not lie on the CT, and for an organ that
    the user has asked for."""
    labelling = label_case(drawings, organs)
    if not labelling.sources:
        return labelling
    unfit = _join(case, labelling, organs.space.names, plan)
    if not unfit:
        return labelling
    names = {named.drawing: named.names for named in drawings}
    lost: set[str] = set()
    for source in labelling.sources:
        for value, joint in source.values.items():
            if joint in unfit:
                lost.update(organs.organs(names[source.drawing][value]))
    # Also what else shows these organs: beside a tumour that is left out, the liver would be absent there.
    rest = [named.without([value for value, name in named.names.items() if lost & set(organs.organs(name))])
            for named in drawings]
    is_none_left = not any(organs.organs(name) for named in rest for name in named.names.values())
    structures = sum(len(source.values) for source in labelling.sources) - len(labelling.undecided)
    beside = sum(error.code is Code.GEOMETRY_DIFFERS for error in unfit.values())
    # Where most lie beside the CT, the others lie on it by chance.
    if organs.are_chosen or is_none_left or 2 * beside > structures:
        raise next(iter(unfit.values()))
    for error in unfit.values():
        hint = f"nothing is learnt of {', '.join(sorted(lost))} on this CT"
        plan.left_out.append(replace(error.problem, hint="; ".join(filter(None, [error.hint, hint]))))
    return _labelled(case, rest, organs, plan)


def _join(case: PairedCase, labelling: Labelling, names: Sequence[str], plan: Plan) -> Mapping[int, UserError]:
    """Writes the joint label map, unless structures are unfit for it, which it gives by their joint values. `names`:
    all organs, any of which may be where nobody could draw."""
    target = plan.output / LABELS / f"{case.name}.nii.gz"
    own_slices = OwnSlices(case.ct.grid, case.ct.positions, may_hide_gaps=not case.ct.series_uid)
    joint = join_masks(labelling.sources, own_slices, target, labelling.undecided)
    if joint.unfit:
        return joint.unfit
    for overlap in joint.overlaps:
        candidates: dict[str, None] = {}
        for value in overlap.of:
            pair_of_value = labelling.split_left_right.get(value, ())
            candidates |= dict.fromkeys([*labelling.label_map.get(value, []), *pair_of_value])
        labelling.label_map[overlap.value] = list(candidates)
    if joint.unseen is not None:
        labelling.label_map[joint.unseen] = [BACKGROUND, *names]
        found = f"{len(own_slices.filled_in())} slices filled in between those of the series"
        if joint.between_planes:
            found = _between_planes(joint.between_planes)
        plan.left_out.append(Problem(Code.SLICES_MISSING, str(case.ct.path), found=found,
                                     hint="nothing is learnt from the structures there"))
    labelling.label = target
    return {}


def _between_planes(slices: Mapping[int, str]) -> str:
    """In words. `slices` as `JointLabels.between_planes`."""
    listed = ", ".join(str(depth + 1) for depth in list(slices)[:_MOST_LISTED])
    if len(slices) > _MOST_LISTED:
        listed += ", ..."
    organ = next(iter(slices.values()))
    return f"no structure drawn in {len(slices)} slices ({listed}) with '{organ}' above and below, which the series " \
           "of this CT may have lacked"


def _check_something_to_learn(plan: Plan) -> None:
    """Raises UserError for a folder without CTs, or without anything drawn; the first reason is told with it."""
    reason = ""
    if plan.left_out:
        # A name that nobody knows, as of a target, says less than why the organs beside it cannot be used.
        reason = min(plan.left_out, key=lambda problem: problem.code in _MINOR).text()
    if not plan.cases and not plan.listed:
        raise UserError(code=Code.NO_CASES, subject=plan.folder, expected="CTs (NIfTI, NRRD, MetaImage or DICOM)",
                        found="none", hint=reason)
    if not plan.listed and not any(case.is_annotated for case in plan.cases):
        raise UserError(code=Code.NO_LABELS, subject=plan.folder, expected="something drawn on one of the CTs (a mask, "
                        "strokes, structures)", found=f"none on {len(plan.cases)} CTs", hint=reason)


def _write(plan: Plan, label_space: str | list[str]) -> None:
    """The manifest, with paths relative to it wherever both lie on one disk."""
    datasets: list[dict[str, object]] = []
    drawn_on = [_entry(case, plan.output) for case in plan.cases if case.is_annotated]
    undrawn = [_entry(case, plan.output) for case in plan.cases if not case.is_annotated]
    if drawn_on:
        datasets.append({"name": "drawn on", "cases": drawn_on})
    if undrawn:
        datasets.append({"name": "nothing drawn", "weight": UNDRAWN_WEIGHT, "cases": undrawn})
    taken = [case.name for case in plan.cases]
    datasets += listed_datasets(plan.listed, taken, plan.space, plan.output)
    plan.output.mkdir(parents=True, exist_ok=True)
    content = {"label_space": label_space, "datasets": datasets}
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120, default_flow_style=None)
    heading = "# Written by `partialorganseg learn`. Change what is wrong and run `learn` with --resume, or use it\n" \
              "# with `check`, `finetune`, `train` and `evaluate`.\n"
    with whole_file(plan.manifest) as temporary:
        temporary.write_text(heading + text, encoding="utf-8")


def _entry(case: PlannedCase, output: Path) -> dict[str, object]:
    labelling = case.labelling
    entry: dict[str, object] = {"image": relative_path(case.image, output), "name": case.name,
                                "kind": labelling.kind.value}
    for key, path in (("label", labelling.label), ("strokes", labelling.strokes)):
        if path is not None:
            entry[key] = relative_path(path, output)
    # Of strokes it is for the reader alone.
    if labelling.kind in (Kind.PARTIAL, Kind.SCRIBBLE) and labelling.annotated:
        entry["annotated"] = list(labelling.annotated)
    if labelling.label_map:
        entry["label_map"] = {value: list(names) for value, names in sorted(labelling.label_map.items())}
    if labelling.split_left_right:
        entry["split_left_right"] = {value: list(pair_) for value, pair_ in labelling.split_left_right.items()}
    return entry
