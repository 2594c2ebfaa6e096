"""Several models are joined into one on disk: whose organs are whose, what is written, and what is refused."""

from __future__ import annotations

import dataclasses
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from PartialOrganSegLib.cli import main
from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.finetuning.speed import network_seconds
from PartialOrganSegLib.imaging.volume import Grid
from PartialOrganSegLib.models.bundle import MEMBERS, Bundle, Member, Preprocessing, load_bundle
from PartialOrganSegLib.models.bundle_writing import write_bundle
from PartialOrganSegLib.models.checksums import verify_bundle
from PartialOrganSegLib.models.ensemble import ensemble_of, write_ensemble
from PartialOrganSegLib.models.joined import divided, join_bundles
from PartialOrganSegLib.models.onnx_export import onnx_files
from PartialOrganSegLib.models.store import install_model
from PartialOrganSegLib.networks import build_network
from PartialOrganSegLib.organs import WORD16, Code, LabelSpace, Organ, label_space_of_names
from PartialOrganSegLib.segmenting import memory
from PartialOrganSegLib.segmenting.predictor import Predictor
from Testing.helpers.finetune_data import LICENCES
from Testing.helpers.level_network import level_bundle
from Testing.helpers.three_boxes import centred, three_boxes


@pytest.fixture
def bundles(tmp_path) -> list[Bundle]:
    """Two small models on disk: one of three organs, one of WORD's sixteen."""
    def written(name: str, space, spacing) -> Bundle:
        # Names of different length: the two networks must not have the same weights.
        torch.manual_seed(len(name))
        arguments = {"channels": [4, 8], "norm": "batch"}
        network = build_network("light_unet", 1, space.class_count, **arguments)
        return write_bundle(tmp_path / f"größe {name}", network, "light_unet", arguments, space,
                            Preprocessing(spacing, (-200.0, 300.0), 50.0, 100.0, (16, 32, 32)), name, "1.0.0",
                            LICENCES | {"data": name}, [f"data of {name}"], {}, f"Model {name}.")

    return [written("three", label_space_of_names("three", ["spleen", "liver", "aorta"]), (4.0, 3.0, 3.0)),
            written("sixteen", WORD16, (5.0, 4.0, 4.0))]


def test_what_several_members_were_trained_on_is_listed_once(tmp_path):
    settings = Preprocessing((3.0, 3.0, 3.0), (-1000.0, 1000.0), 0.0, 1000.0, (16, 32, 32))
    first = level_bundle(tmp_path / "first", "first", {"liver": 200.0}, settings)
    second = level_bundle(tmp_path / "second ä", "second", {"spleen": 400.0}, settings)
    shared = {"name": "WORD", "cases": 100}
    for bundle in (first, second):
        bundle.metadata.partialorganseg.training_data.extend(["phantoms", shared])
    joined = join_bundles(tmp_path / "both", [first, second], "both")
    assert joined.metadata.partialorganseg.training_data == ["cases of first", "phantoms", shared, "cases of second"]
    assert load_bundle(tmp_path / "both").metadata.partialorganseg.training_data.count(shared) == 1


def test_a_joined_bundle_is_whole_and_comes_back(bundles, tmp_path):
    joined = join_bundles(tmp_path / "joined", bundles, "joined")
    assert load_bundle(joined.folder) == joined
    assert [(member.bundle.name, member.organs[:2]) for member in joined.members] == [
        ("three", ("spleen", "liver")), ("sixteen", ("left_kidney", "right_kidney"))]
    assert joined.label_space.names == ("spleen", "liver", "aorta", *[n for n in WORD16.names
                                                                     if n not in ("spleen", "liver")])
    assert joined.learner.name == "sixteen"
    assert joined.metadata.partialorganseg.licences.data == "three: three; sixteen: sixteen"
    for ours, theirs in zip(joined.members, bundles, strict=True):
        for key, value in theirs.load_network().state_dict().items():
            assert torch.equal(ours.bundle.load_network().state_dict()[key], value)
    with pytest.raises(UserError, match="expected a model of one network, found one joined of three, sixteen"):
        joined.load_network()
    ct, _ = three_boxes(centred((40, 36, 30), (5.0, 5.0, 5.0)))
    assert Predictor(joined, "cpu").predict(ct, ["aorta"]).labels.array.max() in (0, 3)
    weights = joined.folder / MEMBERS / "three" / "models" / "model.safetensors"
    # One damaged byte in one member is enough to refuse the whole.
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0\0")
    with pytest.raises(UserError, match=r"members/three/models/model.safetensors"):
        verify_bundle(joined.folder)


def test_joined_bundles_are_joined_again_as_their_members(bundles, tmp_path):
    joined = join_bundles(tmp_path / "joined", bundles, "joined")
    space = label_space_of_names("one", ["heart"])
    network = build_network("light_unet", 1, 2, channels=[4, 8], norm="batch")
    heart = write_bundle(tmp_path / "heart", network, "light_unet", {"channels": [4, 8], "norm": "batch"}, space,
                         bundles[0].preprocessing, "heart", "1.0.0", LICENCES, [], {}, "Heart.")
    again = join_bundles(tmp_path / "again", [joined, heart], "again")
    assert [member.bundle.name for member in again.members] == ["three", "sixteen", "heart"]
    assert again.label_space.names[-1] == "heart"


def test_an_ensemble_is_joined_as_one_member(tmp_path, monkeypatch, capsys):
    """Its networks are asked together for its organs. It was refused once all was written, in place of what was there;
    `finetune --beside` refused such a start model."""
    monkeypatch.setenv("PARTIALORGANSEG_MODELS", str(tmp_path / "modèles"))
    settings = Preprocessing((5.0, 5.0, 5.0), (-1000.0, 1000.0), 0.0, 1000.0, (8, 16, 16))
    folds = [level_bundle(tmp_path / f"fold {hu}", "fold", {"liver": hu}, settings) for hu in (200.0, 400.0)]
    ensemble = write_ensemble(tmp_path / "both folds", folds, "both")
    kidney = level_bundle(tmp_path / "kidney ä", "kidney", {"left_kidney": 700.0}, settings)
    joined = join_bundles(tmp_path / "joined", [kidney, ensemble], "joined")
    assert load_bundle(joined.folder) == joined
    assert [len(member.bundle.folds) for member in joined.members] == [0, 2]
    assert torch.equal(joined.learner.load_network().head.weight, folds[0].load_network().head.weight)
    ct, expected = three_boxes(centred((40, 36, 30), (5.0, 5.0, 5.0)))
    # Each of the two finds one box, and is sure that the other one is none: in their mean neither is likelier than not.
    found = Predictor(joined, "cpu").predict(ct).labels.array
    alone = Predictor(ensemble, "cpu").predict(ct).labels.array
    assert np.array_equal(found == joined.label_space.index("liver"), alone == 1)
    assert set(np.unique(expected[found == joined.label_space.index("left_kidney")])) == {3}
    assert memory.estimate_memory(ct.grid, joined) > memory.estimate_memory(
        ct.grid, join_bundles(tmp_path / "one", [kidney, folds[0]], "one"))
    one, two = network_seconds([Member(folds[0], ("liver",)), joined.members[1]], [(8, 16, 16)], (5.0, 5.0, 5.0),
                               torch.device("cpu"))
    assert two > 0 < one
    assert [path.name for path in onnx_files(joined, Path("m.onnx"))] == [
        "m.kidney.onnx", "m.both.fold_0.onnx", "m.both.fold_1.onnx"]
    assert main(["models", "join", str(kidney.folder), str(ensemble.folder), "--name", "installed"]) == 0
    assert main(["models", "info", "installed"]) == 0
    assert "an ensemble of 2" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"fold\+fold: expected a model in a folder of its own"):
        join_bundles(tmp_path / "joined", [kidney, ensemble_of(folds)], "joined")
    assert load_bundle(joined.folder) == joined


def test_all_of_words_organs_keep_words_order(bundles, tmp_path):
    division = divided(bundles, {"three": ["liver"]})
    assert division[0] == ("liver",)
    assert join_bundles(tmp_path / "joined", bundles, "joined", organs=division).label_space == WORD16


@pytest.mark.parametrize(("names", "wishes", "line"), [
    (["three"], {}, "expected two models or more to join, found three"),
    (["three", "three"], {}, "three: expected models of different names"),
    (["sixteen", "three"], {"three": ["liver"], "sixteen": ["liver"]}, "liver: expected one model to have the say"),
    (["three", "sixteen"], {"threee": ["liver"]}, "did you mean 'three'"),
    (["three", "sixteen"], {"three": ["livre"]}, "did you mean 'liver'"),
    (["sixteen", "three"], {"three": ["aorta"], "sixteen": []}, "sixteen: expected an organ of which no other")])
def test_models_that_cannot_be_joined_are_refused_in_one_line(bundles, names, wishes, line):
    by_name = {bundle.name: bundle for bundle in bundles}
    with pytest.raises(UserError, match=line) as raised:
        divided([by_name[name] for name in names], wishes)
    assert "\n" not in str(raised.value)


def test_the_command_joins_lists_and_verifies(bundles, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PARTIALORGANSEG_MODELS", str(tmp_path / "modèles"))
    folders = [str(bundle.folder) for bundle in bundles]
    assert main(["models", "join", *folders, "--organs", "three=liver,aorta", "--name", "both"]) == 0
    assert main(["models", "join", *folders, "--name", "both"]) == 1
    assert "already installed" in capsys.readouterr().err
    assert main(["models", "join", *folders, "--name", "both", "--organs", "liver"]) == 1
    assert "expected MODEL=organ,organ, found 'liver'" in capsys.readouterr().err
    assert main(["models", "info", "both"]) == 0
    card = capsys.readouterr().out
    assert "member three" in card
    assert "light_unet, 4 x 3 x 3 mm (z, y, x): liver, aorta" in card
    assert main(["models", "verify", "both"]) == 0


def test_organs_of_one_model_may_be_named_one_by_one(bundles, tmp_path, models, capsys):
    """Of `--organs ours=colon --organs ours=bladder` the last one alone counted."""
    folders = [str(bundle.folder) for bundle in bundles]
    assert main(["models", "join", *folders, "--organs", "sixteen=liver", "--organs", "sixteen=spleen,bladder",
                 "--name", "one"]) == 0
    assert [member.organs for member in load_bundle("one").members] == [("aorta",), ("liver", "spleen", "bladder")]
    # Organs that are left out are named: nobody asked for that.
    lost = [name for name in WORD16.names if name not in ("liver", "spleen", "bladder")]
    said = capsys.readouterr().err
    assert f"model one: none of the models decides on {', '.join(lost)}: it will not have them" in said
    assert main(["models", "join", *folders, "--name", "all"]) == 0
    assert "decides on" not in capsys.readouterr().err


def test_models_of_long_names_are_joined(bundles, tmp_path, models, capsys):
    """nnU-Net's names have 60 letters, so that the two together made none that a model may have."""
    folders = []
    for bundle, letter in zip(bundles, "ab", strict=True):
        network = build_network("light_unet", 1, bundle.label_space.class_count, **bundle.network_arguments)
        named = write_bundle(tmp_path / letter, network, "light_unet", bundle.network_arguments, bundle.label_space,
                             bundle.preprocessing, letter * 60, "1.0.0", LICENCES, [], {}, "Long.")
        folders.append(str(named.folder))
    assert main(["models", "join", *folders]) == 0
    assert load_bundle("a" * 60 + "-bbb").name == "a" * 60 + "-bbb"
    assert main(["models", "join", *[str(bundle.folder) for bundle in bundles], "--name", "Leber ü"]) == 1
    assert "model name: expected at most 64 of a-z" in capsys.readouterr().err


def test_an_organ_keeps_the_code_that_its_model_states(bundles, tmp_path):
    """Its record may lie on another computer: a joined model wrote it as any "Anatomical Structure"."""
    organ = Organ(1, "gland_of_ours", Code("12345", "Gland of ours"), (1, 2, 3), Code("7771000", "Left"))
    space = LabelSpace("ours", (organ,))
    network = build_network("light_unet", 1, 2, channels=[4, 8], norm="batch")
    ours = write_bundle(tmp_path / "ours", network, "light_unet", {"channels": [4, 8], "norm": "batch"}, space,
                        bundles[0].preprocessing, "ours", "1.0.0", LICENCES, [], {}, "Ours.")
    joined = load_bundle(join_bundles(tmp_path / "joined", [bundles[0], ours], "joined").folder)
    assert joined.label_space.organ("gland_of_ours") == dataclasses.replace(organ, index=4)
    assert joined.label_space.organ("liver") == dataclasses.replace(WORD16.organ("liver"), index=2)


def test_a_zip_of_a_joined_bundle_is_installed(bundles, tmp_path, monkeypatch):
    monkeypatch.setenv("PARTIALORGANSEG_MODELS", str(tmp_path / "models"))
    joined = join_bundles(tmp_path / "joined", bundles, "joined")
    shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path, "joined")
    assert len([name for name in zipfile.ZipFile(tmp_path / "packed.zip").namelist()
                if name.endswith("configs/metadata.json")]) == 3
    installed = install_model(tmp_path / "packed.zip")
    assert [member.organs for member in installed.members] == [member.organs for member in joined.members]


def test_memory_of_a_joined_model_is_that_of_its_largest_network(bundles, tmp_path):
    joined = join_bundles(tmp_path / "joined", bundles, "joined")
    grid = Grid((512, 512, 300), (0.8, 0.8, 1.5))
    single = [memory.estimate_memory(grid, bundle) for bundle in bundles]
    # Members run one after the other; what is held of all is scores of its own organs only.
    assert max(single) < memory.estimate_memory(grid, joined) < sum(single)
