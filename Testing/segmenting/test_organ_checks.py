"""Checks name what is unusual and stay silent about what is not."""

import json

import numpy as np
import pytest

from PartialOrganSegLib.imaging.volume import AxisOrder, Grid, Volume
from PartialOrganSegLib.organ_records import Volumes
from PartialOrganSegLib.organs import WORD16
from PartialOrganSegLib.segmenting import organ_checks as checks
from PartialOrganSegLib.segmenting.check_kinds import CheckKind, OrganCheck, Place
from PartialOrganSegLib.segmenting.organ_checks import check_organs

SHIPPED = checks.usual_volumes
GRID = Grid((100, 80, 60), (2.0, 2.0, 3.0))


@pytest.fixture(autouse=True)
def usual(monkeypatch: pytest.MonkeyPatch) -> None:
    """Volumes of this test's own, so that shipped figures may change."""
    figures = Volumes(mean=120.0, std=40.0, min=50.0, p5=60.0, p95=200.0, max=300.0)
    monkeypatch.setattr(checks, "usual_volumes", lambda: {name: figures for name in WORD16.names})


def labelled(**boxes: tuple[int, int, int, int]) -> Volume:
    """`name=(z, y, x, side)` cubes; a trailing digit tells several of one organ apart."""
    array = np.zeros(GRID.shape, np.uint8)
    for name, (z, y, x, side) in boxes.items():
        array[z:z + side, y:y + side, x:x + side] = WORD16.index(name.rstrip("0123456789"))
    return Volume(array, GRID)


def report(labels: Volume, organ: str, **entropy: float) -> checks.OrganReport:
    return next(r for r in check_organs(labels, WORD16, entropy) if r.organ == organ)


def texts(labels: Volume, organ: str, **entropy: float) -> list[str]:
    return [check.text() for check in report(labels, organ, **entropy).checks]


def test_usual_organ_is_silent_and_measured() -> None:
    liver = report(labelled(liver=(10, 10, 10, 20)), "liver", liver=0.1)
    assert liver.checks == []
    assert liver.volume_ml == pytest.approx(20**3 * 12 / 1000)
    assert (liver.components, liver.entropy) == (1, 0.1)


def test_absent_organ() -> None:
    spleen = report(labelled(), "spleen")
    assert (spleen.volume_ml, spleen.components) == (0.0, 0)
    assert spleen.checks == [OrganCheck(CheckKind.NOT_FOUND, "spleen")]
    assert texts(labelled(), "spleen") == ["not found"]


@pytest.mark.parametrize(("side", "text_start"), [(26, "large: 211 ml, usual 60-200 ml"), (32, "very large"),
                                            (17, "small"), (10, "very small")])
def test_unusual_volume(side: int, text_start: str) -> None:
    assert any(text.startswith(text_start) for text in texts(labelled(liver=(10, 10, 10, side)), "liver"))


@pytest.mark.parametrize("place", [(0, 10, 10), (10, 0, 10), (10, 10, 0), (50, 10, 10)])
def test_cut_by_the_border_explains_a_small_volume(place: tuple[int, int, int]) -> None:
    assert texts(labelled(liver=(*place, 10)), "liver") == ["touches the image border: may be cut off"]


def test_parts_and_specks() -> None:
    assert "2 separate parts" in texts(labelled(liver1=(5, 5, 5, 18), liver2=(30, 40, 60, 15)), "liver")
    assert report(labelled(liver1=(5, 5, 5, 20), liver2=(30, 40, 60, 2)), "liver").components == 1


def test_swapped_sides_in_any_axis_order() -> None:
    right = labelled(left_kidney=(10, 10, 70, 18), right_kidney=(10, 10, 10, 18))
    wrong = labelled(left_kidney=(10, 10, 10, 18), right_kidney=(10, 10, 70, 18))
    order = AxisOrder((2, 0, 1), (True, False, True))
    for volume, expected in ((right, False), (wrong, True)):
        grid = order.canonical_grid(volume.grid)
        for version in (volume, Volume(order.to_canonical(volume.array), grid)):
            for organ in ("left_kidney", "right_kidney"):
                assert any("swapped" in text for text in texts(version, organ)) == expected


def test_uncertainty() -> None:
    assert any("uncertain" in text for text in texts(labelled(liver=(10, 10, 10, 20)), "liver", liver=1.2))


def test_checks_are_data() -> None:
    assert report(labelled(liver=(10, 10, 10, 26)), "liver").checks == [
        OrganCheck(CheckKind.LARGE, "liver", pytest.approx(210.912), 60.0, 200.0)]
    swapped = report(labelled(left_kidney=(10, 10, 10, 18), right_kidney=(10, 10, 70, 18)), "left_kidney")
    assert swapped.checks == [OrganCheck(CheckKind.SIDE_SWAPPED, "left_kidney", detail="right_kidney")]
    unsure = report(labelled(liver=(10, 10, 10, 20)), "liver", liver=1.2)
    assert unsure.checks == [OrganCheck(CheckKind.UNCERTAIN, "liver", 1.2, 0, 0.7)]


def test_an_event_has_the_checks_as_text_and_as_data() -> None:
    liver = report(labelled(liver=(0, 10, 10, 26)), "liver")
    event = json.loads(json.dumps(liver.as_event()))
    assert event["checks"] == "touches the image border: may be cut off; large: 211 ml, usual 60-200 ml"
    assert [(check["kind"], check["organ"], check["low"], check["high"]) for check in event["checks_data"]] == [
        ("touches_border", "liver", None, None), ("large", "liver", 60.0, 200.0)]
    assert "; ".join(check["text"] for check in event["checks_data"]) == event["checks"]
    assert list(liver.as_row()) == ["organ", "volume_ml", "components", "checks", "entropy"]


def test_every_kind_has_a_text() -> None:
    for kind in CheckKind:
        # Tables join the texts of several checks by "; ", so that no text may hold one.
        for detail in Place if kind is CheckKind.STRAY_COMPONENT else ["left_kidney"]:
            text = OrganCheck(kind, "liver", 2.0, 1.0, 3.0, str(detail)).text()
            assert text
            assert "; " not in text
            assert "_" not in text


def test_shipped_figures_cover_the_label_space() -> None:
    figures = SHIPPED()
    assert set(figures) == set(WORD16.names)
    assert all(f.min <= f.p5 < f.p95 <= f.max for f in figures.values())
