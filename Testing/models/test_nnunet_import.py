"""A results folder of nnU-Net v2 becomes a bundle with the same network."""

import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from PartialOrganSegLib.cli import main
from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.events import Reporter
from PartialOrganSegLib.imaging.volume import Grid, Volume
from PartialOrganSegLib.models.bundle import load_bundle
from PartialOrganSegLib.models.checksums import sha256
from PartialOrganSegLib.models.label_map import LabelMap, map_labels, read_label_map
from PartialOrganSegLib.models.nnunet_import import import_nnunet
from PartialOrganSegLib.organs import WORD16
from PartialOrganSegLib.segmenting.nnunet.predictor import NNUNetPredictor
from Testing.helpers.listener import Listener
from Testing.helpers.nnunet_folder import plans_of, reference_network, weights_of, write_map, write_results

pytestmark = pytest.mark.usefixtures("models")


def image_of(shape: tuple[int, ...], seed: int = 1) -> torch.Tensor:
    return torch.randn((1, 1, *shape), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod."])
def test_the_network_is_the_same(tmp_path: Path, residual: bool, prefix: str) -> None:
    plans = plans_of(residual=residual)
    weights = write_results(tmp_path / "r", plans, prefix=prefix)
    bundle = import_nnunet(tmp_path / "r")
    assert bundle.label_space.names == ("liver", "kidney_left", "lung", "kidney_right")
    image = image_of((8, 16, 16))
    assert torch.allclose(bundle.load_network()(image), reference_network(plans, weights, image), atol=1e-4)


def test_all_folds_become_an_ensemble(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """nnU-Net averages the logits of its folds; up to 0.4 one fold was taken and the others were left."""
    plans = plans_of()
    folds = {"all": write_results(tmp_path / "r", plans, fold="all")}
    for number in range(3):
        # Other weights for each fold: equal ones would pass as a mean whatever was averaged.
        other = tmp_path / f"other{number}"
        folds[str(number)] = write_results(other, plans, fold=str(number), seed=number + 1)
        (other / f"fold_{number}").rename(tmp_path / "r" / f"fold_{number}")
    assert main(["models", "import", "nnunet", str(tmp_path / "r"), "--fold", "each", "--name", "whole"]) == 0
    assert "3 folds are averaged, which takes 3 times as long" in capsys.readouterr().err
    bundle = load_bundle("whole")
    assert len(bundle.folds) == 3
    image = image_of((8, 16, 16))
    for number, fold in enumerate(bundle.folds):
        expected = reference_network(plans, folds[str(number)], image)
        assert torch.allclose(fold.load_network()(image), expected, atol=1e-4)
    method = NNUNetPredictor(bundle, torch.device("cpu"), mirror=False)
    volume = Volume(np.random.default_rng(0).integers(-200, 300, (8, 16, 16)).astype(np.int16),
                    Grid((16, 16, 8), (3.0, 3.0, 4.0)))
    averaged, _ = method.scores(volume, {}, Reporter())
    separate = [NNUNetPredictor(fold, torch.device("cpu"), mirror=False).scores(volume, {}, Reporter())[0].float()
            for fold in bundle.folds]
    assert torch.allclose(averaged.float(), torch.stack(separate).mean(0), atol=3e-2)
    assert [len(import_nnunet(tmp_path / "r", fold=fold, name=f"m{count}").folds)
            for fold, count in (("0,2", 2), ("1", 0), (None, 1))] == [2, 0, 0]
    with pytest.raises(UserError, match="found '7'"):
        import_nnunet(tmp_path / "r", fold="0,7", name="bad")


def test_axes_are_turned_inside_the_network(tmp_path: Path) -> None:
    """RAS files, first axis along the patient's y: what the network sees is listed as nnU-Net lists it."""
    plans = plans_of(transpose=(1, 0, 2), reader="NibabelIOWithReorient")
    weights = write_results(tmp_path / "r", plans)
    bundle = import_nnunet(tmp_path / "r")
    network = bundle.load_network()
    assert network.size_multiple == (4, 2, 4)
    assert bundle.preprocessing.spacing_zyx == (3.0, 4.0, 3.0)
    assert bundle.preprocessing.patch_zyx == (16, 8, 16)
    image = image_of((16, 8, 12))
    as_nnunet = image.flip(3, 4).transpose(2, 3)
    expected = reference_network(plans, weights, as_nnunet).transpose(2, 3).flip(3, 4)
    assert torch.allclose(network(image), expected, atol=1e-4)


def test_a_network_of_slices(tmp_path: Path) -> None:
    plans = plans_of(axes=2)
    weights = write_results(tmp_path / "r", plans)
    bundle = import_nnunet(tmp_path / "r")
    assert bundle.preprocessing.patch_zyx == (4, 16, 16)  # the batch of slices nnU-Net trained with
    image = image_of((3, 16, 16))
    expected = torch.stack([reference_network(plans, weights, image[:, :, z]) for z in range(3)], 2)
    assert torch.allclose(bundle.load_network()(image), expected, atol=1e-4)


def test_plans_of_the_first_versions(tmp_path: Path) -> None:
    plans = plans_of()
    weights = write_results(tmp_path / "r", plans)
    settings = plans["configurations"]["3d_fullres"]
    arguments = settings.pop("architecture")["arch_kwargs"]
    # Plans of early versions listed the layers here, and a configuration could inherit from another.
    settings |= {"UNet_class_name": "PlainConvUNet", "UNet_base_num_features": 4, "unet_max_num_features": 6,
                 "n_conv_per_stage_encoder": arguments["n_conv_per_stage"],
                 "conv_kernel_sizes": arguments["kernel_sizes"],
                 "n_conv_per_stage_decoder": arguments["n_conv_per_stage_decoder"],
                 "pool_op_kernel_sizes": arguments["strides"]}
    plans["configurations"] = {"base": settings, "3d_fullres": {"inherits_from": "base"}}
    (tmp_path / "r/plans.json").write_text(json.dumps(plans))
    image = image_of((8, 16, 16))
    assert torch.allclose(import_nnunet(tmp_path / "r").load_network()(image),
                          reference_network(plans_of(), weights, image), atol=1e-4)


def test_labels_are_merged_and_dropped(tmp_path: Path) -> None:
    """The labels are those of the whole network, renamed: both kidneys one organ, the lung background."""
    plans = plans_of()
    weights = write_results(tmp_path / "r", plans)
    file = write_map(tmp_path / "map ä.yaml", {"kidney_right": "kidney", "liver": "liver", "kidney_left": "kidney",
                                               "lung": None, "spleen": "spleen"}, without_counterpart={"rectum": "why"})
    listener = Listener()
    bundle = import_nnunet(tmp_path / "r", file, reporter=listener)
    assert bundle.label_space.names == ("kidney", "liver")
    image = image_of((8, 16, 16))
    theirs = reference_network(plans, weights, image)
    renamed = torch.tensor([0, 2, 1, 0, 1])[theirs.argmax(1)]
    ours = bundle.load_network()(image)
    assert torch.equal(ours.argmax(1), renamed)
    # A merged class has the larger logit of its two, so that the best class stays the best after merging.
    assert torch.allclose(ours[:, 1], theirs[:, [2, 4]].amax(1), atol=1e-4)
    for part in ("rectum: why", "background: lung", "not in the model: spleen"):
        assert any(part in line for line in listener.warnings), listener.warnings
    card = (bundle.folder / "README.md").read_text("utf-8")
    assert "| lung | - |" in card
    assert "rectum: why" in card


def test_training_gives_the_finer_predictions(tmp_path: Path) -> None:
    write_results(tmp_path / "r", plans_of())
    file = write_map(tmp_path / "map.yaml", {"liver": "liver"})
    network = import_nnunet(tmp_path / "r", file).load_network().train().requires_grad_(True)
    assert network(image_of((8, 16, 16))).shape == (1, 2, 8, 16, 16)  # of two predictions the coarsest has no weight
    network(image_of((8, 16, 16))).square().mean().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())


def test_terms_and_origin_are_kept(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    write_results(tmp_path / "r", plans_of())
    assert main(["models", "import", "nnunet", str(tmp_path / "r"), "--name", "mine", "--licence", "CC0-1.0"]) == 0
    assert "installed mine 1.0.0" in capsys.readouterr().out
    bundle = load_bundle("mine")
    facts = bundle.metadata.partialorganseg
    assert facts.licences.weights == "CC0-1.0"
    assert facts.training_data[0]["checkpoint_sha256"] == sha256(tmp_path / "r/fold_0/checkpoint_final.pth")
    assert bundle.preprocessing.clip_hu == (-300.0, 400.0)
    assert (bundle.preprocessing.subtract, bundle.preprocessing.divide) == (40.0, 120.0)
    assert bundle.nnunet is not None
    assert (bundle.nnunet.orientation, bundle.nnunet.mirror_axes) == ("stored", (0, 1))
    assert main(["models", "import", "nnunet", str(tmp_path / "r"), "--name", "mine"]) == 1
    assert "already installed" in capsys.readouterr().err
    assert main(["models", "import", "nnunet", str(tmp_path / "r"), "--name", "mine", "--replace"]) == 0
    # The model that comes with the package is not in the folder of models and cannot be replaced.
    assert main(["models", "import", "nnunet", str(tmp_path / "r"), "--name", "embedded", "--replace"]) == 1


def test_one_of_several_folds(tmp_path: Path) -> None:
    write_results(tmp_path / "r", plans_of())
    weights = weights_of(plans_of(), 5, seed=7)
    write_results(tmp_path / "other", plans_of(), fold="3", network_weights=weights)
    (tmp_path / "other/fold_3").rename(tmp_path / "r/fold_3")
    # A training that was stopped early has only its best checkpoint.
    (tmp_path / "r/fold_3/checkpoint_final.pth").rename(tmp_path / "r/fold_3/checkpoint_best.pth")
    shutil.rmtree(tmp_path / "other")
    listener = Listener()
    import_nnunet(tmp_path, reporter=listener, name="first")  # also finds the one model in a folder above
    assert any("fold 0 is taken of 2" in line for line in listener.warnings)
    image = image_of((8, 16, 16))
    assert torch.allclose(import_nnunet(tmp_path / "r", fold="3", name="third").load_network()(image),
                          reference_network(plans_of(), weights, image), atol=1e-4)
    with pytest.raises(UserError, match="expected fold 0 or 3, found '5'"):
        import_nnunet(tmp_path / "r", fold="5")


def test_the_ignore_label_is_no_class(tmp_path: Path) -> None:
    write_results(tmp_path / "r", plans_of(), labels={"background": 0, "liver": 1, "ignore": 2})
    assert import_nnunet(tmp_path / "r").label_space.names == ("liver",)


def test_the_map_of_totalsegmentator() -> None:
    total = read_label_map("total_to_word.yaml")
    assert len(total.labels) == 117
    # Every organ of WORD is either mapped to or listed as one that TotalSegmentator does not have.
    ours = {name for name in total.labels.values() if name is not None}
    assert ours | set(total.without_counterpart) == set(WORD16.names)
    assert set(total.without_counterpart) == {"rectum", "head_of_left_femur", "head_of_right_femur"}
    assert total.labels["femur_left"] is None
    assert {theirs for theirs, name in total.labels.items() if name == "adrenal"} == {"adrenal_gland_left",
                                                                                     "adrenal_gland_right"}
    mapped = map_labels({name: value for value, name in enumerate(total.labels, 1)}, total, "word")
    assert mapped.label_space.names == tuple(name for name in WORD16.names if name in ours)
    assert mapped.label_space.organ("left_kidney").code == WORD16.organ("left_kidney").code


def test_wrong_label_maps_are_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"did you mean 'total_to_word\.yaml'"):
        read_label_map("total_to_wrd.yaml")
    (tmp_path / "map.yaml").write_text("label: {a: liver}\nlabels: {}\n")
    with pytest.raises(UserError, match=r"map\.yaml: label: Extra inputs"):
        read_label_map(tmp_path / "map.yaml")
    with pytest.raises(UserError, match=r"found none of them .did you mean 'liver'"):
        map_labels({"livr": 1}, LabelMap(labels={"liver": "liver"}), "x")


def test_numbers_of_numpy_are_read(tmp_path: Path) -> None:
    """Of every kind and of both paths that NumPy has had for them."""
    numbers = [np.float32(1), np.float64(2), np.int64(3), np.int32(4), np.bool_(True)]
    write_results(tmp_path / "r", plans_of(), logging={"numbers": numbers})
    path = tmp_path / "r/fold_0/checkpoint_final.pth"
    import_nnunet(tmp_path / "r", name="new")
    with zipfile.ZipFile(path) as packed:
        # NumPy 2 moved its core: pickles of either version name another module for the same scalars.
        parts = {entry: packed.read(entry) for entry in packed.namelist()}
    with zipfile.ZipFile(path, "w") as packed:
        for entry, content in parts.items():
            packed.writestr(entry, content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    import_nnunet(tmp_path / "r", name="old")


def test_a_folder_with_a_cross_validation_is_one_model(tmp_path: Path) -> None:
    """nnUNetv2_find_best_configuration copies plans.json and dataset.json beside the merged predictions."""
    model = tmp_path / "Dataset900_blöcke" / "nnUNetTrainer__nnUNetPlans__3d_fullres"
    write_results(model, plans_of())
    merged = model / "crossval_results_folds_0_1_2_3_4"
    merged.mkdir()
    for name in ("plans.json", "dataset.json"):
        shutil.copy(model / name, merged)
    assert import_nnunet(tmp_path / "Dataset900_blöcke").label_space.names[0] == "liver"
