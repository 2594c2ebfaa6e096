"""Section Segment, with the network on another computer: what it is asked, and what is not needed here."""

import pytest
import qt
from panel_helpers.doubles import Doubles
from panel_helpers.scenes import add_ct, upper_abdomen
from panel_helpers.segment_bench import Bench
from PartialOrganSegPanel.scene.organ_rows import rows

from PartialOrganSegLib.organs import WORD16
from PartialOrganSegLib.segmenting.options import SegmentOptions
from PartialOrganSegLib.segmenting.segmenter import Segmenter
from Testing.helpers.served import Served


def test_another_computer_is_asked_with_its_own_model(bench):
    settings = bench.panel.parameters.segment
    settings.fast = True  # this computer's choice: the other one segments as it was told to serve
    settings.server, settings.tokenFile, settings.authority = " https://gpu:8321 ", "/home/ä/token", "/home/ä/gpu.pem"
    assert not bench.ui.modelBox.enabled
    assert not bench.ui.fastBox.enabled
    assert not bench.ui.deviceBox.enabled
    node = bench.segment(add_ct())
    arguments = bench.process.arguments
    for name, value in (("--on", "https://gpu:8321"), ("--token-file", "/home/ä/token"),
                        ("--authority", "/home/ä/gpu.pem")):
        assert arguments[arguments.index(name) + 1] == value
    assert "--model" not in arguments
    assert "--device" not in arguments
    assert "--fast" not in arguments
    assert rows(node)[0].model == "the model of https://gpu:8321"
    settings.server = ""
    assert bench.ui.modelBox.enabled


def test_another_computer_segments(make_panel, until, tmp_path):
    """The panel's real child asks a real server on this computer."""
    served = Served(Segmenter(SegmentOptions(device="cpu")), tmp_path)
    bench = Bench(make_panel)
    bench.services = bench.panel.services = Doubles(real_process=True)
    settings = bench.panel.parameters.segment
    with served.serving():
        settings.server, settings.tokenFile = f"http://127.0.0.1:{served.port}", str(served.token_file)
        bench.start(add_ct("CT", upper_abdomen()[0]))
        until(lambda: bench.panel.job is None, 200)
    assert len(rows(bench.panel.parameters.segmentation)) == 16
    assert "organs found by the model of http://127.0.0.1" in bench.said


@pytest.fixture
def no_model(monkeypatch):
    """None is installed on this computer."""
    monkeypatch.setattr("PartialOrganSegPanel.segment.section.installed_models", dict)


def test_another_computer_needs_no_model_here(no_model, bench):
    settings = bench.panel.parameters.segment
    bench.panel.parameters.inputVolume = add_ct()
    bench.panel.refresh()
    assert bench.ui.segmentButton.toolTip == "No model is installed."
    settings.server = "https://gpu:8321"
    assert bench.ui.segmentButton.enabled
    bench.ui.someOrgansBox.click()
    assert bench.ui.organList.count == 16
    bench.ui.organList.item(0).setCheckState(qt.Qt.Checked)
    bench.ui.segmentButton.click()
    assert bench.option("--organs") == WORD16.names[0]
    node = bench.finish(organs=[WORD16.names[0]])
    assert [organ.organ for organ in rows(node)] == [WORD16.names[0]]
    assert rows(node)[0].model == "the model of https://gpu:8321"


def test_the_licence_of_a_model_that_is_not_used_is_not_asked_about(bench, licences_known):
    licences_known.clear()
    bench.panel.parameters.segment.server = "https://gpu:8321"
    bench.start(add_ct())
    assert bench.services.dialogs.asked == []
    assert bench.option("--on") == "https://gpu:8321"
