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
USUAL = ("Export", "FineTune", "Models", "Review", "Scribble", "Segment", "WorkList")


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


def problems_of(panel, name, scale, path):
    """What is wrong with a section that is alone in its window; writes its picture."""
    section = panel.section(name)
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
    picture_of(window, path)
    problems = []
    if colours(path) <= 20:
        problems.append("nothing to be seen")
    widest = section.widget.minimumSizeHint().width()
    if widest > width:
        problems.append(f"needs {widest} pixels")
    problems += [f"cut off: {text}" for text in cut_off(section.widget)]
    problems += [f"cover each other: {names}" for names in overlapping(section.widget)]
    return [f"{name}: {problem}" for problem in problems]


# a dark theme changes no width: English and German texts are looked at in one each
@pytest.mark.parametrize(("language", "theme"), [("English", "dark"), ("German", "light")], indirect=["theme"])
@pytest.mark.parametrize("missing", [(), ("torch>=2.4", "pydantic>=2.7")], ids=["ready", "set-up"])
def test_every_section_fits(make_panel, monkeypatch, folder, theme, scale, language, missing):
    """Each alone, in a panel that all share; the set-up in one that lacks packages."""
    if language == "German":
        monkeypatch.setattr(slicer.app, "translate", lambda _context, text: longer(text), raising=False)
    chosen_list().add([ListedCase("/data/Müller.nrrd", "CT abdomen of a patient with a rather long name", comment=
                                  "hip prosthesis, artefacts", reviewer="Dr. Weiß", state=DONE),
                       ListedCase("/data/b.nrrd", "second", rejected=True)])
    panel = make_panel(Doubles(installer=FakeInstaller(*missing)))
    names = ("Setup",) if missing else USUAL
    if language == "German":
        for name in names:
            stretch(panel.section(name).widget)
    volume = add_ct("CT abdomen of a patient with a rather long name")
    node = add_result(volume)
    set_state(node, row(node, "liver").segment_id, ACCEPTED)
    panel.parameters.inputVolume, panel.parameters.segmentation = volume, node
    problems = []
    for name in names:
        problems += problems_of(panel, name, scale, folder / f"{name}_{language}_{theme}_{scale}.png")
    assert problems == []
