"""A CT that is learnt from again is written once, and no other CT is taken for it."""

import shutil

import pytest
import slicer
import slicer.util
from panel_helpers.cases_to_learn import look, write_cases
from panel_helpers.scenes import add_ct, add_result, add_transform, decide, phantom, rotation
from PartialOrganSegPanel.scene.written_cts import WrittenCts

from PartialOrganSegLib.datasets.manifest import load_manifest
from PartialOrganSegLib.organs import WORD16


def test_unchanged_cts_are_written_once(tmp_path):
    volume, second = add_ct("CT"), add_ct("other")
    result, transform = add_result(volume), add_transform(rotation(0, 0, 5), (0, 0, 0))
    for node in (result, add_result(second)):
        decide(node, "liver")

    def turn():
        for node in (volume, result):
            node.SetAndObserveTransformNodeID(transform.GetID())

    written, images = WrittenCts(), []
    for number, change in enumerate((lambda: None, lambda: volume.SetName("renamed"),
                                     lambda: slicer.util.updateVolumeFromArray(volume, phantom()[0] + 1), turn)):
        change()
        run = tmp_path / str(number)
        run.mkdir()
        manifest = load_manifest(write_cases(look(), WORD16.names, run, written))
        images.append([case.image for case in manifest.cases])
    files = [[image.stat().st_ino for image in run] for run in images]
    assert len({run[0] for run in files}) == 3  # new voxels, then a new transform
    assert files[0] == files[1]
    assert len({run[1] for run in files}) == 1
    changed = load_manifest(images[2][0].parent / "manifest.yaml").cases[0].read_image()
    assert changed.array.max() == phantom()[0].max() + 1


@pytest.mark.parametrize("together", [True, False])
def test_a_path_that_another_ct_took_over_is_not_linked(tmp_path, together):
    """A run that was given up is deleted, and the next one of the same minute has its folder's name."""
    volume, another_ct = add_ct("CT"), add_ct("CT")
    slicer.util.updateVolumeFromArray(another_ct, phantom()[0] + 1)
    for node in (volume, another_ct):
        decide(add_result(node), "liver")
    first, second = tmp_path / "12.00", tmp_path / "12.01"
    written = WrittenCts()

    def write(node, run, memory):
        run.mkdir()
        ticked = [case for case in look() if case.volume_id == node.GetID()]
        case, = load_manifest(write_cases(ticked, WORD16.names, run, memory)).cases
        return case.image, case.read_image().array.max() - phantom()[0].max()

    given_up, _ = write(volume, first, written)
    shutil.rmtree(first)
    assert write(another_ct, first, written if together else WrittenCts()) == (given_up, 1)
    assert write(volume, second, written)[1] == 0


def test_a_ct_whose_file_is_gone_is_written_anew(tmp_path):
    decide(add_result(add_ct()), "liver")
    written = WrittenCts()
    for number in range(2):
        run = tmp_path / str(number)
        run.mkdir()
        case, = load_manifest(write_cases(look(), WORD16.names, run, written)).cases
        assert case.image.is_file()
        case.image.unlink()
