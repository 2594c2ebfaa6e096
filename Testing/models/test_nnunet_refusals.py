"""Results folders of nnU-Net that cannot be imported are refused in words, and leave nothing behind."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from PartialOrganSegLib.cli import main
from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.models import nnunet_import
from PartialOrganSegLib.models.bundle import load_bundle
from PartialOrganSegLib.models.nnunet_import import import_nnunet
from Testing.helpers.listener import Listener
from Testing.helpers.nnunet_folder import LABELS, plans_of, write_map, write_results

pytestmark = pytest.mark.usefixtures("models")


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
