"""Frozen members and a trained network together, by the rule of `models.joined`."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from PartialOrganSegLib.annotation import CandidateTable, Kind
from PartialOrganSegLib.datasets.case import Case
from PartialOrganSegLib.events import Reporter
from PartialOrganSegLib.formats.reading import read_ct
from PartialOrganSegLib.imaging.volume import Grid
from PartialOrganSegLib.loading.cache import cache_cases
from PartialOrganSegLib.models.bundle import Bundle, Preprocessing
from PartialOrganSegLib.models.bundle_writing import write_bundle
from PartialOrganSegLib.models.joined import join_bundles
from PartialOrganSegLib.networks import build_network
from PartialOrganSegLib.organs import label_space_of_names
from PartialOrganSegLib.segmenting.joined import MemberPredictor
from PartialOrganSegLib.segmenting.patient import locate
from PartialOrganSegLib.training.best_figures import BestFigures
from PartialOrganSegLib.training.frozen_members import FrozenMembers
from Testing.helpers.training_data import blocks, write_image

RUN = label_space_of_names("run", ["liver", "spleen", "left_kidney", "colon", "aorta"])
LICENCES = {"code": "Apache-2.0", "weights": "none, random", "data": "none"}


@pytest.fixture(scope="module")
def joined(tmp_path_factory) -> Bundle:
    """liver, spleen and heart of the first, left_kidney of the second, colon of the one that learns."""
    folder = tmp_path_factory.mktemp("joined")
    bundles = []
    for seed, (name, organs, mm) in enumerate((("first", ["heart", "spleen", "liver"], (2.5, 2.0, 2.0)),
                                               ("second", ["left_kidney", "spleen"], (3.5, 3.0, 3.0)),
                                               ("last", ["colon", "liver"], (3.0, 2.0, 2.0)))):
        torch.manual_seed(seed)
        space = label_space_of_names(name, organs)
        network = build_network("light_unet", 1, space.class_count, channels=[8, 8])
        with torch.no_grad():
            # Random networks are unsure of everything: larger logits give classes to compare.
            network.head.weight *= 6
        bundles.append(write_bundle(folder / name, network, "light_unet", {"channels": [8, 8]}, space,
                                    Preprocessing(mm, (-300.0, 500.0), 60.0, 150.0, (8, 16, 16)), name, "1", LICENCES,
                                    [], {}, name))
    return join_bundles(folder / "joined", bundles, "joined",
                        organs=[["heart", "spleen", "liver"], ["left_kidney"], ["colon"]])


def members_of(joined: Bundle, folder: Path) -> FrozenMembers:
    return FrozenMembers(joined, RUN, torch.device("cpu"), folder)


def test_the_division_before_and_after(joined, tmp_path):
    members = members_of(joined, tmp_path)
    assert members.before.frozen == (("heart", "spleen", "liver"), ("left_kidney",))
    assert members.before.trained == ("colon",)
    after = members.after(["spleen", "left_kidney"])
    assert after.frozen == (("liver",), ())  # the run has no heart
    assert after.trained == ("spleen", "left_kidney", "colon", "aorta")
    assert [(member.bundle.name, member.organs) for member in members.keeping(after)] == [("first", ("liver",))]
    assert members.owners == {"spleen": "first", "liver": "first", "left_kidney": "second"}


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), retrained=st.sets(st.sampled_from(["liver", "spleen", "left_kidney"])),
       before=st.booleans())
def test_labels_are_the_likeliest_of_the_stated_probabilities(joined, seed, retrained, before):
    """Against the formula in the docstring of `models.joined`, stated anew voxel by voxel."""
    generator = np.random.default_rng(seed)
    members = members_of(joined, Path())
    division = members.before if before else members.after(retrained)
    shape, organs = (3, 2, 4), [["heart", "spleen", "liver"], ["left_kidney"]]
    first = generator.dirichlet([1, 1, 1, 1], 24)[:, 1:]
    second = generator.dirichlet([1, 1], 24)[:, 1:]
    answers = np.concatenate([first, second], 1).astype(np.float16)
    # Only voxels of which a member says anything are stored.
    silent = generator.random(24) < 0.3  # voxels of which the frozen members say nothing
    answers[silent] = 0
    logits = generator.normal(0, 2, (24, 6)).astype(np.float32)
    places = np.flatnonzero(~silent)
    members._predictions = lambda cached, slices: (places, answers[places])
    labels = members.combine(None, slice(0, 3), torch.from_numpy(logits).reshape(*shape, 6), division).ravel()
    for voxel in range(24):
        remaining, probabilities = 1.0, {}
        for names, say, values in zip(organs, division.frozen, (answers[voxel, :3], answers[voxel, 3:]), strict=True):
            chosen = {name: float(value) for name, value in zip(names, values, strict=True) if name in say}
            probabilities |= {name: remaining * value for name, value in chosen.items()}
            remaining *= 1 - sum(chosen.values())
        q = np.exp(logits[voxel].astype(float))
        q /= q.sum()
        learnt = {name: q[RUN.index(name)] for name in division.trained}
        probabilities |= {name: remaining * value for name, value in learnt.items()}
        probabilities["background"] = remaining * (1 - sum(learnt.values()))
        assert sum(probabilities.values()) == pytest.approx(1)
        best = max(probabilities, key=probabilities.__getitem__)
        runner_up = sorted(probabilities.values())[-2]
        # Half precision may exchange two classes that are this close.
        if probabilities[best] - runner_up > 1e-3:
            assert labels[voxel] == (RUN.index(best) if best in RUN.names else 0)


@pytest.mark.parametrize("flipped", [False, True])
def test_a_case_is_asked_once_by_the_engine(joined, tmp_path, flipped):
    """The values are those of the engine at the working voxels' places in the patient, whatever the file's axes."""
    image, labels = blocks(0, (14, 26, 22))
    grid = Grid((22, 26, 14), (1.5, 1.6, 4.0), (3.0, -7.0, 11.0))
    if flipped:
        grid = Grid(grid.size, grid.spacing, grid.origin, (-1.0, 0, 0, 0, 1.0, 0, 0, 0, -1.0))
    paths = [write_image(tmp_path / f"{name}.nii.gz", array, grid) for name, array in (("a", image), ("b", labels))]
    case = Case("a", "a", "set", paths[0], Kind.PARTIAL, paths[1], annotated=("liver", "spleen", "left_kidney"))
    cached = cache_cases([case], RUN, CandidateTable(6), (3.0, 2.0, 2.0), tmp_path / "cache", Reporter())[0]
    members = members_of(joined, tmp_path / "cache")
    all_slices = slice(0, cached.image().shape[0])
    places, values = members._predictions(cached, all_slices)
    assert len(list((tmp_path / "cache").glob("*.members.npz"))) == 1
    dense = np.zeros((cached.image().size, 4), np.float16)
    dense[places] = values
    canonical = read_ct(paths[0], force=True).canonical()
    shape, sizes = np.array(cached.image().shape), np.array(canonical.array.shape)
    to_patient = np.zeros((4, 4))  # (z, y, x, 1) of a voxel's middle, by the edges that both grids share
    for axis in range(3):
        unit = np.eye(4)[2 - axis]
        to_patient[:, axis] = (canonical.grid.matrix @ unit) * sizes[axis] / shape[axis]
    native = ((0 + 0.5) * sizes / shape - 0.5)[::-1]
    to_patient[:, 3] = canonical.grid.matrix @ [*native, 1]
    patient = locate(canonical, {})
    expected = []
    for member in joined.members[:-1]:
        predictor = MemberPredictor(member, torch.device("cpu"))
        planes = predictor.probabilities(patient, to_patient, tuple(shape), {}, Reporter())
        expected.append(np.stack([plane.float().numpy() for plane in planes]))
    np.testing.assert_allclose(dense, np.concatenate(expected, -1).reshape(-1, 4), atol=6e-3)
    assert dense.max() > 0.5
    members._predict = None  # a second time it is read
    assert np.array_equal(members._predictions(cached, all_slices)[1], values)


class ReadsTheCT:
    """In place of a network: what it has of a voxel says the HU at the voxel's place in the patient."""

    def __init__(self, member, device) -> None:
        self.organs = member.organs

    def probabilities(self, patient, to_patient, shape, seconds, reporter):
        ct = patient.canonical
        index = np.stack([*np.indices(shape), np.ones(shape)]).reshape(4, -1)
        places = (np.linalg.inv(ct.grid.matrix) @ to_patient @ index)[2::-1]
        hu = ndimage.map_coordinates(ct.array.astype(float), places, order=1, mode="nearest").reshape(shape)
        return torch.from_numpy((hu + 1100) / 3000)[..., None].expand(*shape, len(self.organs))


@pytest.mark.parametrize("depth", [30, 17])
@pytest.mark.parametrize("slices", [slice(0, 30), slice(4, 21)])
def test_a_part_is_asked_about_its_part(joined, tmp_path, monkeypatch, slices, depth):
    image = np.broadcast_to(np.linspace(-200, 800, depth)[:, None, None], (depth, 26, 22)).astype(np.int16)
    labels = np.broadcast_to((np.arange(depth) > 8)[:, None, None], image.shape).astype(np.uint8)
    grid = Grid((22, 26, depth), (2.0, 2.0, 90 / depth), (5.0, -3.0, -60.0))
    paths = [write_image(tmp_path / f"{name}.nii.gz", array, grid) for name, array in (("a", image), ("b", labels))]
    case = Case("a", "a", "set", paths[0], Kind.PARTIAL, paths[1], annotated=("liver",))
    cached = cache_cases([case], RUN, CandidateTable(6), (3.0, 2.0, 2.0), tmp_path / "cache", Reporter())[0]
    monkeypatch.setattr("PartialOrganSegLib.training.frozen_members.MemberPredictor", ReadsTheCT)
    places, values = members_of(joined, tmp_path / "cache")._predictions(cached, slices)
    # HU that rise slice by slice say which slice of the CT a value was read from.
    expected = cached.image()[slices].astype(float)
    assert len(places) == expected.size
    hu = (values[:, 0].astype(float) * 3000 - 1100).reshape(expected.shape)
    np.testing.assert_allclose(hu[1:-1], expected[1:-1], atol=4)  # at the cut, a coarse CT's slice ends


def test_retained_organs_never_count_as_worse():
    best = BestFigures(before={"liver": 0.9, "colon": 0.5}, half=("liver", "colon"), tolerated_loss=0.02,
                       retained=("liver",))
    assert best.rank({"liver": 0.2, "colon": 0.6}) == (True, True, pytest.approx(0.75))
    worse = BestFigures(before=best.before, half=best.half, tolerated_loss=0.02)
    assert worse.rank({"liver": 0.2, "colon": 0.6})[0] is False
    assert best.rank({"liver": 0.95, "colon": 0.5}) == (True, True, pytest.approx(0.725))


def test_networks_are_let_go_of(joined, tmp_path):
    members = members_of(joined, tmp_path)
    members._predictors = [SimpleNamespace()]
    members.release()
    assert members._predictors == []
