"""Stand-in for slicer.packaging: checks for real, never installs (a host test run is in testing mode)."""

import importlib.metadata
import logging
import pathlib

import slicer
from packaging.requirements import Requirement

installed = []  # what a test run would have installed


def load_requirements(path):
    lines = [line.strip() for line in pathlib.Path(path).read_text(encoding="utf-8").splitlines()]
    return [Requirement(line) for line in lines if line and not line.startswith(("#", "-"))]


def _list(reqs):
    if isinstance(reqs, (str, Requirement)):
        reqs = [reqs] if isinstance(reqs, Requirement) or ";" in reqs else reqs.split()
    return [r if isinstance(r, Requirement) else Requirement(r) for r in reqs]


def pip_check(reqs):
    for r in _list(reqs):
        if r.marker is not None and not r.marker.evaluate():
            continue
        try:
            if not r.specifier.contains(importlib.metadata.version(r.name), prereleases=True):
                return False
        except importlib.metadata.PackageNotFoundError:
            return False
    return True


def pip_ensure(
    requirements,
    constraints=None,
    skip_packages=None,
    prompt_install=True,
    prompt_restart=True,
    requester=None,
    skip_in_testing=True,
    show_progress=True,
):
    missing = [r for r in _list(requirements) if not pip_check(r)]
    if not missing:
        return None
    if skip_in_testing and slicer.app.testingEnabled():
        logging.info("testing mode: not installing %s", ", ".join(map(str, missing)))
        return None
    if prompt_install and not slicer.util.confirmOkCancelDisplay("Install " + ", ".join(map(str, missing))):
        raise RuntimeError("User declined package installation")
    return pip_install([str(r) for r in missing])


def pip_install(requirements, **kw):
    installed.append((requirements, kw))


def pip_uninstall(requirements, **kw):
    installed.append(("-", requirements))


def isPipInstallInProgress():
    return False
