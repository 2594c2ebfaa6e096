"""Several networks as one model: each has the say of its own organs, whatever grid it works on."""

from __future__ import annotations

import dataclasses
import itertools
import shutil
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from PartialOrganSegLib.cli import main
from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.events import Reporter
from PartialOrganSegLib.finetuning.speed import network_seconds
from PartialOrganSegLib.imaging.linear import LinearReader, read_near
from PartialOrganSegLib.imaging.volume import Grid, Volume
from PartialOrganSegLib.imaging.working_grid import WorkingGrid
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
from PartialOrganSegLib.segmenting.joined import JoinedPredictor
from PartialOrganSegLib.segmenting.predictor import Predictor
from Testing.helpers.level_network import level_bundle

LEVELS = {"liver": 200.0, "spleen": 400.0, "left_kidney": 700.0}
LICENCES = {"code": "Apache-2.0", "weights": "research only", "data": "none"}


class Threshold(torch.nn.Module):
    """A hand-made network with a known answer: the class whose intensity is nearest to the voxel's."""

    size_multiple = (4, 4, 4)

    def __init__(self, levels: list[float]) -> None:
        super().__init__()
        self.levels = torch.tensor(levels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return -((x - self.levels.view(1, -1, 1, 1, 1)).abs() * 20).clamp(max=30)


def network_of(folder: Path, name: str, organs: dict[str, float], spacing: tuple[float, float, float]) -> Bundle:
    """A bundle whose network calls what lies near `organs[name]` HU that organ."""
    # A bundle of this test has no file of weights: its network is the function above.
    class HandMadeBundle(Bundle):
        def load_network(self, device="cpu"):
            return Threshold([0.0, *(hu / 1000 for hu in organs.values())])

    return HandMadeBundle(folder, name, SimpleNamespace(), label_space_of_names(name, list(organs)),
                Preprocessing(spacing, (-1000.0, 1000.0), 0.0, 1000.0, (16, 32, 32)), "threshold", {})


def joined_of(folder: Path, *members: tuple[Bundle, tuple[str, ...]]) -> Bundle:
    space = label_space_of_names("joined", [organ for _, organs in members for organ in organs])
    return Bundle(folder, "joined", SimpleNamespace(), space, members[-1][0].preprocessing, "threshold", {},
                  members=tuple(Member(bundle, organs) for bundle, organs in members))


def scene(grid: Grid) -> tuple[Volume, np.ndarray]:
    """A body with three boxes of different HU, and the values 0 to 3 of what they are, on any grid."""
    index = np.stack(np.meshgrid(*(np.arange(n) for n in grid.size), indexing="ij"), -1)
    points = index @ grid.matrix[:3, :3].T + grid.matrix[:3, 3]
    points = points.transpose(2, 1, 0, 3)
    hu = np.where((np.abs(points[..., 0]) < 110) & (np.abs(points[..., 1]) < 80), 0, -1000)
    labels = np.zeros(hu.shape, np.uint8)
    for value, (name, x) in enumerate((("liver", -60), ("spleen", 0), ("left_kidney", 60)), 1):
        inside = (np.abs(points - [x, 0, 0]) < [18, 30, 24]).all(-1)
        hu[inside], labels[inside] = LEVELS[name], value
    return Volume(hu.astype(np.int16), grid), labels


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


def centred(size: tuple[int, int, int], spacing: tuple[float, float, float], degrees: float = 0.0) -> Grid:
    """A grid round the origin, turned about the patient's x axis."""
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    direction = np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])
    origin = -direction @ ((np.array(size) - 1) / 2 * np.array(spacing))
    return Grid(size, spacing, tuple(origin), tuple(direction.ravel()))


@pytest.mark.parametrize("degrees", [0.0, 4.0, 25.0])
@pytest.mark.parametrize("spacings", [((4.0, 4.0, 4.0),) * 2, ((4.0, 4.0, 4.0), (6.0, 5.0, 5.0)),
                                      ((6.0, 5.0, 5.0), (3.0, 4.0, 4.0))])
def test_each_network_has_the_say_of_its_organs(tmp_path, spacings, degrees):
    """The second network calls the liver a spleen, and is not asked; coarse voxels cost boxes of 36 mm their rims."""
    first = network_of(tmp_path, "first", {"liver": LEVELS["liver"], "spleen": LEVELS["spleen"]}, spacings[0])
    second = network_of(tmp_path, "second", {"spleen": LEVELS["liver"], "left_kidney": LEVELS["left_kidney"]},
                        spacings[1])
    ct, truth = scene(centred((64, 48, 40), (4.0, 4.0, 4.0), degrees))
    bundle = joined_of(tmp_path, (first, ("liver",)), (second, ("left_kidney",)))
    prediction = Predictor(bundle, "cpu").predict(ct)
    # Of the three boxes, the first network's liver and the second's kidney; the spleen is no organ of either.
    expected = np.select([truth == 1, truth == 3], [1, 2])
    assert prediction.labels.grid is ct.grid
    for value in (1, 2):
        ours, theirs = prediction.labels.array == value, expected == value
        assert 2 * (ours & theirs).sum() / (ours.sum() + theirs.sum()) > 0.72
        centres = [np.mean(np.nonzero(mask), 1) for mask in (ours, theirs)]
        # Half a voxel: an origin that is off by one of either grid's voxels would show.
        np.testing.assert_allclose(*centres, atol=0.5)
    assert set(prediction.entropy) == {"liver", "left_kidney"}


def test_probabilities_are_shared_out_by_candidate_sets(tmp_path, monkeypatch):
    """Against the formula in the docstring of `models.joined`, stated anew."""
    generator = np.random.default_rng(0)
    ct, _ = scene(centred((32, 24, 16), (4.0, 4.0, 4.0)))
    first = network_of(tmp_path, "first", {"liver": 1, "spleen": 2}, (4.0, 4.0, 4.0))
    second = network_of(tmp_path, "second", {"spleen": 1, "colon": 2, "bladder": 3}, (4.0, 4.0, 4.0))
    bundle = joined_of(tmp_path, (first, ("liver", "spleen")), (second, ("colon", "bladder")))
    method = JoinedPredictor(bundle, torch.device("cpu"), False, (1.0,))
    joined = {}
    monkeypatch.setattr("PartialOrganSegLib.segmenting.joined.finish",
                        lambda scores, *_: (joined.update(scores=scores), {}))
    logits = []
    for member, classes in zip(method._members, (3, 4), strict=True):
        def scores(patient, frame, seconds, reporter, classes=classes):
            logits.append(torch.from_numpy(generator.normal(0, 2, (*frame.shape, classes))).half())
            return logits[-1].clone()

        monkeypatch.setattr(member.method, "scores", scores)
    method.segment(ct, np.arange(5, dtype=np.uint8), {}, Reporter())
    # Softmax in float64 of the scores that the two networks gave, in the order asked.
    p, q = (np.exp(x.double().numpy()) / np.exp(x.double().numpy()).sum(-1, keepdims=True) for x in logits)
    no_organ = p[..., 0]  # {background, colon, bladder} of the first
    expected = np.stack([no_organ * (q[..., 0] + q[..., 1]), p[..., 1], p[..., 2], no_organ * q[..., 2],
                         no_organ * q[..., 3]], -1)
    np.testing.assert_allclose(expected.sum(-1), 1)
    sparse = joined["scores"]
    scores_of_all = sparse.table[torch.from_numpy(sparse.row_of).long()]
    np.testing.assert_allclose(np.exp(scores_of_all.double().numpy()), expected, atol=4e-3)


@settings(max_examples=25, deadline=None)
@given(st.permutations((0, 1, 2)), st.tuples(*(st.sampled_from((-1.3, -0.7, 0.4, 1.0, 1.7)),) * 3), st.integers(0, 99))
def test_reading_along_the_axes_is_linear_interpolation(order, steps, seed):
    generator = np.random.default_rng(seed)
    values = generator.normal(size=(6, 7, 8, 2)).astype(np.float32)
    matrix = np.eye(4)
    matrix[:3, :3] = 0
    for target, axis in enumerate(order):
        matrix[axis, target] = steps[target]
    matrix[:3, 3] = generator.uniform(-1, 7, 3)
    _compare(values, matrix)


def test_what_is_far_from_a_mask_is_not_read():
    mask = np.zeros((20, 20, 20), bool)
    mask[4:6, 4:6, 4:6] = True
    near = read_near(mask, np.diag([0.5, 0.5, 0.5, 1.0]), (40, 40, 40))
    assert near.any()
    # Two voxels of the mask are four here, and each side may add the reach of the interpolation.
    assert near.sum() <= 12**3
    assert not read_near(np.zeros((20, 20, 20), bool), np.eye(4), (20, 20, 20)).any()


def test_reading_a_turned_grid_is_linear_interpolation():
    generator = np.random.default_rng(1)
    turn = np.linalg.qr(generator.normal(size=(3, 3)))[0]
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = turn * 0.8, [2, 3, 3]
    _compare(generator.normal(size=(6, 7, 8, 2)).astype(np.float32), matrix)


def _compare(values: np.ndarray, matrix: np.ndarray) -> None:
    shape = (5, 4, 6)
    index = np.stack([*np.indices(shape), np.ones(shape)]).reshape(4, -1)
    places = (matrix @ index)[:3]
    expected = np.stack([ndimage.map_coordinates(values[..., c], places, order=1, mode="nearest").reshape(shape)
                         for c in range(values.shape[3])], -1)
    row_of = np.arange(values[..., 0].size, dtype=np.int32).reshape(values.shape[:3])
    reader = LinearReader(torch.from_numpy(values).flatten(0, 2), row_of, matrix)
    # The reader goes slice by slice, as segmenting does, so that no whole class volume is held.
    y, x = (axis.ravel() for axis in np.indices(shape[1:]))
    read = torch.stack([reader.read(z, y, x) for z in range(shape[0])]).reshape(*shape, -1).numpy()
    np.testing.assert_allclose(read, expected, atol=2e-4)
    # A sparse mask: `read_near` must name every voxel beside one that reads from it.
    chosen = values[..., :1] > np.quantile(values[..., 0], 0.97)
    reader = LinearReader(torch.from_numpy(chosen.astype(np.float32)).flatten(0, 2), row_of, matrix)
    touched = torch.stack([reader.read(z, y, x) for z in range(shape[0])]).reshape(shape).numpy() > 1e-5
    beside = ndimage.binary_dilation(touched, np.ones((3, 3, 3)))
    assert not (beside & ~read_near(chosen[..., 0], matrix, shape)).any()


@pytest.mark.parametrize("degrees", [0.0, 25.0])
def test_a_frame_knows_where_its_voxels_lie(degrees):
    grid = centred((40, 36, 30), (3.0, 4.0, 5.0), degrees)
    frame = WorkingGrid.of(grid, (slice(2, 30), slice(0, 36), slice(5, 33)), None, (6.0, 6.0, 6.0))
    corner, next_one = (frame.to_patient(grid) @ [k, k, k, 1] for k in (0, 1))
    mm = np.linalg.norm(next_one - corner)
    assert mm == pytest.approx(np.linalg.norm(frame.spacing_zyx), rel=1e-6)
    centre = frame.to_patient(grid) @ [*((n - 1) / 2 for n in frame.shape), 1]
    expected = grid.matrix @ [(5 + 32) / 2, 35 / 2, (2 + 29) / 2, 1]
    # On a tilted grid the working grid is the box of the tilted one, so its centre lies elsewhere by up to a voxel.
    assert np.abs(centre - expected).max() < (1e-6 if degrees == 0 else 4)


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
    ct, _ = scene(centred((40, 36, 30), (5.0, 5.0, 5.0)))
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
    ct, expected = scene(centred((40, 36, 30), (5.0, 5.0, 5.0)))
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


def test_orders_of_every_axis_agree(tmp_path):
    """The same voxels listed in another order get the same labels."""
    first = network_of(tmp_path, "first", {"liver": LEVELS["liver"]}, (4.0, 4.0, 4.0))
    second = network_of(tmp_path, "second", {"left_kidney": LEVELS["left_kidney"]}, (6.0, 5.0, 5.0))
    predictor = Predictor(joined_of(tmp_path, (first, ("liver",)), (second, ("left_kidney",))), "cpu")
    ct, _ = scene(centred((64, 48, 40), (4.0, 4.0, 4.0)))
    expected = predictor.predict(ct).labels
    # Each voxel order, once as stored and once with its first axis running backwards.
    for axes, flip in itertools.product(((0, 2, 1), (2, 1, 0), (1, 2, 0)), (False, True)):
        array = ct.array.transpose(axes)
        matrix = ct.grid.matrix[:3, :3][:, ::-1][:, list(axes)]
        origin = ct.grid.matrix[:3, 3].copy()
        if flip:
            origin += matrix[:, 0] * (array.shape[0] - 1)
            matrix[:, 0] *= -1
            array = array[::-1]
        spacing = np.linalg.norm(matrix, axis=0)
        grid = Grid(array.shape[::-1], tuple(spacing[::-1]), tuple(origin),
                    tuple((matrix / spacing)[:, ::-1].ravel()))
        labels = predictor.predict(Volume(np.ascontiguousarray(array), grid)).labels.array
        expected_labels = expected.array.transpose(axes)[::-1 if flip else 1]
        assert (labels == expected_labels).mean() > 0.9999
