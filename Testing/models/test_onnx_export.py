"""Networks as ONNX files give the labels that they give here, and the files say how to use them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from PartialOrganSegLib.cli import main
from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.models.bundle import Bundle, Preprocessing, load_bundle
from PartialOrganSegLib.models.bundle_writing import write_bundle
from PartialOrganSegLib.models.joined import join_bundles
from PartialOrganSegLib.models.onnx_export import export_onnx
from PartialOrganSegLib.networks import build_network
from PartialOrganSegLib.organs import WORD16
from PartialOrganSegLib.synthesis.phantom import make_phantom

pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
onnxruntime = pytest.importorskip("onnxruntime")

# Two runtimes add the same numbers in different orders; only voxels that are all but undecided may differ for that.
NEARLY_TIED = 1e-2
WINDOWS = ((24, 48, 64), (16, 64, 48))
LICENCES = {"code": "Apache-2.0", "weights": "research only", "data": "none"}


def window(shape: tuple[int, int, int], settings: Preprocessing) -> torch.Tensor:
    """(1, 1, *shape): a phantom's CT as the network sees it."""
    ct, _ = make_phantom(shape_zyx=shape, spacing_zyx=settings.spacing_zyx, seed=3)
    return settings.normalise(torch.from_numpy(ct.array.astype(np.float32)))[None, None]


def check_labels(file: Path, bundle: Bundle, shapes=WINDOWS) -> None:
    """The file's network against the bundle's."""
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    network = bundle.load_network()
    for shape in shapes:
        data = window(shape, bundle.preprocessing)
        with torch.inference_mode():
            expected = network(data)[0]
        logits = torch.from_numpy(session.run(["logits"], {"image": data.numpy()})[0][0])
        assert logits.shape == expected.shape
        assert len(expected.argmax(0).unique()) > 1, "a window of background alone would compare nothing"
        best = expected.topk(2, dim=0).values
        differing = logits.argmax(0) != expected.argmax(0)
        assert (best[0] - best[1])[differing].lt(NEARLY_TIED).all()
        assert int(differing.sum()) <= 5


def facts_of(file: Path) -> dict[str, str]:
    return onnxruntime.InferenceSession(str(file)).get_modelmeta().custom_metadata_map


def bundle_of(folder: Path, network_name: str, seed: int = 0, **arguments) -> Bundle:
    torch.manual_seed(seed)
    settings = Preprocessing((3.0, 2.0, 2.0), (-200.0, 300.0), 50.0, 100.0, (16, 32, 32))
    network = build_network(network_name, 1, WORD16.class_count, **arguments)
    return write_bundle(folder, network, network_name, arguments, WORD16, settings, folder.name, "1.0.0", LICENCES, [],
                        {}, "A test.")


def test_a_network_that_ships(tmp_path):
    """In windows of two sizes. Both networks of the embedded model have these layers."""
    bundle, other = (member.bundle for member in load_bundle("embedded").members)
    assert bundle.network_name == other.network_name
    [file] = export_onnx(bundle, tmp_path / "organs.onnx")
    check_labels(file, bundle)
    assert json.loads(facts_of(file)["size_multiple_zyx"]) == [8, 16, 16]


def test_every_network_of_a_joined_model(tmp_path, capsys):
    """By the command: a file for each, which replaces an earlier one where that is asked for.

    Networks of volumes take any fitting size; one of slices takes the training patch, and its file says so.
    """
    light = bundle_of(tmp_path / "light", "light_unet", channels=[8, 16, 16])
    sliced = bundle_of(tmp_path / "sliced", "pipo_fan", channels=[8, 8], input_scales=2, output_scales=2, slices=3)
    joined = join_bundles(tmp_path / "joined", [light, sliced], "joined",
                          organs=[("liver", "spleen"), ("left_kidney", "bladder")])
    out = tmp_path / "out"
    out.mkdir()
    files = [out / f"organs.{member.bundle.folder.name}.onnx" for member in joined.members]
    files[0].write_text("an earlier one")
    assert main(["models", "export", str(joined.folder), "--onnx", str(out / "organs.onnx"), "--overwrite"]) == 0
    assert sorted(out.iterdir()) == sorted(files)
    assert [line.split()[-1] for line in capsys.readouterr().out.splitlines()] == [str(file) for file in files]
    fitting = (((16, 32, 32), (24, 48, 64)), ((16, 32, 32),))
    for file, member, shapes in zip(files, joined.members, fitting, strict=True):
        check_labels(file, member.bundle, shapes)
        facts, settings = facts_of(file), member.bundle.preprocessing
        assert json.loads(facts["classes"]) == ["background", *member.bundle.label_space.names]
        assert json.loads(facts["decides_on"]) == list(member.organs)
        assert json.loads(facts["spacing_zyx_mm"]) == list(settings.spacing_zyx)
        assert json.loads(facts["clip_hu"]) == list(settings.clip_hu)
        assert [json.loads(facts[key]) for key in ("subtract", "divide", "padding")] == \
            [settings.subtract, settings.divide, settings.padding]
        assert facts["licence_of_the_weights"] == member.bundle.metadata.partialorganseg.licences.weights
    assert [facts_of(file)["any_size"] for file in files] == ["true", "false"]
    assert json.loads(facts_of(files[1])["patch_zyx"]) == [16, 32, 32]


def test_an_earlier_export_is_not_replaced(tmp_path, capsys):
    bundle_of(tmp_path / "light", "light_unet", channels=[8, 16, 16])
    earlier = tmp_path / "light.onnx"
    earlier.write_text("mine")
    assert main(["models", "export", str(tmp_path / "light"), "--onnx", str(earlier)]) == 1
    assert earlier.read_text() == "mine"
    assert str(earlier) in capsys.readouterr().err


def test_another_suffix_and_a_missing_package_are_one_line(tmp_path, capsys, monkeypatch):
    assert main(["models", "export", "embedded", "--onnx", str(tmp_path / "organs.pt")]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert ".onnx" in line
    assert "organs.pt" in line
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(UserError, match="onnxscript") as raised:
        export_onnx(load_bundle("embedded"), tmp_path / "organs.onnx")
    assert "pip install" in str(raised.value)
    assert not list(tmp_path.iterdir())
