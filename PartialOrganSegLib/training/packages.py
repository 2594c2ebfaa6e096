"""Packages that training needs beside those of segmenting: which are missing, and how they are installed.

They belong to the installation, but somebody may have left them out where CTs are only segmented.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys

from ..errors import Code, UserError

NEEDED = ("monai",)  # augments the patches that a network is trained on
_TAKES_S = 1800.0  # seconds after which pip is given up


def missing_packages() -> list[str]:
    """The needed packages that are not installed, in the order in which pip is asked for them."""
    return [name for name in NEEDED if importlib.util.find_spec(name) is None]


def pip_command(packages: list[str]) -> list[str]:
    """The command that installs packages into this Python."""
    return [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages]


def pip_line(packages: list[str]) -> str:
    """What a person types."""
    return f"pip install {' '.join(packages)}"


def require_packages(command: str) -> None:
    """Raises UserError, with the line that installs them, where packages are missing. Before work, not in its midst."""
    missing = missing_packages()
    if missing:
        raise UserError(code=Code.PACKAGE_MISSING, subject=command, expected=f"the package {', '.join(missing)}",
                        found="none", hint=pip_line(missing))


def install(packages: list[str]) -> None:
    """Installs packages with pip, which prints on stderr what goes wrong. Raises UserError where it fails."""
    try:
        end = subprocess.run(pip_command(packages), stdout=sys.stderr, check=False, timeout=_TAKES_S).returncode
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UserError(code=Code.PACKAGE_MISSING, subject=pip_line(packages), expected="pip to install them",
                        found=error) from error
    # A package that pip installed is only seen once Python has forgotten that it was not there.
    importlib.invalidate_caches()
    if end or missing_packages():
        raise UserError(code=Code.PACKAGE_MISSING, subject=pip_line(packages), expected="pip to install them",
                        found=f"exit code {end}", hint="install them yourself, then add --resume")
