"""MONAI's own tools accept and run a bundle: its runner and every check that its model zoo makes."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from PartialOrganSegLib.formats.reading import read_labelmap
from PartialOrganSegLib.formats.writing import write_ct
from PartialOrganSegLib.models.bundle import Bundle, Preprocessing, load_bundle
from PartialOrganSegLib.models.bundle_writing import write_bundle
from PartialOrganSegLib.networks import build_network
from PartialOrganSegLib.organs import WORD16
from PartialOrganSegLib.synthesis.phantom import make_phantom
from Testing.helpers import ready_python

monai_bundle = pytest.importorskip("monai.bundle")
# What they say by the way: a config is code, a schema without checksum is not verified, TorchScript ends.
pytestmark = [pytest.mark.filterwarnings("ignore::UserWarning:monai.*"),
              pytest.mark.filterwarnings("ignore:parsing config_file"),
              pytest.mark.filterwarnings("ignore:`torch.jit"),
              pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")]

TEXT, TEXTS, MAP = {"type": "string"}, {"type": "array", "items": {"type": "string"}}, {"type": "object"}
TENSOR = {"type": "object", "required": ["type", "format", "num_channels", "spatial_shape", "dtype", "value_range"],
          "properties": {"type": TEXT, "format": TEXT, "num_channels": {"type": "integer"}, "dtype": TEXT,
                         "spatial_shape": {"type": "array", "items": {"type": ["string", "integer"]}},
                         "value_range": {"type": "array", "items": {"type": "number"}},
                         "is_patch_data": {"type": "boolean"}, "channel_def": MAP}}
# The rules of the schema that the bundle's field `schema` names (project-monai.github.io/schema), stated again: MONAI's
# check would download it.
SCHEMA = {
    "type": "object",
    "required": ["schema", "version", "monai_version", "pytorch_version", "numpy_version", "required_packages_version",
                 "task", "description", "authors", "copyright", "network_data_format"],
    "properties": {
        **dict.fromkeys(["schema", "version", "monai_version", "pytorch_version", "numpy_version", "task", "authors",
                         "description", "copyright", "data_source", "data_type", "image_classes", "label_classes",
                         "pred_classes", "intended_use"], TEXT),
        **dict.fromkeys(["changelog", "required_packages_version", "eval_metrics", "supported_apps"], MAP),
        "references": TEXTS,
        "network_data_format": {
            "type": "object", "required": ["inputs", "outputs"],
            "properties": {side: {"type": "object", "additionalProperties": TENSOR} for side in ("inputs", "outputs")}},
    },
}


@pytest.fixture(scope="module")
def fresh(tmp_path_factory) -> Bundle:
    """A bundle as `write_bundle` makes it today, of a 2.5D network."""
    torch.manual_seed(0)
    settings = Preprocessing((4.0, 4.0, 4.0), (-200.0, 300.0), 50.0, 100.0, (8, 32, 32))
    arguments = {"channels": [8, 8], "input_scales": 2, "output_scales": 2, "slices": 3}
    network = build_network("pipo_fan", 1, WORD16.class_count, **arguments)
    licences = {"code": "Apache-2.0", "weights": "none, random", "data": "none"}
    return write_bundle(tmp_path_factory.mktemp("fresh") / "modèle 1", network, "pipo_fan", arguments, WORD16, settings,
                        "fresh", "1.2.0", licences, [], {"dice": {"liver": 0.5}}, "Random weights.")


@pytest.fixture(params=["embedded", "fresh"])
def bundle(request) -> Bundle:
    return load_bundle("embedded") if request.param == "embedded" else request.getfixturevalue("fresh")


def files(bundle: Bundle) -> dict[str, str]:
    configs = bundle.folder / "configs"
    return {"config_file": str(configs / "inference.json"), "meta_file": str(configs / "metadata.json")}


def verify_metadata(meta_file: Path | str, folder: Path) -> None:
    """MONAI's check; the schema lies where it would put its download, so it downloads nothing."""
    schema = folder / "schema.json"
    schema.write_text(json.dumps(SCHEMA))
    monai_bundle.verify_metadata(meta_file=str(meta_file), filepath=str(schema))


def test_metadata_is_as_the_schema_says(bundle, tmp_path):
    verify_metadata(files(bundle)["meta_file"], tmp_path)
    metadata = json.loads(Path(files(bundle)["meta_file"]).read_text("utf-8"))
    assert metadata["version"] in metadata["changelog"]  # asked by the model zoo


@pytest.mark.parametrize("field", ["label_classes", "version", "network_data_format"])
def test_the_schema_finds_wrong_metadata(bundle, field, tmp_path):
    metadata = json.loads(Path(files(bundle)["meta_file"]).read_text("utf-8"))
    wrong = tmp_path / "metadata.json"
    wrong.write_text(json.dumps({**metadata, field: {"0": "background"}}))
    with pytest.raises(ValueError, match="Failed validating"):
        verify_metadata(wrong, tmp_path)


def test_network_takes_and_gives_what_the_metadata_says(bundle):
    monai_bundle.verify_net_in_out("network_def", device="cpu", bundle_root=str(bundle.folder), **files(bundle))
    # That it notices a wrong number of channels takes no window of the whole size.
    with pytest.raises(ValueError, match="output channel number"):
        monai_bundle.verify_net_in_out("network_def", device="cpu", bundle_root=str(bundle.folder), **files(bundle),
                                       **{"_meta_#network_data_format#outputs#pred#num_channels": 2,
                                          "_meta_#network_data_format#inputs#image#spatial_shape": [16, 32, 32],
                                          "_meta_#network_data_format#outputs#pred#spatial_shape": [16, 32, 32]})


def test_all_that_an_inference_workflow_needs_has_monais_names(bundle):
    workflow = monai_bundle.create_workflow(workflow_type="infer", bundle_root=str(bundle.folder), **files(bundle))
    assert workflow.check_properties() == []
    assert workflow.version == bundle.metadata.version
    assert workflow.network_def.state_dict().keys() == bundle.learner.load_network().state_dict().keys()


def test_network_is_exported_to_torchscript(tmp_path):
    """`ckpt_export` wants a pickle, which no bundle of ours holds: it is made from the weights for this once."""
    bundle = load_bundle("embedded")
    network = bundle.learner.load_network()
    torch.save(network.state_dict(), tmp_path / "model.pt")
    monai_bundle.ckpt_export("network_def", filepath=str(tmp_path / "model.ts"), ckpt_file=str(tmp_path / "model.pt"),
                             bundle_root=str(bundle.folder), use_trace=True, input_shape=[1, 1, 16, 32, 32],
                             **files(bundle))
    exported = torch.jit.load(tmp_path / "model.ts")
    ct = torch.rand(1, 1, 16, 32, 32)
    assert torch.allclose(exported(ct), network(ct), atol=1e-4)


def run(words: list[object], folder: Path | None = None) -> None:
    completed = subprocess.run(list(map(str, words)), capture_output=True, encoding="utf-8", check=False, cwd=folder,
                               env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert completed.returncode == 0, completed.stderr[-2000:]


def test_monais_command_gives_what_ours_gives(tmp_path):
    """Voxel for voxel: both run the same predictor, on the same threads. The CT is two windows high, and small."""
    pytest.importorskip("fire")
    bundle = load_bundle("embedded").folder
    ct = tmp_path / "größe 1" / "phantom_0.nii.gz"
    ct.parent.mkdir()
    # A name with a space and an umlaut: both commands get it as a user would type it.
    write_ct(ct, make_phantom((44, 24, 36), (5.0, 4.5, 4.0))[0])
    python = ready_python.program()
    run([python, "-m", "PartialOrganSegLib", "segment", ct, "-o", tmp_path / "ours", "--device", "cpu",
         "--no-preview"])
    run([python, "-m", "monai.bundle", "run", "--config_file", bundle / "configs/inference.json",
         "--bundle_root", bundle, "--image", ct, "--output", tmp_path / "theirs.nii.gz", "--device", "cpu"], tmp_path)
    ours, theirs = (read_labelmap(path) for path in (tmp_path / "ours" / "phantom_0.labels.nii.gz",
                                                     tmp_path / "theirs.nii.gz"))
    assert theirs.grid.same_as(ours.grid)
    assert len(np.unique(ours.array)) > 3
    np.testing.assert_array_equal(theirs.array, ours.array)
