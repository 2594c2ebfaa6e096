"""Installing what Slicer does not ship: through the PyTorch extension, with pip, or from a folder of wheels."""

import sys
import types

import pytest
import slicer.packaging
from panel_helpers.doubles import Doubles, FakeInstaller
from panel_helpers.scenes import add_ct
from PartialOrganSegPanel.shell.installer import InstallError, Need, SlicerInstaller, sizes_text


@pytest.fixture
def lacking(monkeypatch):
    """A Slicer without torch and pydantic; returns what would have been installed."""
    done = []
    monkeypatch.setattr(slicer.packaging, "pip_check", lambda text: not text.startswith(("torch", "pydantic")))
    monkeypatch.setattr(slicer.packaging, "pip_install", lambda what, **kw: done.append(("pip_install", what)))
    monkeypatch.setattr(slicer.packaging, "pip_ensure", lambda what, **kw: done.append(("pip_ensure", what)))
    return done


def with_torch_extension(monkeypatch, done, answer="torch"):
    """Puts a double of the PyTorch extension in place."""
    class PyTorchUtilsLogic:
        def installTorch(self, askConfirmation, torchVersionRequirement):
            done.append(("installTorch", torchVersionRequirement))
            return answer

    module = types.SimpleNamespace(PyTorchUtilsLogic=PyTorchUtilsLogic)
    monkeypatch.setitem(sys.modules, "PyTorchUtils", module)


def test_missing_packages_have_sizes(lacking):
    needs = SlicerInstaller().missing()
    assert [need.name for need in needs] == ["torch", "pydantic"]
    assert "torch>=2.4: 250 MB" in sizes_text(needs)
    assert "together about 253 MB" in sizes_text(needs)


def test_torch_comes_through_its_extension(lacking, monkeypatch):
    with_torch_extension(monkeypatch, lacking)
    SlicerInstaller().install(None)
    assert lacking == [("installTorch", ">=2.4"), ("pip_ensure", ["pydantic>=2.7"])]


def test_missing_extension_is_told(lacking, monkeypatch):
    monkeypatch.setitem(sys.modules, "PyTorchUtils", None)
    with pytest.raises(InstallError, match="PyTorch extension is needed"):
        SlicerInstaller().install(None)
    assert lacking == []


def test_refused_torch_is_told(lacking, monkeypatch):
    with_torch_extension(monkeypatch, lacking, answer=None)
    with pytest.raises(InstallError, match="not installed"):
        SlicerInstaller().install(None)


def test_wheels_need_no_network(lacking, tmp_path):
    SlicerInstaller().install(tmp_path)
    assert lacking == [("pip_install", ["--no-index", "--find-links", str(tmp_path), "torch>=2.4", "pydantic>=2.7"])]


def test_nothing_is_installed_without_a_yes(make_panel):
    services = Doubles(None, installer=FakeInstaller("torch>=2.4"))
    panel = make_panel(services)
    panel.section("Setup").ui.installButton.click()
    assert services.installer.calls == []
    assert panel.section("Setup").widget.visible


def test_folder_of_wheels_through_the_button(make_panel, tmp_path):
    services = Doubles("install", installer=FakeInstaller("torch>=2.4"), folder=tmp_path)
    panel = make_panel(services)
    panel.parameters.inputVolume = add_ct()
    panel.section("Setup").ui.wheelsButton.click()
    assert services.installer.calls == [tmp_path]
    assert panel.section("Segment").ui.segmentButton.enabled


def test_failed_installation_is_told(make_panel):
    services = Doubles("install", installer=FakeInstaller("torch>=2.4", error="no space left"))
    panel = make_panel(services)
    panel.section("Setup").ui.installButton.click()
    assert "no space left" in panel.section("Setup").ui.missingLabel.text


def test_real_environment_lacks_nothing():
    assert SlicerInstaller().missing() == []
    assert Need("torch>=2.4", 1).name == "torch"
