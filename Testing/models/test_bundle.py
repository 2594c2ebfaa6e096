"""A bundle comes back as it was written, and nothing altered, foreign or unsafe is loaded."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.models.bundle import load_bundle
from PartialOrganSegLib.models.checksums import verify_bundle, write_checksums
from PartialOrganSegLib.organs import WORD16, Code, LabelSpace, Organ
from Testing.helpers import ready_python
from Testing.helpers.repository import ROOT
from Testing.helpers.small_bundle import PREPROCESSING, registered, small_network, written  # noqa: F401


@pytest.mark.parametrize("half", [False, True])
def test_round_trip(tmp_path: Path, half: bool) -> None:
    bundle, network = written(tmp_path / "with blank ä" / "bundle", half=half)
    again = load_bundle(bundle.folder)
    assert again == bundle
    assert again.label_space == WORD16
    assert again.preprocessing == PREPROCESSING
    assert again.network_arguments == {"width": 6}
    loaded = again.load_network()
    assert not loaded.training
    # Half precision is for weights; statistics and biases of norms are vectors and stay exact.
    for key, value in network.state_dict().items():
        loaded_value = loaded.state_dict()[key]
        assert loaded_value.dtype == value.dtype
        assert torch.allclose(loaded_value, value, atol=1e-3 if half and value.ndim > 1 else 0), key
    assert loaded.state_dict()["1.running_var"].min() > 0
    # Written beside and moved into place: no temporary folder stays.
    assert sorted(p.name for p in bundle.folder.parent.iterdir()) == ["bundle"]


def test_half_is_half(tmp_path: Path) -> None:
    sizes = [(written(tmp_path / str(half), half=half)[0].folder / "models/model.safetensors").stat().st_size
             for half in (False, True)]
    # Not a half: norms stay in float32, and a small network has many of them.
    assert sizes[1] < 0.8 * sizes[0]


def test_another_label_space(tmp_path: Path) -> None:
    space = LabelSpace("two", (Organ(1, "liver", Code("10200004", "Liver"), (1, 2, 3)),
                               Organ(2, "kidney", Code("64033007", "Kidney"), (4, 5, 6), Code("7771000", "Left"))))
    assert load_bundle(written(tmp_path / "b", space)[0].folder).label_space == space


def test_metadata_has_monais_fields(tmp_path: Path) -> None:
    metadata = json.loads((written(tmp_path / "b")[0].folder / "configs/metadata.json").read_text("utf-8"))
    for key in ("version", "monai_version", "pytorch_version", "numpy_version", "task", "description", "authors",
                "copyright", "network_data_format", "changelog", "intended_use"):
        assert metadata[key] not in (None, ""), key
    inputs, outputs = (metadata["network_data_format"][k] for k in ("inputs", "outputs"))
    assert inputs["image"]["num_channels"] == 1
    assert inputs["image"]["value_range"] == [-2.5, 2.5]
    assert outputs["pred"]["channel_def"]["1"] == "liver"


def test_normalising() -> None:
    assert torch.equal(PREPROCESSING.normalise(torch.tensor([-3024.0, 50.0, 150.0, 3000.0])),
                       torch.tensor([-2.5, 0.0, 1.0, 2.5]))
    assert PREPROCESSING.padding == -2.5


def test_writing_replaces_an_older_bundle_only(tmp_path: Path) -> None:
    folder = written(tmp_path / "b", version="1")[0].folder
    assert written(folder, version="2")[0].metadata.version == "2"
    thesis = tmp_path / "other"
    thesis.mkdir()
    (thesis / "thesis.txt").write_text("precious")
    with pytest.raises(UserError, match="found other files"):
        written(thesis)
    assert (thesis / "thesis.txt").read_text() == "precious"


@pytest.mark.parametrize("name", ["models/model.safetensors", "configs/metadata.json", "README.md"])
def test_an_altered_file_is_named(tmp_path: Path, name: str) -> None:
    folder = written(tmp_path / "b")[0].folder
    data = bytearray((folder / name).read_bytes())
    data[-2] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(UserError, match=rf"{Path(name).name}: wrong checksum"):
        load_bundle(folder)


def test_missing_extra_and_unsafe_files(tmp_path: Path) -> None:
    folder = written(tmp_path / "b")[0].folder
    (folder / "notes.txt").write_text("x")
    with pytest.raises(UserError, match=r"notes.txt: expected only files listed"):
        verify_bundle(folder)
    (folder / "notes.txt").rename(folder / "models/model.pt")
    with pytest.raises(UserError, match=r"model.pt' is refused"):
        verify_bundle(folder)
    (folder / "models/model.pt").unlink()
    # What a file browser leaves is no part of the model.
    (folder / ".DS_Store").write_text("the system's")
    verify_bundle(folder)
    (folder / "README.md").unlink()
    with pytest.raises(UserError, match=r"README.md: expected by"):
        verify_bundle(folder)


@pytest.mark.parametrize(("field", "value", "message"), [
    ("spacing_zyx", [3, 0, 2], "spacing_zyx"), ("clip_hu", [300, -200], "clip_hu"), ("divide", 0, "divide"),
    ("patch_zyx", [16, 32], "patch_zyx"), ("unheard_of", 1, "unheard_of")])
def test_wrong_metadata_is_refused_in_one_line(tmp_path: Path, field: str, value: object, message: str) -> None:
    folder = written(tmp_path / "b")[0].folder
    path = folder / "configs/metadata.json"
    metadata = json.loads(path.read_text("utf-8"))
    metadata["partialorganseg"]["preprocessing"][field] = value
    path.write_text(json.dumps(metadata), "utf-8")
    # With fitting checksums: metadata are checked for what they say, too.
    write_checksums(folder)
    with pytest.raises(UserError, match=message) as error:
        load_bundle(folder)
    assert "\n" not in str(error.value)
    assert "metadata.json" in str(error.value)


def test_weights_of_another_network(tmp_path: Path) -> None:
    bundle, _ = written(tmp_path / "b")
    bundle.network_arguments["width"] = 5
    with pytest.raises(UserError, match=r"expected weights of network 'small'"):
        bundle.load_network()
    (bundle.folder / "models/model.safetensors").write_bytes(b"not weights")
    with pytest.raises(UserError, match="expected safetensors weights"):
        bundle.load_network()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers(tmp_path: Path, value: float) -> None:
    bundle, _ = written(tmp_path / "b")
    file = bundle.folder / "models" / "model.safetensors"
    weights = load_file(file)
    name = sorted(weights)[0]
    weights[name].view(-1)[0] = value
    save_file(weights, file)
    with pytest.raises(UserError, match=rf"model\.safetensors: expected numbers as weights, found .* in {name}"):
        bundle.load_network()


def test_no_bundle_and_unknown_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARTIALORGANSEG_MODELS", str(tmp_path))
    with pytest.raises(UserError, match="expected a model bundle's folder"):
        load_bundle(tmp_path)
    written(tmp_path / "abdomen")
    with pytest.raises(UserError, match=r"unknown model 'abdomne' \(did you mean 'abdomen'\?\)"):
        load_bundle("abdomne")


RUN = """
import sys, torch
from monai.bundle import run
import PartialOrganSegLib.networks as networks
sys.path.insert(0, {root!r})
from Testing.helpers.small_bundle import small_network
networks.build_network = small_network
run(config_file={config!r}, image={image!r}, output={output!r}, bundle_root={folder!r}, device="cpu")
"""


def test_monais_bundle_runner_executes_it(tmp_path: Path) -> None:
    pytest.importorskip("monai")
    import SimpleITK as sitk

    folder = written(tmp_path / "b")[0].folder
    image = sitk.GetImageFromArray(np.random.default_rng(0).integers(-1000, 200, (12, 30, 28)).astype(np.int16))
    image.SetSpacing((2.0, 2.0, 5.0))
    sitk.WriteImage(image, str(tmp_path / "ct.nii.gz"))
    output = tmp_path / "labels.nii.gz"
    code = RUN.format(root=str(ROOT), config=str(folder / "configs/inference.json"),
                      image=str(tmp_path / "ct.nii.gz"), output=str(output), folder=str(folder))
    completed = subprocess.run([ready_python.program(), "-c", code], capture_output=True, text=True, encoding="utf-8",
                               check=False, cwd=tmp_path, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert completed.returncode == 0, completed.stderr[-2000:]
    labels = sitk.ReadImage(str(output))
    assert labels.GetSize() == image.GetSize()
    assert labels.GetSpacing() == pytest.approx(image.GetSpacing())
