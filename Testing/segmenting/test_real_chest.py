"""The embedded model in CTs of a chest, which it never learnt from: nothing of abdomen or pelvis in the chest."""

from __future__ import annotations

import pytest

import PartialOrganSegLib as pos
from PartialOrganSegLib.segmenting.check_kinds import CheckKind
from Testing.helpers.real_data import real_data_path


@pytest.mark.parametrize("name", ["totalseg_pulmonary_crop", "totalseg_aorta_crop"])
def test_no_organ_of_the_abdomen_lies_in_the_chest(name: str) -> None:
    [image] = real_data_path("ct", name).glob("image.*")
    result = pos.segment(image)
    # The liver's upper part is in both: a result without it would be right for no reason.
    assert result.organs["liver"].volume_ml > 200
    strays = []
    for organ, report in result.organs.items():
        for check in report.checks:
            if check.kind is CheckKind.STRAY_COMPONENT:
                strays.append((organ, check.value, check.detail))
    assert strays == []
