"""Several networks as one model: each has the say of its own organs, whatever grid it works on."""

from __future__ import annotations

import itertools
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from PartialOrganSegLib.events import Reporter
from PartialOrganSegLib.imaging.volume import Grid, Volume
from PartialOrganSegLib.models.bundle import Bundle, Member, Preprocessing
from PartialOrganSegLib.organs import label_space_of_names
from PartialOrganSegLib.segmenting.joined import JoinedPredictor
from PartialOrganSegLib.segmenting.predictor import Predictor
from Testing.helpers.three_boxes import LEVELS, centred, three_boxes


class Threshold(torch.nn.Module):
    """A hand-made network with a known answer: the class whose intensity is nearest to the voxel's."""

    size_multiple = (4, 4, 4)

    def __init__(self, levels: list[float]) -> None:
        super().__init__()
        self.levels = torch.tensor(levels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return -((x - self.levels.view(1, -1, 1, 1, 1)).abs() * 20).clamp(max=30)


def network_of(folder: Path, name: str, organs: dict[str, float], spacing: tuple[float, float, float]) -> Bundle:
    """A bundle whose network calls what lies near `organs[name]` HU that organ."""
    # A bundle of this test has no file of weights: its network is the function above.
    class HandMadeBundle(Bundle):
        def load_network(self, device="cpu"):
            return Threshold([0.0, *(hu / 1000 for hu in organs.values())])

    return HandMadeBundle(folder, name, SimpleNamespace(), label_space_of_names(name, list(organs)),
                Preprocessing(spacing, (-1000.0, 1000.0), 0.0, 1000.0, (16, 32, 32)), "threshold", {})


def joined_of(folder: Path, *members: tuple[Bundle, tuple[str, ...]]) -> Bundle:
    space = label_space_of_names("joined", [organ for _, organs in members for organ in organs])
    return Bundle(folder, "joined", SimpleNamespace(), space, members[-1][0].preprocessing, "threshold", {},
                  members=tuple(Member(bundle, organs) for bundle, organs in members))


@pytest.mark.parametrize("degrees", [0.0, 4.0, 25.0])
@pytest.mark.parametrize("spacings", [((4.0, 4.0, 4.0),) * 2, ((4.0, 4.0, 4.0), (6.0, 5.0, 5.0)),
                                      ((6.0, 5.0, 5.0), (3.0, 4.0, 4.0))])
def test_each_network_has_the_say_of_its_organs(tmp_path, spacings, degrees):
    """The second network calls the liver a spleen, and is not asked; coarse voxels cost boxes of 36 mm their rims."""
    first = network_of(tmp_path, "first", {"liver": LEVELS["liver"], "spleen": LEVELS["spleen"]}, spacings[0])
    second = network_of(tmp_path, "second", {"spleen": LEVELS["liver"], "left_kidney": LEVELS["left_kidney"]},
                        spacings[1])
    ct, truth = three_boxes(centred((64, 48, 40), (4.0, 4.0, 4.0), degrees))
    bundle = joined_of(tmp_path, (first, ("liver",)), (second, ("left_kidney",)))
    prediction = Predictor(bundle, "cpu").predict(ct)
    # Of the three boxes, the first network's liver and the second's kidney; the spleen is no organ of either.
    expected = np.select([truth == 1, truth == 3], [1, 2])
    assert prediction.labels.grid is ct.grid
    for value in (1, 2):
        ours, theirs = prediction.labels.array == value, expected == value
        assert 2 * (ours & theirs).sum() / (ours.sum() + theirs.sum()) > 0.72
        centres = [np.mean(np.nonzero(mask), 1) for mask in (ours, theirs)]
        # Half a voxel: an origin that is off by one of either grid's voxels would show.
        np.testing.assert_allclose(*centres, atol=0.5)
    assert set(prediction.entropy) == {"liver", "left_kidney"}


def test_probabilities_are_shared_out_by_candidate_sets(tmp_path, monkeypatch):
    """Against the formula in the docstring of `models.joined`, stated anew."""
    generator = np.random.default_rng(0)
    ct, _ = three_boxes(centred((32, 24, 16), (4.0, 4.0, 4.0)))
    first = network_of(tmp_path, "first", {"liver": 1, "spleen": 2}, (4.0, 4.0, 4.0))
    second = network_of(tmp_path, "second", {"spleen": 1, "colon": 2, "bladder": 3}, (4.0, 4.0, 4.0))
    bundle = joined_of(tmp_path, (first, ("liver", "spleen")), (second, ("colon", "bladder")))
    method = JoinedPredictor(bundle, torch.device("cpu"), False, (1.0,))
    joined = {}
    monkeypatch.setattr("PartialOrganSegLib.segmenting.joined.finish",
                        lambda scores, *_: (joined.update(scores=scores), {}))
    logits = []
    for member, classes in zip(method._members, (3, 4), strict=True):
        def scores(patient, frame, seconds, reporter, classes=classes):
            logits.append(torch.from_numpy(generator.normal(0, 2, (*frame.shape, classes))).half())
            return logits[-1].clone()

        monkeypatch.setattr(member.method, "scores", scores)
    method.segment(ct, np.arange(5, dtype=np.uint8), {}, Reporter())
    # Softmax in float64 of the scores that the two networks gave, in the order asked.
    p, q = (np.exp(x.double().numpy()) / np.exp(x.double().numpy()).sum(-1, keepdims=True) for x in logits)
    no_organ = p[..., 0]  # {background, colon, bladder} of the first
    expected = np.stack([no_organ * (q[..., 0] + q[..., 1]), p[..., 1], p[..., 2], no_organ * q[..., 2],
                         no_organ * q[..., 3]], -1)
    np.testing.assert_allclose(expected.sum(-1), 1)
    sparse = joined["scores"]
    scores_of_all = sparse.table[torch.from_numpy(sparse.row_of).long()]
    np.testing.assert_allclose(np.exp(scores_of_all.double().numpy()), expected, atol=4e-3)


def test_orders_of_every_axis_agree(tmp_path):
    """The same voxels listed in another order get the same labels."""
    first = network_of(tmp_path, "first", {"liver": LEVELS["liver"]}, (4.0, 4.0, 4.0))
    second = network_of(tmp_path, "second", {"left_kidney": LEVELS["left_kidney"]}, (6.0, 5.0, 5.0))
    predictor = Predictor(joined_of(tmp_path, (first, ("liver",)), (second, ("left_kidney",))), "cpu")
    ct, _ = three_boxes(centred((64, 48, 40), (4.0, 4.0, 4.0)))
    expected = predictor.predict(ct).labels
    # Each voxel order, once as stored and once with its first axis running backwards.
    for axes, flip in itertools.product(((0, 2, 1), (2, 1, 0), (1, 2, 0)), (False, True)):
        array = ct.array.transpose(axes)
        matrix = ct.grid.matrix[:3, :3][:, ::-1][:, list(axes)]
        origin = ct.grid.matrix[:3, 3].copy()
        if flip:
            origin += matrix[:, 0] * (array.shape[0] - 1)
            matrix[:, 0] *= -1
            array = array[::-1]
        spacing = np.linalg.norm(matrix, axis=0)
        grid = Grid(array.shape[::-1], tuple(spacing[::-1]), tuple(origin),
                    tuple((matrix / spacing)[:, ::-1].ravel()))
        labels = predictor.predict(Volume(np.ascontiguousarray(array), grid)).labels.array
        expected_labels = expected.array.transpose(axes)[::-1 if flip else 1]
        assert (labels == expected_labels).mean() > 0.9999
