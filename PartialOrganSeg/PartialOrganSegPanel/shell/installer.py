"""Installs the Python packages that Slicer does not ship: PyTorch through its extension, the rest with pip.

Nothing is installed before the user said so, and a hospital without internet gives a folder of wheels instead.
"""

from __future__ import annotations

import platform
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import slicer
from slicer.i18n import tr as _

REQUIREMENTS = Path(__file__).resolve().parents[2] / "Resources" / "requirements.txt"

# Megabytes to download, July 2026, rounded up. PyTorch's extension takes a CUDA build where there is an NVIDIA driver.
SIZES_MB = {"torch": 250, "scipy": 40, "SimpleITK": 60, "safetensors": 1, "pydantic": 3, "PyYAML": 1, "tqdm": 1,
            "Pillow": 7, "psutil": 1, "numpy": 20, "pydicom": 3, "monai": 2}
TORCH_CUDA_MB = 3000
_NAME = re.compile(r"[A-Za-z0-9_.-]+")
TORCH_EXTENSION = "PyTorch"


class InstallError(Exception):
    """Why something could not be installed, in a line or two. `extension`: the extension of Slicer that would help."""

    def __init__(self, text: str, extension: str = "") -> None:
        super().__init__(text)
        self.extension = extension


@dataclass(frozen=True)
class Need:
    """A package to install: its requirement for pip and about how many megabytes it downloads."""

    requirement: str
    megabytes: int

    @property
    def name(self) -> str:
        return _NAME.match(self.requirement).group()


class SlicerInstaller:
    """See `services.Installer`."""

    def missing(self) -> list[Need]:
        import slicer.packaging  # not before it is needed: older Slicers lack it

        requirements = [str(requirement) for requirement in slicer.packaging.load_requirements(REQUIREMENTS)]
        names = {text: _NAME.match(text).group() for text in requirements}
        missing = [text for text in requirements if not slicer.packaging.pip_check(text)]
        return [Need(text, SIZES_MB.get(names[text], 1)) for text in missing]

    def install(self, wheels: Path | None) -> None:
        import slicer.packaging

        needs = self.missing()
        try:
            if wheels is not None:
                slicer.packaging.pip_install(["--no-index", "--find-links", str(wheels),
                                              *(need.requirement for need in needs)], requester="PartialOrganSeg")
            else:
                # through its extension, which picks the build for the computer's GPU and driver
                for torch in (need for need in needs if need.name == "torch"):
                    _install_torch(torch.requirement.removeprefix("torch"))
                from_pypi = [need.requirement for need in needs if need.name != "torch"]
                slicer.packaging.pip_ensure(from_pypi, prompt_install=False, requester="PartialOrganSeg")
        except (subprocess.CalledProcessError, RuntimeError, OSError, ImportError) as error:
            raise InstallError(_("The packages could not be installed: {reason}").format(reason=error)) from error

    def install_extension(self, name: str) -> None:
        extensions = slicer.app.extensionsManagerModel()
        extensions.interactive = False  # the user has been asked
        if not extensions.installExtensionFromServer(name, False):  # without a restart: the scene may hold work
            raise InstallError(_("The extension {name} could not be installed; is there a connection to Slicer's "
                                 "server?").format(name=name))


def _install_torch(versions: str) -> None:
    try:
        import PyTorchUtils
    except ModuleNotFoundError as error:
        if error.name != "PyTorchUtils":  # the extension is there, but something that it needs is not
            raise
        raise InstallError(_("Slicer's PyTorch extension is needed, and Slicer must be restarted then; or choose a "
                             "folder of wheels."), TORCH_EXTENSION) from error
    if PyTorchUtils.PyTorchUtilsLogic().installTorch(askConfirmation=False, torchVersionRequirement=versions) is None:
        raise InstallError(_("PyTorch was not installed."))


def sizes_text(needs: list[Need]) -> str:
    """One line a package and the sum, for the question before the download."""
    lines = [f"{need.requirement}: {need.megabytes} MB" for need in needs]
    total = sum(need.megabytes for need in needs)
    lines.append(_("together about {megabytes} MB").format(megabytes=total))
    if platform.system() != "Darwin" and any(need.name == "torch" for need in needs):
        lines.append(_("With an NVIDIA GPU, PyTorch comes with CUDA: about {megabytes} MB instead.").format(
            megabytes=TORCH_CUDA_MB))
    return "\n".join(lines)
