"""Installing what Slicer does not ship: through the PyTorch extension, with pip, or from a folder of wheels."""

import sys
import types

import pytest
import slicer
import slicer.packaging
from panel_helpers.doubles import Doubles, FakeInstaller
from panel_helpers.scenes import add_ct
from PartialOrganSegPanel.shell.installer import InstallError, Need, SlicerInstaller, sizes_text


@pytest.fixture
def lacking(monkeypatch):
    """A Slicer without torch and pydantic; returns what would have been installed."""
    calls = []
    monkeypatch.setattr(slicer.packaging, "pip_check", lambda text: not text.startswith(("torch", "pydantic")))
    for name in ("pip_install", "pip_ensure"):
        monkeypatch.setattr(slicer.packaging, name,
                            lambda requirements, name=name, **settings: calls.append((name, requirements)))
    return calls


def with_torch_extension(monkeypatch, calls, answer="torch"):
    """Puts a double of the PyTorch extension in place."""
    class PyTorchUtilsLogic:
        def installTorch(self, askConfirmation, torchVersionRequirement):
            calls.append(("installTorch", torchVersionRequirement))
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
    with pytest.raises(InstallError, match="PyTorch extension is needed") as caught:
        SlicerInstaller().install(None)
    assert caught.value.extension == "PyTorch"
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)
    assert lacking == []


def test_an_extension_that_lacks_something_is_told_as_that(lacking, monkeypatch, tmp_path):
    (tmp_path / "PyTorchUtils.py").write_text("import light_the_torch_is_missing\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "PyTorchUtils", raising=False)
    with pytest.raises(InstallError, match="light_the_torch_is_missing") as caught:
        SlicerInstaller().install(None)
    assert caught.value.extension == ""


@pytest.mark.parametrize("reached", [True, False])
def test_an_extension_is_installed_through_slicers_manager(monkeypatch, reached):
    calls = []

    def install(name, restart):
        calls.append((name, restart))
        return reached

    model = types.SimpleNamespace(interactive=True, installExtensionFromServer=install)
    monkeypatch.setattr(slicer.app, "extensionsManagerModel", lambda: model, raising=False)
    if reached:
        SlicerInstaller().install_extension("PyTorch")
    else:
        with pytest.raises(InstallError, match="could not be installed"):
            SlicerInstaller().install_extension("PyTorch")
    assert calls == [("PyTorch", False)]
    assert not model.interactive


@pytest.mark.parametrize("answer", ["install", None])
def test_the_extension_is_offered(make_panel, answer):
    installer = FakeInstaller("torch>=2.4", error="The extension is needed.", extension="PyTorch")
    services = Doubles("install", answer, installer=installer)
    ui = make_panel(services).section("Setup").ui
    ui.installButton.click()
    assert "The extension is needed." in services.dialogs.asked[1][1]
    assert installer.extensions == (["PyTorch"] if answer else [])
    assert ("restart Slicer" if answer else "The extension is needed.") in ui.missingLabel.text


def test_buttons_rest_while_packages_are_installed_and_while_something_runs(make_panel):
    offered = []
    installer = FakeInstaller("torch>=2.4", during=lambda: offered.append(
        [ui.installButton.enabled, ui.wheelsButton.enabled]))
    panel = make_panel(Doubles("install", installer=installer))
    ui = panel.section("Setup").ui
    ui.installButton.click()
    assert offered == [[False, False]]
    panel.missing = [Need("torch>=2.4", 1)]
    panel.run(["doctor"], lambda progress: None, lambda event: None, lambda outcome: None)
    assert not ui.installButton.enabled
    assert "A run is going on" in ui.installButton.toolTip


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
