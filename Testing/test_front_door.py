"""What `import PartialOrganSegLib as pos` gives, and what it does not load."""

from __future__ import annotations

import dataclasses
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import PartialOrganSegLib as pos
from PartialOrganSegLib import api
from PartialOrganSegLib.formats.writing import write_ct, write_labelmap
from PartialOrganSegLib.synthesis.phantom import make_phantom
from Testing.helpers.repository import ROOT

HEAVY = ("torch", "numpy", "SimpleITK", "scipy", "pydantic", "PIL", "monai", "pydicom", "yaml")


def modules_after(code: str) -> set[str]:
    """The packages that a fresh Python has loaded after `code`, of the heavy ones."""
    completed = subprocess.run([sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"], cwd=ROOT, check=True,
                          capture_output=True, text=True)
    return set(HEAVY) & set(completed.stdout.split())


def test_importing_loads_nothing_heavy():
    assert modules_after("import PartialOrganSegLib as pos; dir(pos); pos.__version__") == set()


def test_options_are_made_without_anything_heavy():
    assert modules_after("import PartialOrganSegLib as pos; pos.SegmentOptions(organs='liver'); pos.Segmenter") == set()


def test_every_public_name_exists_and_is_completed():
    names = ["LabelSpace", "RefineSession", "SegmentOptions", "SegmentResult", "Segmenter", "UserError", "__version__",
             "evaluate", "finetune", "learn", "load_model", "read_ct", "refine", "segment", "train"]
    assert pos.__all__ == names
    assert set(names) <= set(dir(pos))
    for name in names:
        assert getattr(pos, name).__doc__
    assert (Path(pos.__file__).parent / "py.typed").is_file()
    with pytest.raises(AttributeError, match="no attribute 'segmant'"):
        _ = pos.segmant


def test_type_checkers_see_the_names_where_they_come_from():
    source = (Path(pos.__file__)).read_text(encoding="utf-8")
    # The front door loads names when they are used; editors read them from here.
    typed = source[source.index("if TYPE_CHECKING"):source.index("__version__ =")]
    for name, module in pos._MODULES.items():
        lines = [line for line in typed.splitlines() if line.strip().startswith(f"from .{module} import ")]
        assert any(name in line.split(" import ")[1].split(", ") for line in lines), name


def test_segment_takes_every_option_with_its_default():
    parameters = inspect.signature(api.segment).parameters
    for field in dataclasses.fields(pos.SegmentOptions):
        assert parameters[field.name].default == field.default, field.name
        assert parameters[field.name].annotation == field.type, field.name


def test_every_function_says_what_it_raises():
    for function in (pos.segment, pos.train, pos.finetune, pos.evaluate, pos.load_model, pos.read_ct):
        assert "Raises UserError" in inspect.getdoc(function), function


def test_wrong_options_are_one_line_before_anything_is_loaded():
    with pytest.raises(pos.UserError, match=r"^precision: expected auto, float32, bfloat16 or float16, found 'half'"):
        pos.segment("ct.nii.gz", precision="half")
    with pytest.raises(pos.UserError, match=r"unknown organ 'livr' \(did you mean 'liver'\?\)"):
        pos.segment("ct.nii.gz", organs="livr")
    with pytest.raises(pos.UserError, match=r"unknown model 'embeded' \(did you mean 'embedded'\?\)"):
        pos.load_model("embeded")


def test_evaluation_writes_its_tables(tmp_path):
    _, labels = make_phantom((24, 24, 24), (12.0, 12.0, 12.0))
    write_labelmap(tmp_path / "a.nii.gz", labels)
    result = pos.evaluate(tmp_path / "a.nii.gz", tmp_path / "a.nii.gz", organs="spleen, liver", out=tmp_path / "out")
    assert [(score.structure, score.dice) for score in result.scores] == [("liver", 1.0), ("spleen", 1.0)]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"scores.csv", "confusion.csv", "summary.json",
                                                                    "report.md", "report.html"}
    with pytest.raises(pos.UserError, match="found an earlier result"):
        pos.evaluate(tmp_path / "a.nii.gz", tmp_path / "a.nii.gz", out=tmp_path / "out")


def test_a_finetuned_model_comes_back_to_segment_with(tmp_path):
    ct, labels = make_phantom((32, 32, 32), (10.0, 10.0, 10.0))
    write_ct(tmp_path / "ct.nii.gz", ct)
    write_labelmap(tmp_path / "label.nii.gz", labels)
    manifest = tmp_path / "manifest.yaml"
    manifest.write_text("datasets: [{name: one, kind: full, cases: [{image: ct.nii.gz, label: label.nii.gz}]}]")
    small = ["manifest=" + str(manifest), "steps=1",
             "preprocessing={patch_zyx: [16, 16, 16], spacing_zyx: [10, 10, 10]}", "workers=0",
             "network={name: light_unet, arguments: {channels: [4, 8]}}"]
    # One step: what comes out knows nothing, and everything about it can be loaded.
    start = pos.train("full", tmp_path / "start", overrides=small, device="cpu")
    result = pos.finetune(start.folder, manifest, tmp_path / "run", steps=1, replay="none", validate=["none"],
                          name="tuned", device="cpu")
    assert result.bundle.name == "tuned"
    assert result.bundle.folder == tmp_path / "run" / "model"
    segmented = pos.segment(ct, model=result.bundle.folder, device="cpu", precision="float32")
    assert segmented.labels.grid == ct.grid
    assert segmented.precision == "float32"
    with pytest.raises(pos.UserError):
        pos.finetune(start.folder, manifest, tmp_path / "run", steps=1)
