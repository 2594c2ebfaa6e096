"""Labels that a network gives itself: what is doubtful, or said otherwise by another network, stays unknown."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from PartialOrganSegLib.organs import label_space_of_names
from Testing.helpers.repository import import_script

SCRIPT = import_script("self_training", "embedded")


def test_the_doubtful_fifth_of_each_organ_is_below_its_bound() -> None:
    labels = np.array([1] * 10 + [2] * 5 + [0] * 5, np.uint8)
    confidence = np.concatenate([np.linspace(0.6, 0.99, 10), np.full(5, 0.4), np.full(5, 0.8)]).astype(np.float32)
    bound = SCRIPT.bounds([labels], [confidence], 4)
    assert (confidence[:10] < bound[1]).sum() == 2
    # An organ of which nothing is sure has the least bound, as one that was never found.
    assert bound[2] == bound[3] == SCRIPT.LEAST_BOUND
    assert bound[0] == SCRIPT.BACKGROUND_BOUND


def test_doubtful_voxels_and_two_organs_for_one_voxel_are_unknown() -> None:
    labels = np.array([1, 1, 1, 0, 0, 2], np.uint8)
    confidence = np.array([0.9, 0.6, 0.9, 0.95, 0.7, 0.9], np.float32)
    second = np.array([1, 1, 2, 1, 0, 0], np.uint8)
    kept = SCRIPT.bounded(labels, confidence, [0.9, 0.8, 0.8], second)
    # Whether there is an organ at all the second network has no say in.
    assert kept.tolist() == [1, 255, 255, 0, 255, 2]


def test_an_organ_of_another_network_is_one_of_ours_or_all_else() -> None:
    other = SimpleNamespace(label_space=label_space_of_names("other", ["liver", "colon", "spleen"]))
    probability = np.array([[0.4, 0.1], [0.3, 0.1], [0.3, 0.2], [0.0, 0.6]], np.float32)
    # The first voxel is background or colon before it is liver.
    assert SCRIPT.of_organs(probability, other, ["liver", "spleen"]).tolist() == [0, 2]
