"""The extension as the Extensions Index and CMake see it."""

import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import list_files
from packaging.requirements import Requirement
from PartialOrganSegPanel.shell.installer import REQUIREMENTS, SIZES_MB

from PartialOrganSegLib.organs import WORD16

ROOT = list_files.ROOT


def test_cmake_lists_every_file():
    listed = list_files.LIST.read_text(encoding="utf-8")
    assert listed == list_files.cmake_text(), "run: python Testing/slicer/list_files.py"
    # A list that no CMake file names would leave its files out of the package.
    cmake = (ROOT / "CMakeLists.txt").read_text() + (ROOT / "PartialOrganSeg" / "CMakeLists.txt").read_text()
    for name in ("PANEL_SCRIPTS", "PANEL_RESOURCES", "LIBRARY_SCRIPTS", "LIBRARY_RESOURCES"):
        assert f"${{{name}}}" in cmake


def test_entry_of_the_index():
    """Against schemas/slicer-extension-catalog-entry-schema-v1.0.1.json of the Extensions Index, stated again here."""
    entry = json.loads((ROOT / "PartialOrganSeg.json").read_text(encoding="utf-8"))
    assert entry["$schema"] == ("https://raw.githubusercontent.com/Slicer/Slicer/main/Schemas/"
                                "slicer-extension-catalog-entry-schema-v1.0.1.json#")
    kinds = {"$schema": str, "category": str, "scm_url": str, "scm_revision": str, "scm_type": str,
             "build_dependencies": list, "build_subdirectory": str, "enabled": bool, "tier": int}
    assert {"$schema", "category", "scm_url"} <= set(entry) <= set(kinds)
    for key, value in entry.items():
        # Not isinstance: for a JSON schema true is no integer.
        assert type(value) is kinds[key], key
    assert all(type(name) is str for name in entry["build_dependencies"])
    assert 1 <= entry["tier"] <= 5
    assert entry.get("scm_type", "git") == "git"


def test_entry_of_the_index_says_what_cmake_says():
    entry = json.loads((ROOT / "PartialOrganSeg.json").read_text(encoding="utf-8"))
    cmake = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    settings = dict(re.findall(r'^set\(EXTENSION_(\w+) "([^"]*)"\)', cmake, re.M))
    assert "project(PartialOrganSeg)" in cmake  # the name of the entry's file, and of the extension
    assert entry["scm_url"].rsplit("/", 1)[-1].startswith("Slicer")  # as the index wants repositories to be called
    assert settings["CATEGORY"] == entry["category"]
    assert settings["DEPENDS"].split() == entry["build_dependencies"]
    assert settings["HOMEPAGE"] == entry["scm_url"].removesuffix(".git")
    raw = settings["HOMEPAGE"].replace("github.com", "raw.githubusercontent.com") + f"/{entry['scm_revision']}/"
    for url in (settings["ICONURL"], *settings["SCREENSHOTURLS"].split()):
        assert url.startswith(raw)
        assert (ROOT / url.removeprefix(raw)).read_bytes().startswith(b"\x89PNG"), url
    assert settings["DESCRIPTION"]
    assert settings["CONTRIBUTORS"]
    assert "Apache License" in (ROOT / "LICENSE.txt").read_text(encoding="utf-8")


def test_requirements_are_the_librarys():
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    block = re.search(r"^dependencies = \[(.*?)^\]", project, re.S | re.M).group(1)
    required = {str(Requirement(text)) for text in re.findall(r'"([^"]+)"', re.sub(r"#.*", "", block))}
    lines = REQUIREMENTS.read_text(encoding="utf-8").splitlines()
    listed = {str(Requirement(line)) for line in lines if not line.startswith("#")}
    assert listed == required
    # The panel says how large a download is before it begins one.
    assert {Requirement(line).name for line in listed} == set(SIZES_MB)


def test_terminology_has_every_organ():
    path = ROOT / "PartialOrganSeg" / "Resources" / "PartialOrganSeg.term.json"
    terms = json.loads(path.read_text(encoding="utf-8"))
    [category] = terms["SegmentationCodes"]["Category"]
    types = {entry["CodeValue"]: entry for entry in category["Type"]}
    for organ in WORD16.organs:
        entry = types[organ.code.value]
        assert entry["CodeMeaning"] == organ.code.meaning
        if organ.modifier:
            assert organ.modifier.value in [modifier["CodeValue"] for modifier in entry["Modifier"]]


def test_texts_of_the_forms_are_complete():
    for path in (ROOT / "PartialOrganSeg" / "Resources" / "UI").glob("*.ui"):
        root = ElementTree.parse(path).getroot()
        assert root.find("widget").get("class") == "qMRMLWidget", path
        assert root.findtext("class") == path.stem
        names = [widget.get("name") for widget in root.iter("widget")]
        assert len(names) == len(set(names)), path
        for connection in root.iter("connection"):
            assert connection.findtext("receiver") in names


def test_module_loads_without_the_packages_it_installs():
    """In a Python where torch, pydantic and the like cannot be imported, all of the panel can."""
    code = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "pydantic", "safetensors", "scipy", "SimpleITK", "yaml", "psutil"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Refuse())
sys.path[:0] = [r"{host}", r"{module}", r"{root}"]
import slicer_host
slicer_host.useSlicerPython(r"{host}/standins")
slicer_host.loadScriptedModule(r"{module}/PartialOrganSeg.py")
import importlib, pkgutil, PartialOrganSegPanel
for info in pkgutil.walk_packages(PartialOrganSegPanel.__path__, "PartialOrganSegPanel."):
    if info.name != "PartialOrganSegPanel.shell.leash":
        importlib.import_module(info.name)
""".format(host=ROOT / "Testing" / "slicer" / "host", module=ROOT / "PartialOrganSeg", root=ROOT)
    completed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert completed.returncode == 0, completed.stderr
