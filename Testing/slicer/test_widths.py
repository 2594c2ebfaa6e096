"""Every section fits beside the views of a small screen, also with texts as long as German ones, in a dark theme, and
with letters of 125 %. Set PARTIALORGANSEG_PICTURES to look at them all."""

from __future__ import annotations

import pytest
import qt
import slicer
from panel_helpers.doubles import Doubles, FakeInstaller
from panel_helpers.pictures import colours, cut_off, fit, overlapping, picture_of
from panel_helpers.scenes import add_ct, add_result
from PartialOrganSegPanel.scene.organ_rows import ACCEPTED, row, set_state
from PartialOrganSegPanel.shell.work_list import DONE, ListedCase, chosen_list

WIDTH = 400  # of the module panel on a screen of 1366 x 768
LONGER = 0.35  # German texts are by so much longer than English ones
NAMES = ("Export", "FineTune", "Models", "Review", "Scribble", "Segment", "Setup", "WorkList")


def longer(text: str) -> str:
    """The text with letters behind it, as many as a German one has more."""
    count = round(LONGER * len(text))
    if not count:
        return text
    return text + " " + "verlängerte Beschriftung "[:count].strip()


def dark() -> qt.QPalette:
    palette = qt.QPalette()
    for role, colour in (("Window", "#323232"), ("WindowText", "#f0f0f0"), ("Base", "#1e1e1e"),
                         ("AlternateBase", "#323232"), ("Text", "#f0f0f0"), ("Button", "#3c3c3c"),
                         ("ButtonText", "#f0f0f0"), ("Highlight", "#2a82da"), ("HighlightedText", "#000000"),
                         ("PlaceholderText", "#909090")):
        palette.setColor(getattr(qt.QPalette, role), qt.QColor(colour))
    for role in ("WindowText", "Text", "ButtonText"):
        palette.setColor(qt.QPalette.Disabled, getattr(qt.QPalette, role), qt.QColor("#808080"))
    return palette


@pytest.fixture(params=["light", "dark"])
def theme(request):
    usual = qt.QApplication.palette()
    if request.param == "dark":
        qt.QApplication.setPalette(dark())
    yield request.param
    qt.QApplication.setPalette(usual)


@pytest.fixture(params=[1.0, 1.25])
def scale(request):
    """Of all letters, as on a screen that is set to it; the panel is by so much wider then."""
    usual = qt.QApplication.font()
    larger = qt.QFont(usual)
    larger.setPointSizeF(usual.pointSizeF() * request.param)
    qt.QApplication.setFont(larger)
    yield request.param
    qt.QApplication.setFont(usual)


def stretch(widget) -> None:
    """Gives every text of the .ui file the length of a German one."""
    for child in widget.findChildren(qt.QWidget):
        if isinstance(child, (qt.QPushButton, qt.QCheckBox, qt.QLabel)) and child.text:
            child.text = longer(child.text)


# a dark theme changes no width: English and German texts are looked at in one each
@pytest.mark.parametrize(("language", "theme"), [("English", "dark"), ("German", "light")], indirect=["theme"])
@pytest.mark.parametrize("name", NAMES)
def test_section_fits(make_panel, monkeypatch, folder, theme, scale, language, name):
    if language == "German":
        monkeypatch.setattr(slicer.app, "translate", lambda _context, text: longer(text), raising=False)
    chosen_list().add([ListedCase("/data/Müller.nrrd", "CT abdomen of a patient with a rather long name", comment=
                                  "hip prosthesis, artefacts", reviewer="Dr. Weiß", state=DONE),
                       ListedCase("/data/b.nrrd", "second", rejected=True)])
    missing = ("torch>=2.4", "pydantic>=2.7") if name == "Setup" else ()
    panel = make_panel(Doubles(installer=FakeInstaller(*missing)))
    section = panel.section(name)
    if language == "German":
        stretch(section.widget)
    volume = add_ct("CT abdomen of a patient with a rather long name")
    node = add_result(volume)
    set_state(node, row(node, "liver").segment_id, ACCEPTED)
    panel.parameters.inputVolume, panel.parameters.segmentation = volume, node
    for other in panel.sections:
        if other.NAME != "Setup":
            other.widget.setVisible(other is section)
    for button in section.widget.findChildren(qt.QWidget):
        if button.className() == "ctkCollapsibleButton":  # those within the section as well
            button.collapsed = False
    panel.enter()
    width = round(WIDTH * scale)
    window = section.widget.window()
    fit(window, width)
    path = folder / f"{name}_{language}_{theme}_{scale}.png"
    picture_of(window, path)
    assert colours(path) > 20
    widest = section.widget.minimumSizeHint().width()
    assert widest <= width, f"{name}: needs {widest} pixels"
    assert list(cut_off(section.widget)) == []
    assert list(overlapping(section.widget)) == []
