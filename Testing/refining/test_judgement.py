"""The network that judges what a stroke points at: its evidence means what it says, its answer is a perceptron's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from PartialOrganSegLib.evaluation.metrics import dice
from PartialOrganSegLib.imaging.volume import Grid, Volume
from PartialOrganSegLib.organs import WORD16
from PartialOrganSegLib.refining import judgement
from PartialOrganSegLib.refining.evidence import LONGEST_WAY_MM, NAMES, candidates, table_of
from PartialOrganSegLib.refining.neighbourhood import NOT_DRAWN, Neighbourhood, Region
from PartialOrganSegLib.refining.rule import Rule
from PartialOrganSegLib.refining.session import RefineSession
from Testing.helpers.stroke_scenes import SPLEEN

SPACING = (2.0, 2.0, 2.0)
SHAPE = (20, 40, 50)


def place_of(hu: np.ndarray, labels: np.ndarray | None = None, value: int = SPLEEN,
             stroke: tuple[slice, slice, slice] = (slice(10, 11), slice(20, 21), slice(10, 13))) -> Neighbourhood:
    """A stroke in a region of 2 mm voxels, all of which may change."""
    labels = np.zeros(SHAPE, np.uint8) if labels is None else labels
    mask = np.zeros(SHAPE, bool)
    mask[stroke] = True
    region = Region(hu.astype(np.float32), labels, np.where(mask, value, NOT_DRAWN).astype(np.uint8),
                    np.ones(SHAPE, bool), SPACING)
    return Neighbourhood(region, mask, value, (1, 1, 1), SPACING)


def evidence(place: Neighbourhood) -> dict[str, np.ndarray]:
    """(z, y, x) by name, NaN where nothing is said."""
    chosen = candidates(place)
    table = table_of(place, Rule(place), chosen)
    columns = {}
    for number, name in enumerate(NAMES):
        columns[name] = np.full(SHAPE, np.nan, np.float32)
        columns[name][chosen] = table[:, number]
    return columns


def soft_tissue() -> np.ndarray:
    return np.random.default_rng(0).normal(50, 5, SHAPE)


def test_a_way_is_as_long_as_the_distance_in_one_tissue_and_longer_across_a_wall():
    hu = soft_tissue()
    way = evidence(place_of(hu))["way"] * LONGEST_WAY_MM
    assert way[10, 20, 30] == pytest.approx(36, rel=0.25)  # 18 voxels of 2 mm; noise is an edge now and then
    hu[:, :, 20:23] = -90
    assert evidence(place_of(hu))["way"][10, 20, 30] * LONGEST_WAY_MM > 1.5 * way[10, 20, 30]


def test_off_plane_is_the_distance_from_the_stroke_s_own_slice_in_any_plane():
    axial = evidence(place_of(soft_tissue()))["off_plane"][:, :, :20] * 60  # farther on nothing is said
    np.testing.assert_allclose(axial[16], 12, rtol=1e-5)
    assert axial[10].max() == 0
    sagittal = (slice(5, 15), slice(15, 25), slice(10, 11))
    away = evidence(place_of(soft_tissue(), stroke=sagittal))["off_plane"][:, 5:35] * 60
    np.testing.assert_allclose(away[:, :, 14], 8, rtol=1e-5)


def test_what_looks_like_the_stroke_is_less_off_it():
    hu = soft_tissue()
    hu[:, :, 30:] = 120
    columns = evidence(place_of(hu))
    for name in ("hu", "blurred_hu"):
        assert np.nanmean(columns[name][:, :, 36:]) > np.nanmean(np.abs(columns[name][:, :, :24])) + 1
    assert np.nanmean(columns["likeness_to_stroke"][:, :, 36:]) < np.nanmean(columns["likeness_to_stroke"][:, :, :24])


def test_an_organ_s_voxels_are_not_asked_about_and_its_border_is_near():
    labels = np.zeros(SHAPE, np.uint8)
    labels[4:16, 10:30, 20:40] = SPLEEN
    columns = evidence(place_of(soft_tissue(), labels))
    assert np.isnan(columns["organ_near"][labels == SPLEEN]).all()
    assert columns["organ_distance"][10, 20, 19] * 30 == pytest.approx(2)
    assert columns["organ_near"][10, 20, 19] > columns["organ_near"][10, 20, 5]


def test_of_every_voxel_all_is_finite():
    for hu in (soft_tissue(), np.zeros(SHAPE), np.full(SHAPE, 3000.0)):
        place = place_of(hu)
        assert np.isfinite(table_of(place, Rule(place), candidates(place))).all()


def test_the_network_is_a_perceptron_on_clipped_evidence():
    network = judgement.network()
    table = np.random.default_rng(1).normal(0, 3, (judgement.ROWS + 10, len(NAMES))).astype(np.float32)
    values = torch.from_numpy(np.clip(table, network.lowest, network.highest) - network.mean)
    values = values / torch.from_numpy(network.deviation)
    for number, (weight, bias) in enumerate(network.layers):
        values = torch.relu(values) if number else values
        values = torch.nn.functional.linear(values, torch.from_numpy(weight), torch.from_numpy(bias))
    np.testing.assert_allclose(network.log_odds(table), values[:, 0].numpy(), rtol=2e-3, atol=2e-3)
    assert network.log_odds(table[:0]).shape == (0,)


def test_weights_for_other_evidence_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from safetensors.numpy import save_file

    file = tmp_path / "judgement.safetensors"
    save_file({"lowest": np.zeros(1, np.float32)}, file, metadata={"evidence": "distance"})
    monkeypatch.setattr(judgement, "resource", lambda *parts: file)
    with pytest.raises(ValueError, match="found those for distance"):
        judgement.network.__wrapped__()


def test_a_short_stroke_in_a_thick_error_finds_more_of_it_than_by_the_rule_alone(monkeypatch: pytest.MonkeyPatch):
    ct, truth = thick_organ()
    start = np.where(np.arange(60)[None, None, :] < 24, truth, 0).astype(np.uint8)
    drawn = np.full(truth.shape, NOT_DRAWN, np.uint8)
    drawn[12, 30, 36:40] = SPLEEN

    def after() -> float:
        session = RefineSession(ct, Volume(start, ct.grid), WORD16)
        return dice(session.add(Volume(drawn, ct.grid)).labels.array == SPLEEN, truth == SPLEEN)

    both = after()
    monkeypatch.setattr(judgement, "LEARNED_SHARE", 0.0)
    assert both > after() + 0.05


def test_a_thin_organ_is_judged_by_the_rule_alone():
    labels = np.zeros(SHAPE, np.uint8)
    labels[:, :, 30] = SPLEEN
    place = place_of(soft_tissue(), labels)
    assert place.surroundings.half_thickness < judgement.THIN_MM
    np.testing.assert_array_equal(judgement.share_error(place), Rule(place).probability)


def thick_organ() -> tuple[Volume, np.ndarray]:
    """An ellipsoid of 60 mm and more, brighter than the fat around it."""
    grid = Grid((60, 60, 24), (2.0, 2.0, 3.0))
    z, y, x = np.meshgrid(*(np.arange(n) * mm for n, mm in zip((24, 60, 60), (3.0, 2.0, 2.0), strict=True)),
                          indexing="ij")
    inside = ((z - 36) / 30) ** 2 + ((y - 60) / 40) ** 2 + ((x - 60) / 50) ** 2 <= 1
    hu = np.where(inside, 90.0, -90.0) + np.random.default_rng(0).normal(0, 15, inside.shape)
    return Volume(hu.round().astype(np.int16), grid), np.where(inside, SPLEEN, 0).astype(np.uint8)


@pytest.mark.parametrize(("share", "asked"), [(0.1, False), (0.5, True)])
def test_an_organ_that_is_missing_as_a_whole_is_judged_by_the_rule_alone(share: float, asked: bool):
    ct, truth = thick_organ()
    labels = np.where(truth == SPLEEN, 0, truth).astype(np.uint8)
    labels[:, :, :30][truth[:, :, :30] == SPLEEN] = SPLEEN
    stroke = np.zeros(labels.shape, bool)
    stroke[12, 30, 36:40] = True
    region = Region(ct.array, labels, np.where(stroke, SPLEEN, NOT_DRAWN).astype(np.uint8), labels == 0,
                    (3.0, 2.0, 2.0), log_volumes=(float(np.log(share)), 0.0))
    place = Neighbourhood(region, stroke, SPLEEN, (1, 1, 1), (3.0, 2.0, 2.0))
    assert np.array_equal(judgement.share_error(place), Rule(place).probability) != asked
