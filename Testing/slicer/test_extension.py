"""The extension as the Extensions Index and CMake see it."""

import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import list_files
from packaging.requirements import Requirement
from PartialOrganSegPanel.installer import REQUIREMENTS, SIZES_MB

from PartialOrganSegLib.organs import WORD16

ROOT = list_files.ROOT


def test_cmake_lists_every_file():
    found = list_files.LIST.read_text(encoding="utf-8")
    assert found == list_files.cmake_text(), "run: python Testing/slicer/list_files.py"
    for name in ("PANEL_SCRIPTS", "PANEL_RESOURCES", "LIBRARY_SCRIPTS", "LIBRARY_RESOURCES"):
        used = (ROOT / "CMakeLists.txt").read_text() + (ROOT / "PartialOrganSeg" / "CMakeLists.txt").read_text()
        assert f"${{{name}}}" in used


def test_entry_of_the_index():
    entry = json.loads((ROOT / "PartialOrganSeg.json").read_text(encoding="utf-8"))
    assert set(entry) == {"$schema", "build_dependencies", "build_subdirectory", "category", "scm_revision", "scm_url",
                          "tier"}
    assert entry["scm_url"].startswith("https://")
    assert entry["scm_url"].endswith(".git")
    assert entry["tier"] in range(1, 6)
    cmake = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    assert f'set(EXTENSION_CATEGORY "{entry["category"]}")' in cmake
    assert f'set(EXTENSION_DEPENDS "{" ".join(entry["build_dependencies"])}")' in cmake


def test_requirements_are_the_librarys():
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    block = re.search(r"^dependencies = \[(.*?)^\]", project, re.S | re.M).group(1)
    wanted = {str(Requirement(text)) for text in re.findall(r'"([^"]+)"', re.sub(r"#.*", "", block))}
    lines = REQUIREMENTS.read_text(encoding="utf-8").splitlines()
    listed = {str(Requirement(line)) for line in lines if not line.startswith("#")}
    assert listed == wanted
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
for info in pkgutil.iter_modules(PartialOrganSegPanel.__path__):
    if info.name != "leash":
        importlib.import_module("PartialOrganSegPanel." + info.name)
""".format(host=ROOT / "Testing" / "slicer" / "host", module=ROOT / "PartialOrganSeg", root=ROOT)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
