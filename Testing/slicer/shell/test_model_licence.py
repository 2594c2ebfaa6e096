"""The licence of a model's weights: shown before the first use, kept in the settings."""

import slicer
from panel_helpers.doubles import Doubles
from panel_helpers.scenes import add_ct
from PartialOrganSegPanel.shell import model_licence, settings
from PartialOrganSegPanel.shell.model_cards import ModelCard, installed_models


def test_licence_is_shown_before_the_first_use_and_once(make_panel, licences_known):
    licences_known.clear()
    services = Doubles(None, "accept")
    panel = make_panel(services)
    segment = panel.section("Segment")
    panel.parameters.inputVolume = add_ct()
    segment.ui.segmentButton.click()
    assert not services.processes
    assert installed_models()["embedded"].licences["weights"] in services.dialogs.asked[0][1]
    segment.ui.segmentButton.click()
    assert len(services.processes) == 1
    services.processes[-1].end(1)
    segment.ui.segmentButton.click()
    assert len(services.processes) == 2
    assert len(services.dialogs.asked) == 2


def test_another_licence_is_shown_again(licences_known):
    dialogs = Doubles("accept", "accept").dialogs
    card = ModelCard("m", "1", "", (), "CC0", {"weights": "CC0"})
    assert model_licence.may_use(card, dialogs)
    assert model_licence.may_use(card, dialogs)
    assert len(dialogs.asked) == 1
    assert model_licence.may_use(ModelCard("m", "2", "", (), "MIT", {"weights": "MIT"}), dialogs)
    assert len(dialogs.asked) == 2


def test_acceptance_is_kept_in_the_settings(monkeypatch):
    monkeypatch.undo()
    settings.write_setting("PartialOrganSeg/AcceptedLicences/a test", "abc")
    assert settings.read_setting("PartialOrganSeg/AcceptedLicences/a test") == "abc"
    slicer.app.settings().remove("PartialOrganSeg/AcceptedLicences/a test")
    assert settings.read_setting("PartialOrganSeg/AcceptedLicences/a test") is None
