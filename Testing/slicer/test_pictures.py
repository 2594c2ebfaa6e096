"""Pictures of the panel and the views: written to be looked at, and not blank."""


import numpy as np
from panel_helpers.doubles import Doubles, FakeInstaller
from panel_helpers.pictures import colours, picture_of, slice_picture, surface_picture
from panel_helpers.scenes import add_ct, add_result


def test_panel_while_idle_working_and_failed(make_panel, folder):
    services = Doubles(installer=FakeInstaller())
    panel = make_panel(services)
    segment = panel.section("Segment")
    panel.parameters.inputVolume = add_ct("CT abdomen of a patient with a rather long name")
    panel.parameters.segment.someOrgans = True
    panel.parameters.segment.organs = ["liver", "spleen"]
    window = segment.widget.window()
    picture_of(window, folder / "segment_idle.png")
    segment.ui.segmentButton.click()
    services.processes[0].say("progress", stage="windows", done=3, total=27, eta_s=41)
    picture_of(window, folder / "segment_working.png")
    services.processes[0].say("error", message="ct.nrrd: expected voxel axes at right angles, found a sheared grid "
                                               "(cosine 0.200 between axes); resample it to a rectangular grid first")
    services.processes[0].end(1)
    picture_of(window, folder / "segment_failed.png")
    for name in ("idle", "working", "failed"):
        assert colours(folder / f"segment_{name}.png") > 50
    assert window.width == 400


def test_first_use(make_panel, folder):
    panel = make_panel(Doubles(installer=FakeInstaller("torch>=2.4", "pydantic>=2.7", "safetensors>=0.4.3")))
    picture_of(panel.section("Setup").widget.window(), folder / "setup.png")
    assert colours(folder / "setup.png") > 20


def test_result_on_slices_and_in_3d(make_panel, folder):
    panel = make_panel(Doubles())
    volume = add_ct()
    volume.GetDisplayNode().SetAutoWindowLevel(False)
    volume.GetDisplayNode().SetWindowLevel(400, 40)
    panel.parameters.inputVolume = volume
    panel.parameters.segmentation = add_result(volume)
    panel.section("Segment").ui.show3dButton.click()
    bounds = np.zeros(6)
    volume.GetRASBounds(bounds)
    centre = bounds.reshape(3, 2).mean(axis=1)
    slice_picture(volume, folder / "axial.png", "Axial", centre)
    slice_picture(volume, folder / "coronal.png", "Coronal", centre)
    surface_picture(folder / "surfaces.png")
    for name in ("axial", "coronal", "surfaces"):
        assert colours(folder / f"{name}.png") > 50
