"""The panel as a whole: what is shown at the start, what one run shows, and what ends it."""

from panel_helpers.doubles import Doubles, FakeInstaller
from panel_helpers.scenes import add_ct


def test_panel_without_packages_offers_to_install_them(make_panel):
    services = Doubles("install", installer=FakeInstaller("torch>=2.4"))
    panel = make_panel(services)
    setup, segment = panel.section("Setup"), panel.section("Segment")
    panel.parameters.inputVolume = add_ct()
    assert setup.widget.visible
    assert "torch" in setup.ui.missingLabel.text
    assert not segment.ui.segmentButton.enabled
    assert "packages" in segment.ui.segmentButton.toolTip
    setup.ui.installButton.click()
    assert "10 MB" in services.dialogs.asked[0][1]
    assert services.installer.calls == [None]
    assert not setup.widget.visible
    assert segment.ui.segmentButton.enabled
