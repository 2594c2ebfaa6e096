"""What `refine` left in the folder that is learnt from: strokes mean the organs that they were drawn for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from PartialOrganSegLib.cli import main
from PartialOrganSegLib.models.bundle import Bundle
from Testing.helpers.finetune_data import write_start
from Testing.helpers.learn_folder import known_voxels, plan_of, problems_of, said, write_patient, write_stroke_file

SPLEEN = 2  # as `write_patient` numbers it


@pytest.fixture
def swapped(tmp_path: Path) -> Bundle:
    """A model that numbers the organs otherwise than the one that will learn."""
    return write_start(tmp_path / "vertauschtes Mödell", ("spleen", "left_kidney", "liver"))


@pytest.fixture
def labels(tmp_path: Path, swapped: Bundle) -> np.ndarray:
    """Of a CT that was corrected with the `swapped` model, the results beside it."""
    patient = tmp_path / "cts" / "Müller 1"
    labels = write_patient(patient, 0)
    strokes = write_stroke_file(tmp_path / "s.json", labels, "image.nii.gz", {"spleen": SPLEEN})
    assert main(["refine", str(patient / "image.nii.gz"), "--strokes", str(strokes), "-o", str(patient), "--no-preview",
                 "--model", str(swapped.folder)]) == 0
    return labels


@pytest.mark.parametrize("has_table", [True, False])
def test_strokes_keep_the_organs_of_the_model_they_were_drawn_for(labels: np.ndarray, tmp_path: Path,
                                                                  has_table: bool) -> None:
    table = tmp_path / "cts" / "Müller 1" / "image.scribble.csv"
    assert table.read_text("utf-8").split() == ["value,organ", "1,spleen", "2,left_kidney", "3,liver"]
    if not has_table:  # as earlier versions left them
        table.unlink()
    for label_map in (None, "1=left_kidney,2=liver"):  # that of masks says nothing of strokes
        plan = plan_of(tmp_path / "cts", label_map=label_map)
        assert said(plan) == {"Müller 1": ("scribble", ("spleen",))}
        known = known_voxels(plan, "Müller 1")
        assert known["spleen"].any()
        assert not (known["spleen"] & (labels != SPLEEN)).any()
        assert set(known) == {"spleen"}


def test_the_labels_of_before_a_correction_teach_nothing(labels: np.ndarray, tmp_path: Path) -> None:
    plan = plan_of(tmp_path / "cts", label_map="1=spleen,2=left_kidney,3=liver")
    assert any("image.before.labels.nii.gz: of before a correction" in line for line in problems_of(plan))
    (tmp_path / "cts" / "Müller 1" / "image.scribble.nii.gz").unlink()
    (tmp_path / "s.json").rename(tmp_path / "cts" / "Müller 1" / "s.json")
    plan = plan_of(tmp_path / "cts", label_map="1=spleen,2=left_kidney,3=liver")
    assert said(plan) == {"Müller 1": ("scribble", ("spleen",))}
