"""Cases come from a folder, from files and from the DICOM database; none is taken unasked, none twice."""

import numpy as np
import pydicom
import pytest
import slicer
import slicer.util
from panel_helpers.list_user import ListUser
from panel_helpers.scenes import phantom
from PartialOrganSegPanel.scene.ct_identity import CtIdentity, ct_identity
from PartialOrganSegPanel.shell.work_list import IMAGE_ENDINGS, chosen_list, images_in
from PartialOrganSegPanel.worklist.dicom_series import ct_series

from Testing.helpers.dicom_files import write_slices
from Testing.helpers.real_data import REAL_DATA

REAL_SERIES = REAL_DATA / "dicom" / "ct_20slices"


@pytest.fixture
def user(make_panel, until, tmp_path):
    """A folder with two patients' CTs, none of them on the list."""
    made = ListUser(make_panel, until, tmp_path / "Für die Planung")
    for name, seed in (("a", 3), ("b", 4)):
        made.write_ct(name, seed)
    return made


@pytest.fixture
def dicom_database(tmp_path, monkeypatch):
    """Slicer's database on the DICOM files of a folder, which is given."""
    dicom_database = pytest.importorskip("dicom_database", reason="a real Slicer has a database of its own")
    folder = tmp_path / "dicom"
    folder.mkdir()
    monkeypatch.setattr(slicer, "dicomDatabase", None, raising=False)

    def use():
        return dicom_database.use(folder)

    return folder, use


def test_a_folder_is_added_once(user):
    user.add()
    assert user.cells() == ["a", "b"]
    assert user.cells(1) == ["new", "new"]
    assert user.said == "Cases added: 2."
    user.add()
    assert user.cells() == ["a", "b"]
    assert "Listed already: 2." in user.said


def test_several_files_are_added_together(user):
    user.add_files("b.nrrd", "a.nrrd")
    assert user.cells() == ["b", "a"]
    assert user.said == "Cases added: 2."
    user.write_ct("c", 5)
    user.add_files("c.nrrd", "a.nrrd")
    assert user.cells() == ["b", "a", "c"]
    assert user.said == "Cases added: 1. Listed already: 1."


def test_a_dialog_that_is_cancelled_changes_nothing(user):
    user.add_files()
    user.services.dialogs.folder = None
    user.add()
    user.services.dialogs.answers.append(None)
    user.ui.addCasesButton.click()
    assert user.cells() == []
    assert user.said == ""


def test_label_maps_and_hidden_files_are_no_cts(tmp_path):
    for name in ("ct.nii.gz", "x/CT.NRRD", "ct_label.nrrd", "a.seg.nrrd", "x/.b.nrrd", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    assert [path.name for path in images_in(tmp_path)] == ["ct.nii.gz", "CT.NRRD"]


@pytest.mark.parametrize("ending", IMAGE_ENDINGS)
def test_strokes_and_labels_are_no_cts_whatever_format_they_are_saved_in(tmp_path, ending):
    stems = ("a_ab12cd34_scribble", "a_ab12cd34_scribble_2", "a_label", "a_labels", "a_seg", "a.labels", "a.seg")
    for stem in ("scribble_2", "segment", *stems):
        (tmp_path / (stem + ending)).write_text("")
    assert [path.name for path in images_in(tmp_path)] == [f"scribble_2{ending}", f"segment{ending}"]


def test_a_folder_without_cts_says_so(make_panel, until, tmp_path):
    user = ListUser(make_panel, until, tmp_path / "empty")
    user.add()
    assert "No CT was found" in user.said


# --- the DICOM database

def test_series_of_the_database_are_chosen_and_opened(user, dicom_database):
    folder, use = dicom_database
    for name, seed in (("portal", 3), ("native", 4)):
        write_slices(folder / name, phantom(seed)[0][::8], SeriesDescription=name)
    write_slices(folder / "mr", phantom()[0][::8], Modality="MR", SeriesDescription="liver")
    write_slices(folder / "localiser", phantom()[0][:2], SeriesDescription="topogram")
    use()
    user.services.dialogs.tick = "portal"
    user.add_from_database()
    [(_title, _text, shown)] = user.services.dialogs.asked[1:]
    assert sorted(line for _key, line in shown) == ["Müller^Jürgen native, 2024-01-02, 10 slices",
                                                    "Müller^Jürgen portal, 2024-01-02, 10 slices"]
    assert user.cells() == ["Müller^Jürgen portal"]
    user.press("openCase")
    # the database gives slices by their positions, and the reader turns LPS to RAS
    assert np.array_equal(np.sort(slicer.util.arrayFromVolume(user.volume), axis=None),
                          np.sort(phantom(3)[0][::8], axis=None))
    assert user.said == "Müller^Jürgen portal is open."
    # what is listed is not offered again
    user.services.dialogs.tick = ""
    user.add_from_database()
    [(_key, line)] = user.services.dialogs.asked[-1][2]
    assert line == "Müller^Jürgen native, 2024-01-02, 10 slices"
    user.add_from_database()
    assert user.said == "All CTs of Slicer's DICOM database are listed already: 2."


def test_a_real_series_is_opened_with_its_slices(user, dicom_database):
    if not REAL_SERIES.exists():
        pytest.skip("real data not here: ct_20slices")
    folder, use = dicom_database
    for number, file in enumerate(sorted(REAL_SERIES.iterdir())):
        header = pydicom.dcmread(file)  # the series was anonymised, and has no UIDs of its own
        header.SeriesInstanceUID, header.SOPInstanceUID = "1.2.3", f"1.2.3.{number}"
        header.SeriesDescription, header.PatientName = "portal", "Anonymous"
        header.save_as(folder / f"{number}.dcm")
    use()
    user.add_from_database()
    user.press("openCase")
    assert user.volume.GetImageData().GetDimensions()[2] == 20
    assert len(user.volume.GetAttribute("DICOM.instanceUIDs").split()) == 20
    assert slicer.util.arrayFromVolume(user.volume).min() < -500
    assert CtIdentity.parsed(chosen_list().cases()[0].identity) == ct_identity(user.volume)
    assert ct_identity(user.volume).dicom


def test_a_database_without_cts_says_so(user, dicom_database):
    dicom_database[1]()
    user.add_from_database()
    assert user.said.startswith("Slicer's DICOM database holds no CT")


def test_no_dicom_database_gives_none(monkeypatch):
    monkeypatch.delattr(slicer, "dicomDatabase", raising=False)
    assert ct_series() == []
