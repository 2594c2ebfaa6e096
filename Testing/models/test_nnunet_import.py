"""A results folder of nnU-Net v2 becomes a bundle with the same network, and what cannot be followed is refused."""

import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from PartialOrganSegLib.cli import main
from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.events import Reporter
from PartialOrganSegLib.imaging.volume import Grid, Volume
from PartialOrganSegLib.models import nnunet_import
from PartialOrganSegLib.models.bundle import load_bundle
from PartialOrganSegLib.models.checksums import sha256
from PartialOrganSegLib.models.label_map import LabelMap, map_labels, read_label_map
from PartialOrganSegLib.models.nnunet_import import import_nnunet
from PartialOrganSegLib.organs import WORD16
from PartialOrganSegLib.segmenting.nnunet.predictor import NNUNetPredictor
from Testing.helpers.listener import Listener
from Testing.helpers.nnunet_folder import LABELS, plans_of, reference_network, weights_of, write_results

pytestmark = pytest.mark.usefixtures("models")


def write_map(path: Path, labels: dict[str, str | None], **settings: object) -> Path:
    path.write_text(yaml.safe_dump({"labels": labels, **settings}, sort_keys=False), encoding="utf-8")
    return path


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


class Runs:
    """What a pickle can do to who loads it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_checkpoint_that_needs_unpickling_is_refused(tmp_path: Path, models: Path) -> None:
    write_results(tmp_path / "r", plans_of(), logging=Runs(tmp_path / "ran"))
    with pytest.raises(UserError, match=r"checkpoint_final.pth: refused: .*can run code"):
        import_nnunet(tmp_path / "r")
    assert not (tmp_path / "ran").exists()
    assert not models.exists()


def test_version_1_is_told(tmp_path: Path) -> None:
    (tmp_path / "r/fold_0").mkdir(parents=True)
    (tmp_path / "r/plans.pkl").write_bytes(b"x")
    (tmp_path / "r/fold_0/model_final_checkpoint.model").write_bytes(b"x")
    with pytest.raises(UserError, match=r"version 2 .*found one of version 1"):
        import_nnunet(tmp_path / "r")


CONFIGURATION = {
    "previous_stage": ("3d_lowres", "cascades are not supported"),
    "preprocessor_name": ("MyPreprocessor", "expected DefaultPreprocessor, found 'MyPreprocessor'"),
    "normalization_schemes": (["RGBTo01Normalization"], "normalisation.*RGBTo01Normalization"),
    "resampling_fn_data": ("resample_torch_fornnunet", "resampling_fn_data: expected resample_data_or_seg_to_shape"),
    "resampling_fn_probabilities_kwargs": ({"order": 3, "force_separate_z": None}, "probabilities_kwargs.order"),
}


@pytest.mark.parametrize("setting", CONFIGURATION)
def test_settings_that_are_not_followed_are_refused(tmp_path: Path, setting: str) -> None:
    value, message = CONFIGURATION[setting]
    write_results(tmp_path / "r", plans_of(**{setting: value}))
    with pytest.raises(UserError, match=rf"plans.json: .*{message}"):
        import_nnunet(tmp_path / "r")


@pytest.mark.parametrize(("key", "value", "message"), [
    ("dropout_op", "torch.nn.Dropout3d", "dropout_op: expected None"),
    ("norm_op", "torch.nn.BatchNorm3d", "norm_op: expected InstanceNorm3d"),
    ("dilation", 2, "dilation: expected a setting known here"),
    ("nonlin_kwargs", {"negative_slope": 0.2}, "nonlin_kwargs: expected")])
def test_unknown_architectures_are_refused(tmp_path: Path, key: str, value: object, message: str) -> None:
    plans = plans_of()
    write_results(tmp_path / "r", plans)
    plans["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"][key] = value
    (tmp_path / "r/plans.json").write_text(json.dumps(plans))
    with pytest.raises(UserError, match=message):
        import_nnunet(tmp_path / "r")


@pytest.mark.parametrize(("change", "message"), [
    ({"labels": {"background": 0, "kidney": [1, 2], "tumour": 2}}, "regions .labels that overlap"),
    ({"labels": {"background": 0, "liver": 1, "spleen": 3}}, r"expected values 1..n, found \[1, 3\]"),
    ({"channel_names": {"0": "CT", "1": "PET"}}, "channel_names: expected 1, found 2"),
    ({"labels": LABELS | {"stomach": 5}}, "expected 6 classes as in dataset.json, found 5"),
    ({"labels": None}, "labels: expected names and values")])
def test_data_sets_that_do_not_fit_are_refused(tmp_path: Path, models: Path, change: dict, message: str) -> None:
    write_results(tmp_path / "r", plans_of())
    dataset = json.loads((tmp_path / "r/dataset.json").read_text())
    (tmp_path / "r/dataset.json").write_text(json.dumps(dataset | change))
    with pytest.raises(UserError, match=rf"{message}"):
        import_nnunet(tmp_path / "r")
    assert not models.exists()


@pytest.mark.parametrize(("make", "message"), [
    (lambda r: (r / "fold_0/checkpoint_final.pth").unlink(), "expected a trained fold"),
    (lambda r: (r / "fold_0/checkpoint_final.pth").write_bytes(b"PK"), "checkpoint"),
    (lambda r: (r / "plans.json").write_text("{"), "expected nnU-Net's settings as JSON"),
    (lambda r: (r / "plans.json").write_text('{"configurations": {}}'), "expected configuration '3d_fullres'"),
    (lambda r: torch.save({"state_dict": {}}, r / "fold_0/checkpoint_final.pth"), "checkpoint of nnU-Net version 2")])
def test_incomplete_folders_are_told(tmp_path: Path, make, message: str) -> None:
    write_results(tmp_path / "r", plans_of())
    make(tmp_path / "r")
    with pytest.raises(UserError, match=message):
        import_nnunet(tmp_path / "r")


def test_several_models_are_not_guessed_between(tmp_path: Path) -> None:
    for name in ("nnUNetTrainer__nnUNetPlans__2d", "nnUNetTrainer__nnUNetPlans__3d_fullres"):
        write_results(tmp_path / "Dataset900_blocks" / name, plans_of())
    with pytest.raises(UserError, match=r"expected one trained model, found .*2d, .*3d_fullres"):
        import_nnunet(tmp_path / "Dataset900_blocks")
    with pytest.raises(UserError, match="no such folder"):
        import_nnunet(tmp_path / "nowhere")


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


def test_what_was_named_instead_of_a_results_folder_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tmp_path / "r"
    write_results(model, plans_of(), fold="2")
    shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path, "r")
    with pytest.raises(UserError, match=r"packed.zip: expected an nnU-Net results folder .* found a file; unpack"):
        import_nnunet(tmp_path / "packed.zip")
    with pytest.raises(UserError, match=r"found one of its folds; name .*r, and the fold by --fold 2"):
        import_nnunet(model / "fold_2")
    for source in (tmp_path / "packed.zip", model):
        assert main(["models", "install", str(source)]) == 1
        assert "partialorganseg models import nnunet" in capsys.readouterr().err
    with pytest.raises(UserError, match="expected different folds, found '2,2'"):
        import_nnunet(model, fold="2,2")
    (model / "fold_2/checkpoint_final.pth").rename(model / "fold_2/checkpoint_latest.pth")
    with pytest.raises(UserError, match=r"found fold_2/checkpoint_latest.pth; nnU-Net writes the final"):
        import_nnunet(model)


def test_labels_of_one_name_ask_for_a_map(tmp_path: Path) -> None:
    write_results(tmp_path / "r", plans_of(), {"background": 0, "left kidney": 1, "Left-Kidney": 2})
    with pytest.raises(UserError, match=r"dataset.json: .*'left_kidney' twice; give them other names with --map"):
        import_nnunet(tmp_path / "r")
    with pytest.raises(UserError, match=r"map ö.yaml: organ 1: .* found 'background'"):
        import_nnunet(tmp_path / "r", write_map(tmp_path / "map ö.yaml", {"left kidney": "background"}))


def test_weights_that_are_no_numbers_are_refused(tmp_path: Path, models: Path) -> None:
    """A training that diverged: such a model was installed, and refused when it was used."""
    write_results(tmp_path / "r", plans_of())
    file = tmp_path / "r/fold_0/checkpoint_final.pth"
    content = torch.load(file, weights_only=False)
    content["network_weights"]["decoder.transpconvs.0.bias"][0] = float("nan")
    torch.save(content, file)
    with pytest.raises(UserError, match=r"checkpoint_final.pth: expected numbers as weights, found NaN"):
        import_nnunet(tmp_path / "r")
    assert not models.exists()


def test_plans_with_a_setting_of_another_kind_are_told(tmp_path: Path) -> None:
    write_results(tmp_path / "r", plans_of(resampling_fn_data_kwargs=None))
    with pytest.raises(UserError, match=r"plans.json: expected the plans of nnU-Net version 2"):
        import_nnunet(tmp_path / "r")


@pytest.mark.parametrize("name", ["Leber ü", "../outside", "x" * 65])
def test_a_name_that_cannot_be_a_models_is_told_at_once(tmp_path: Path, models: Path, name: str) -> None:
    write_results(tmp_path / "r", plans_of())
    listener = Listener()
    with pytest.raises(UserError, match=r"model name: expected at most 64 of a-z, .*choose another one with --name"):
        import_nnunet(tmp_path / "r", name=name, reporter=listener)
    assert not listener.warnings
    assert not models.exists()


@pytest.mark.parametrize("fold", ["0", "0,1"])
def test_another_process_that_was_quicker_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                           fold: str) -> None:
    """Of two imports under one name the second is refused, were the name free when it began."""
    for number in range(2):
        write_results(tmp_path / f"r{number}", plans_of(), fold=str(number), seed=number)
    (tmp_path / "r1/fold_1").rename(tmp_path / "r0/fold_1")
    load = nnunet_import._load
    calls = []

    def load_after_the_other(*arguments) -> None:
        calls.append(arguments)
        if len(calls) == 1:
            import_nnunet(tmp_path / "r0", fold="1", name="same", licence="of the first")
        load(*arguments)

    monkeypatch.setattr(nnunet_import, "_load", load_after_the_other)
    with pytest.raises(UserError, match="'same' is already installed"):
        import_nnunet(tmp_path / "r0", fold=fold, name="same", licence="of the second")
    assert load_bundle("same").metadata.partialorganseg.licences.weights == "of the first"
    assert [path.name for path in load_bundle("same").folder.parent.iterdir()] == ["same"]


def test_a_full_disk_is_one_line(tmp_path: Path, models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    resource = pytest.importorskip("resource")
    write_results(tmp_path / "r", plans_of())
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, before[1]))
    try:
        code = main(["models", "import", "nnunet", str(tmp_path / "r"), "--name", "full"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert code == 1
    assert f"model full: could not be installed in {models}: " in capsys.readouterr().err
    assert not list(models.iterdir())
