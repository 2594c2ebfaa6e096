"""How many actions of a user the two walks take that an oncologist and an annotator make most."""

from types import SimpleNamespace

import pytest
import slicer
from panel_helpers.walks import Walk, to_a_better_model, to_the_plan


@pytest.fixture
def walk(make_panel, until, tmp_path, monkeypatch):
    one = Walk(make_panel, until, tmp_path)

    def know_dicom(file):
        database = SimpleNamespace(fileForInstance=lambda _uid: str(file))
        monkeypatch.setattr(slicer, "dicomDatabase", database, raising=False)

    one.know_dicom = know_dicom
    return one


def test_from_a_ct_to_an_rt_structure_set(walk):
    assert len(to_the_plan(walk)) <= 8, walk.actions


def test_from_strokes_to_a_better_model(walk):
    assert len(to_a_better_model(walk)) <= 9, walk.actions
