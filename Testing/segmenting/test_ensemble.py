"""Several models asked together: mean probabilities and votes against their formulas, and what cannot be combined."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from PartialOrganSegLib.batch.options import BatchOptions
from PartialOrganSegLib.batch.run import batch_of
from PartialOrganSegLib.cli import main
from PartialOrganSegLib.errors import UsageError, UserError
from PartialOrganSegLib.formats.reading import read_labelmap
from PartialOrganSegLib.formats.writing import write_ct
from PartialOrganSegLib.imaging.volume import Grid, Volume
from PartialOrganSegLib.models.bundle import Bundle, Preprocessing, load_bundle
from PartialOrganSegLib.models.ensemble import ensemble_of, load_models, model_checksum, write_ensemble
from PartialOrganSegLib.segmenting.memory import estimate_memory
from PartialOrganSegLib.segmenting.options import SegmentOptions
from PartialOrganSegLib.segmenting.predictor import Predictor
from PartialOrganSegLib.segmenting.scores import best_classes, mean_logits, mean_probabilities
from PartialOrganSegLib.segmenting.segmenter import Segmenter
from PartialOrganSegLib.segmenting.voting import majority
from Testing.helpers.level_network import level_bundle
from Testing.helpers.listener import Listener

PREPROCESSING = Preprocessing((4.0, 4.0, 4.0), (-300.0, 500.0), 60.0, 150.0, (8, 16, 16))
# What the three models take for liver and spleen; the CT has boxes of 120, 300 and 450 HU.
LEVELS = ({"liver": 120.0, "spleen": 300.0}, {"liver": 300.0, "spleen": 450.0}, {"liver": 120.0, "spleen": 450.0})


@pytest.fixture
def models(tmp_path: Path) -> list[Bundle]:
    bundles = []
    for number, levels in enumerate(LEVELS):
        bundles.append(level_bundle(tmp_path / f"model{number}", f"model{number}", levels, PREPROCESSING, 60.0))
        # `level_bundle` calls each label space after its model; models of one ensemble share theirs.
        object.__setattr__(bundles[-1], "label_space", bundles[0].label_space)
    return bundles


@pytest.fixture
def ct() -> Volume:
    """A body of soft tissue with a box of each of three intensities."""
    array = np.full((24, 40, 40), -1000, np.int16)
    array[:, 4:36, 4:36] = -20
    for x, hu in ((8, 120), (16, 300), (24, 450)):
        array[8:16, 12:24, x:x + 6] = hu
    return Volume(array, Grid((40, 40, 24), (4.0, 4.0, 4.0)))


@given(st.integers(0, 2**31), st.integers(1, 5))
def test_the_mean_is_over_probabilities(seed, count):
    generator = np.random.default_rng(seed)
    scores = generator.normal(0, 3, (count, 2, 3, 4, 5)).astype(np.float16)
    # A mean of logits would let one model that is very sure outvote the others.
    powers = np.exp(scores.astype(np.float64))
    expected = np.log((powers / powers.sum(-1, keepdims=True)).mean(0))
    mean = mean_probabilities((torch.from_numpy(scores_of_one.copy()) for scores_of_one in scores), count)
    np.testing.assert_allclose(mean.float().exp(), np.exp(expected), atol=4e-3)
    # nnU-Net's own average is that of the logits.
    mean = mean_logits((torch.from_numpy(scores_of_one.copy()) for scores_of_one in scores), count)
    np.testing.assert_allclose(mean.float(), scores.astype(np.float64).mean(0), atol=2e-2)


@given(st.integers(0, 2**31), st.integers(1, 6))
def test_the_majority_decides(seed, count):
    votes = np.random.default_rng(seed).integers(0, 4, (count, 3, 4, 5)).astype(np.uint8)
    decided = majority(list(votes))
    for place in np.ndindex(votes.shape[1:]):
        classes = votes[(slice(None), *place)].tolist()
        highest = max(classes.count(label) for label in classes)
        # At a tie the class that an earlier model gives: the order of the models decides, not chance.
        assert decided[place] == next(label for label in classes if classes.count(label) == highest)


def record_scores(predictor: Predictor, record: list[torch.Tensor]) -> None:
    """Every array of scores that the predictor makes from now on is added to `record`."""
    original = predictor._method.scores

    def scores(*arguments: object) -> torch.Tensor:
        record.append(original(*arguments))
        # Whoever gets the scores works on them in place.
        return record[-1].clone()

    predictor._method.scores = scores


def test_mean_of_three_models_is_the_formula_on_their_own_scores(models, ct):
    """Voxel by voxel, from the scores of each model alone."""
    separate: list[torch.Tensor] = []
    for model in models:
        record_scores(predictor := Predictor(model, "cpu", precision="float32"), separate)
        predictor.predict(ct)
    mean = np.mean([torch.softmax(scores.float(), -1).numpy() for scores in separate], axis=0)
    together: list[torch.Tensor] = []
    record_scores(ensemble := Predictor(ensemble_of(models), "cpu", precision="float32"), together)
    labels = ensemble.predict(ct).labels.array
    np.testing.assert_allclose(together[0].float().exp(), mean, atol=4e-3)
    ordered = np.sort(mean, axis=-1)
    # Where the best two classes are this close, half precision may order them either way.
    clear = ordered[..., -1] - ordered[..., -2] > 0.01  # at 300 HU all three differ, to equal parts
    assert np.array_equal(best_classes(together[0])[clear], mean.argmax(-1)[clear])
    assert {1, 2} <= set(np.unique(labels).tolist())


def test_three_models_vote(models, ct):
    separate = [Predictor(model, "cpu", precision="float32").predict(ct).labels.array for model in models]
    listener = Listener()
    voting = Predictor(ensemble_of(models), "cpu", precision="float32", combine="vote")
    prediction = voting.predict(ct, reporter=listener)
    assert np.array_equal(prediction.labels.array, majority(separate))
    centre = {hu: prediction.labels.array[12, 18, x + 3] for x, hu in ((8, 120), (16, 300), (24, 450))}
    assert centre[120] == 1  # two of three; 300 HU is spleen to the first and liver to the second
    assert centre[450] == 2
    assert listener.warnings == ["model model0+model1+model2: 3 networks: a CT takes about 3 times as long as with "
                                 "one; one of them alone is faster"]
    # Said once for a predictor, not again for each CT of a batch.
    voting.predict(ct, reporter=listener)
    assert len(listener.warnings) == 1
    only_spleen = voting.predict(ct, ["spleen"]).labels.array
    assert np.array_equal(only_spleen, np.where(prediction.labels.array == 2, 2, 0))


def test_an_ensemble_on_disk_is_the_same_as_its_models_together(models, ct, tmp_path):
    written = write_ensemble(tmp_path / "ensemble", models, "three")
    assert [fold.name for fold in written.folds] == ["model0", "model1", "model2"]
    again = load_bundle(tmp_path / "ensemble")
    expected = Predictor(ensemble_of(models), "cpu").predict(ct).labels.array
    assert np.array_equal(Predictor(again, "cpu").predict(ct).labels.array, expected)
    assert again.learner.load_network() is not None
    with pytest.raises(UserError, match="three: expected a model of one network, found an ensemble of 3"):
        again.load_network()
    weights = tmp_path / "ensemble" / "members" / "fold_1" / "models" / "model.safetensors"
    weights.write_bytes(weights.read_bytes() + b" ")
    with pytest.raises(UserError, match="wrong checksum"):
        load_bundle(tmp_path / "ensemble")
    assert estimate_memory(ct.grid, again) > estimate_memory(ct.grid, models[0])


def test_the_command_takes_several(models, ct, tmp_path, capsys):
    image = write_ct(tmp_path / "ct.nii.gz", ct) or tmp_path / "ct.nii.gz"
    folders = ",".join(str(model.folder) for model in models[::2])
    for combine in ("mean", "vote"):
        out = tmp_path / f"{combine}.nii.gz"
        assert main(["segment", str(image), "-o", str(out), "--model", folders, "--combine", combine, "--device",
                     "cpu", "--no-preview"]) == 0
        expected = Predictor(ensemble_of(models[::2]), "cpu", combine=combine).predict(ct).labels.array
        assert np.array_equal(read_labelmap(out).array, expected)
        assert "2 networks: a CT takes about 2 times as long" in capsys.readouterr().err


def test_what_cannot_be_combined_is_one_line(models, tmp_path):
    liver_alone = level_bundle(tmp_path / "other", "other", {"liver": 100.0}, PREPROCESSING)
    with pytest.raises(UserError, match=r"other: expected the organs of model0 in its order \(liver, spleen\), "
                                        "found liver"):
        ensemble_of([models[0], liver_alone])
    coarse = Preprocessing((8.0, 8.0, 8.0), (-300.0, 500.0), 60.0, 150.0, (8, 16, 16))
    level_bundle(tmp_path / "coarse", "coarse", LEVELS[0], coarse)
    pair = [models[0].folder, tmp_path / "coarse"]
    with pytest.raises(UserError, match="model0 and coarse with different spacing_zyx; let them vote: combine=vote"):
        load_models(pair)
    assert len(load_models(pair, "vote").folds) == 2
    with pytest.raises(UserError, match="expected several models to vote, found model0 alone"):
        load_models(models[0].folder, "vote")
    with pytest.raises(UsageError, match=r"combine: expected mean or vote, found 'votes' \(did you mean 'vote'\?\)"):
        SegmentOptions(combine="votes")
    with pytest.raises(UsageError, match="model: expected an installed model's name"):
        SegmentOptions(model=["a", 3])
    assert SegmentOptions(model="a, b").model == ("a", "b")


def test_records_tell_ensembles_apart(models, tmp_path):
    """A batch is gone on with only where the same models were combined in the same way."""
    options = BatchOptions(output=tmp_path / "out")
    pair = [models[0].folder, models[1].folder]
    batches = [batch_of(Segmenter(SegmentOptions(model=model, combine=combine)), options)
               for model, combine in ((pair, "mean"), (pair, "vote"), (pair[::-1], "mean"), (pair[0], "mean"))]
    distinct = {(batch.model, str(batch.settings)) for batch in batches}
    assert len(distinct) == 4
    assert batches[3].model == model_checksum(models[0])
    assert "combine" not in batches[0].settings
