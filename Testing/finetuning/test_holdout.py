"""What a fine-tuning run leaves out to be measured on: cases, or slabs of organs."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from PartialOrganSegLib.annotation import CandidateTable, Kind
from PartialOrganSegLib.cli.options import name_list
from PartialOrganSegLib.datasets.manifest import load_manifest
from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.events import Reporter
from PartialOrganSegLib.finetuning.case_preparation import Translation, prepare_cases
from PartialOrganSegLib.finetuning.cases import PreparedCase
from PartialOrganSegLib.finetuning.holdout import hold_out
from PartialOrganSegLib.finetuning.replay import ReplayRequest, make_replay
from PartialOrganSegLib.finetuning.slabs import choose_slabs, known_of, split_by_slabs
from PartialOrganSegLib.formats.reading import read_labelmap
from PartialOrganSegLib.organs import label_space_of_names
from Testing.helpers.finetune_data import ORGANS, RunListener, ct_of, only, write_cases

SPACE = label_space_of_names("small", ORGANS)


@pytest.fixture(scope="module")
def three_cases(tmp_path_factory) -> list[PreparedCase]:
    """Three fully labelled cases."""
    folder = tmp_path_factory.mktemp("cases ü")
    manifest = load_manifest(write_cases(folder, [ct_of(seed)[1] for seed in range(3)], "full"))
    return prepare_cases(manifest.cases, Translation(SPACE, SPACE), (3.0, 2.0, 2.0), folder / "prepared", Reporter())


def possible_classes(case: PreparedCase) -> np.ndarray:
    """(z, y, x, class) bool: what each voxel may be."""
    table = np.array([[label in classes for label in range(4)] for classes in case.candidate_sets])
    return table[read_labelmap(case.candidate_map).array]


def test_of_few_cases_each_organ_is_left_out_in_a_slab_and_nothing_else_is_lost(three_cases, tmp_path):
    held = hold_out(three_cases, [], tmp_path)
    assert len(held.training) == len(held.measured) == 3
    assert not {case.name for case in held.training} & {case.name for case in held.measured}
    for original, training, measured in zip(three_cases, held.training, held.measured, strict=True):
        # What a voxel may be by the original, in training and in the slab that is measured on.
        truth, trained, in_slab = map(possible_classes, (original, training, measured))
        assert (trained | ~truth).all()  # nothing untrue is said
        assert (in_slab | ~truth).all()
        for organ in (1, 2, 3):
            inside, outside = truth[..., organ] & (truth.sum(-1) == 1), ~truth[..., organ]
            sure, denied = inside & (trained.sum(-1) == 1), outside & ~trained[..., organ]
            another_organ = (in_slab.sum(-1) == 1) & outside  # known to be an organ whose slab this is
            surely_inside = inside & (in_slab.sum(-1) == 1)
            surely_outside = outside & ~another_organ & ~in_slab[..., organ]
            measured_slices = (surely_inside | surely_outside).any((1, 2))
            left_out = np.flatnonzero(measured_slices)
            assert left_out.tolist() == list(range(left_out[0], left_out[-1] + 1))
            # A fifth of the organ's slices, as far as whole slices allow.
            assert 0.1 <= inside.any((1, 2))[measured_slices].sum() / inside.any((1, 2)).sum() <= 0.3
            # Slices that are measured were not trained on: neither where the organ is ...
            assert not sure[measured_slices].any()
            # ... nor where it is not, but for the masks of other organs.
            assert not (denied & ~(trained.sum(-1) == 1))[measured_slices].any()
            # All other slices were.
            assert (sure == inside)[~measured_slices].all()
            assert (denied == outside)[~measured_slices].all()
    assert set(held.measured_on) == {1, 2, 3}


def test_names_with_commas_are_known_from_a_list_with_commas(three_cases, tmp_path):
    names = ("Müller, Hans", "Müller", "b")
    cases = [replace(case, name=name, group=name) for case, name in zip(three_cases, names, strict=True)]
    for listed, left_out in (("Müller, Hans", {"Müller, Hans"}), ("b,Müller,Hans", {"b", "Müller, Hans"}),
                             ("Müller", {"Müller"}), ("b,Müller", {"b", "Müller"})):
        held = hold_out(cases, name_list(listed), tmp_path)
        assert {case.name for case in held.measured} == left_out
    assert [case.name for case in hold_out(cases, ["Müller, Hans"], tmp_path).measured] == ["Müller, Hans"]
    with pytest.raises(UserError, match="found 'Hans'"):
        hold_out(cases, name_list("Hans,Müller"), tmp_path)


def test_none_beside_a_case_is_refused_as_what_it_is(three_cases, tmp_path):
    with pytest.raises(UserError, match="expected names of cases, or none alone, found none, case1"):
        hold_out(three_cases, ["none", "case1"], tmp_path)


@given(st.dictionaries(st.integers(0, 40), st.tuples(st.integers(0, 60), st.integers(1, 60)), max_size=40),
       st.floats(0.1, 0.9))
def test_slabs_take_about_a_fifth_of_each_organ(extents, place):
    slices = {label: np.arange(first, first + count) for label, (first, count) in extents.items()}
    slabs = choose_slabs(slices, place)
    assert len(slabs) <= 6
    left_out = list(itertools.chain.from_iterable(slab.organs for slab in slabs))
    assert len(left_out) == len(set(left_out))
    assert all(label and len(slices[label]) >= 5 for label in left_out)
    for slab in slabs:
        for label in slab.organs:
            share = np.isin(slices[label], range(slab.first, slab.end)).mean()
            assert 0.1 <= share <= 0.3
    # Where slabs are left over, every organ of five slices or more has one.
    if len(slabs) < 6:
        assert set(left_out) == {label for label, organ_slices in slices.items() if label and len(organ_slices) >= 5}


@given(st.frozensets(st.integers(0, 5)), st.frozensets(st.integers(0, 5), min_size=1))
def test_a_label_of_some_organs_says_nothing_of_others(organs, classes):
    everything = frozenset(range(6))
    classes_known = known_of(organs, classes, everything)
    assert classes <= classes_known
    assert classes_known & organs == classes & organs
    assert classes_known in (classes, classes_known | (everything - organs))


def test_full_labels_of_a_hundred_organs_need_no_more_than_256_candidate_sets(tmp_path):
    """Full labels of a large imported model's organs: a run has 256 candidate sets, whatever slabs are left out."""
    space = label_space_of_names("many", [f"organ_{number}" for number in range(1, 101)])
    labels = np.zeros((120, 10, 10), np.uint8)
    # Organs that begin at different heights and end at different ones: every slab cuts others.
    for organ in range(100):
        labels[organ // 5:organ // 5 + 5 + organ, organ // 10, organ % 10] = organ + 1
    table = CandidateTable(101)
    for number in range(3):
        manifest = load_manifest(write_cases(tmp_path / str(number), [np.roll(labels, number, 0)], "full",
                                             space.names, label_space=space.names, images=[np.zeros(labels.shape)]))
        (case,) = prepare_cases(manifest.cases, Translation(space, space), (3.0, 2.0, 2.0), tmp_path / "prepared",
                                Reporter(), force=True)
        slabs = choose_slabs(case.slices, (number + 1) / 4)
        for part in split_by_slabs(case, slabs, tmp_path):
            for classes in part.candidate_sets:
                table.code(classes)
    assert len(table.table) <= 256


def named(name: str, *organs: int) -> PreparedCase:
    return PreparedCase(name, name, "mine", Kind.FULL, 1.0, Path(name), Path(name),
                        (frozenset(range(4)), frozenset({0})),
                     (1, 99), dict.fromkeys(organs, np.arange(9)), dict.fromkeys(organs, 99), (8, 8, 8), name, name)


@given(st.lists(st.sets(st.integers(1, 3), min_size=1), min_size=4, max_size=12))
def test_a_quarter_of_many_cases_is_left_out_but_never_the_only_one_to_show_an_organ(organs):
    cases = [named(f"case{number}", *shown) for number, shown in enumerate(organs)]
    # Without such a case slabs are cut from files, which these cases do not have.
    held = hold_out(cases, [], Path("nowhere")) if _spare(organs) else None
    if held is not None:
        assert 1 <= len(held.measured) <= round(len(cases) / 4)
        assert set().union(*(case.organs for case in held.training)) == set().union(*organs)
        assert len(held.training) + len(held.measured) == len(cases)


def _spare(organs: list[set[int]]) -> bool:
    """Whether some case can be left out without losing an organ."""
    return any(shown <= set().union(*organs[:number], *organs[number + 1:]) for number, shown in enumerate(organs))


def test_chosen_groups_are_left_out():
    cases = [named(f"case{number}", 1) for number in range(3)]
    held = hold_out(cases, ["case1"], Path("nowhere"))
    assert [case.name for case in held.measured] == ["case1"]
    assert hold_out(cases, ["none"], Path("nowhere")).training == cases
    with pytest.raises(UserError, match="did you mean 'case1'"):
        hold_out(cases, ["cases1"], Path("nowhere"))
    with pytest.raises(UserError, match="expected a case left to train on"):
        hold_out(cases, ["case0", "case1", "case2"], Path("nowhere"))


def test_a_case_without_labels_is_not_measured_on():
    blank = replace(named("blank"), candidate_sets=(frozenset(range(4)),), set_voxels=(100,), group="case0")
    cases = [blank, *(named(f"case{number}", 1) for number in range(3))]
    held = hold_out(cases, ["case0"], Path("nowhere"))
    assert [case.name for case in held.measured] == ["case0"]
    assert [case.name for case in held.training] == ["case1", "case2"]
    with pytest.raises(UserError, match="expected a labelled case to measure on, found none in alone"):
        hold_out([replace(blank, group="alone"), *cases[1:]], ["alone"], Path("nowhere"))


def test_cases_that_nothing_is_drawn_from_are_not_needed_to_show_an_organ():
    """The only trained case with organ 2 must stay, though one of weight 0 shows it too."""
    cases = [named("only", 1, 2), *(named(f"case{number}", 1) for number in range(3)),
             replace(named("weightless", 1, 2), weight=0.0)]
    assert "only" not in [case.name for case in hold_out(cases, [], Path("nowhere")).measured]


def test_a_case_of_a_group_may_be_named_and_takes_the_group_with_it():
    cases = [replace(named(f"case{number}", 1), group=f"patient{number // 2}") for number in range(4)]
    for names in (["case3"], ["patient1"]):
        assert [case.name for case in hold_out(cases, names, Path("nowhere")).measured] == ["case2", "case3"]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=4, max_size=12), st.booleans())
def test_no_image_and_no_group_is_on_both_sides(pairs, by_name):
    cases = [replace(named(f"case{number}", 1), group=f"group{group}", image_sha256=str(image))
             for number, (group, image) in enumerate(pairs)]
    try:
        held = hold_out(cases, ["case0"] if by_name else [], Path("nowhere"))
    except (UserError, FileNotFoundError):  # nothing left to train on, or slabs of files that are not there
        return
    for of in (lambda case: case.image_sha256, lambda case: cases[int(case.name[4:])].group):
        assert not {of(case) for case in held.training} & {of(case) for case in held.measured}
    assert not by_name or "case0" in [case.name for case in held.measured]


def test_an_image_of_the_run_is_not_replayed(tmp_path):
    data = write_cases(tmp_path, [ct_of(seed)[1] for seed in range(4)], "full")
    content = yaml.safe_load(data.read_text("utf-8"))
    # A weight of 0 in the replayed manifest: the case is not drawn from there either.
    content["datasets"].append({"name": "rest", "weight": 0.0, "cases": [content["datasets"][0]["cases"].pop()]})
    data.write_text(yaml.safe_dump(content), "utf-8")
    manifest = load_manifest(write_cases(tmp_path / "own", [ct_of(1)[1]], "full", seeds=[1]))
    (mine,) = prepare_cases(manifest.cases, Translation(SPACE, SPACE), (3.0, 2.0, 2.0), tmp_path / "prepared",
                            Reporter())
    reporter = RunListener()
    request = ReplayRequest(str(data), SPACE, (3.0, 2.0, 2.0), [1], measure=False, images={mine.image_sha256})
    replay = make_replay(request, tmp_path / "replay", reporter)
    assert [case.name for case in replay.training] == ["case0", "case2"]
    assert reporter.warnings == ["replay: case1 shows an image of --data, and is left out"]
    with pytest.raises(UserError, match="--replay: expected a case that shows another image"):
        make_replay(replace(request, source=str(manifest.path)), tmp_path / "none", reporter)


def test_replayed_images_must_be_cts_too(tmp_path):
    data = write_cases(tmp_path, [ct_of(0)[1]], "full", images=[(ct_of(0)[0] + 1000).clip(0).astype(np.int16)])
    request = ReplayRequest(str(data), SPACE, (3.0, 2.0, 2.0), [1], measure=False)
    with pytest.raises(UserError, match=r"case0: .*expected a CT in HU"):
        make_replay(request, tmp_path / "replay", RunListener())
    replay = make_replay(replace(request, force=True), tmp_path / "replay", RunListener())
    assert [case.name for case in replay.training] == ["case0"]


def test_slabs_of_one_image_are_those_of_all_its_cases(tmp_path):
    labels = ct_of(0)[1]
    data = load_manifest(write_cases(tmp_path, [only(labels, 1, 2), only(labels, 2, 3), ct_of(1)[1]], "full",
                                     seeds=[0, 0, 1]))
    cases = prepare_cases(data.cases, Translation(SPACE, SPACE), (3.0, 2.0, 2.0), tmp_path / "prepared", Reporter())
    held = hold_out(cases, [], tmp_path)
    assert [case.name for case in held.measured] == ["case0 (slab)", "case1 (slab)", "case2 (slab)"]
    for inside in map(possible_classes, held.measured[:2]):
        sure = inside.sum(-1) == 1
        assert sure.any()
        # No case of the image says in training what is measured.
        for training in map(possible_classes, held.training[:2]):
            assert training[sure & inside[..., 1:].any(-1)].sum(-1).min() > 1
            assert (training & inside)[sure].any(-1).all()


def test_whole_cases_of_strokes_without_background_are_not_measured_on(tmp_path):
    drawn = [np.where(ct_of(seed)[1] == 2, 2, 255).astype(np.uint8) for seed in range(4)]
    manifest = load_manifest(write_cases(tmp_path, drawn, "scribble"))
    cases = prepare_cases(manifest.cases, Translation(SPACE, SPACE), (3.0, 2.0, 2.0), tmp_path / "prepared", Reporter())
    held = hold_out(cases, [], tmp_path)
    assert (held.measured, held.measured_on, len(held.training)) == ([], {}, 4)
