"""An imported model segments as nnU-Net does: every step against plain NumPy and SciPy statements of it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.events import Reporter
from PartialOrganSegLib.finetuning.options import FinetuneOptions
from PartialOrganSegLib.finetuning.run import finetune
from PartialOrganSegLib.imaging.volume import Grid, Volume
from PartialOrganSegLib.models.bundle import Preprocessing, load_bundle
from PartialOrganSegLib.models.metadata import NNUNetEntry
from PartialOrganSegLib.models.nnunet_import import import_nnunet
from PartialOrganSegLib.organs import label_space_of_names
from PartialOrganSegLib.segmenting.memory import NNUNET_CHANNEL_BYTES, NNUNET_CLASS_BYTES, estimate_memory
from PartialOrganSegLib.segmenting.nnunet.normalisation import Normalised
from PartialOrganSegLib.segmenting.nnunet.resampling import resample, target_shape, thick_axis
from PartialOrganSegLib.segmenting.nnunet.windows import SLICES, axis_starts, importance, window_scores
from PartialOrganSegLib.segmenting.predictor import Predictor
from Testing.helpers.finetune_data import QUICK, ct_of, only, write_cases
from Testing.helpers.nnunet_folder import FOREGROUND, plans_of, reference_network, write_results

LPS = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
# Voxels listed along the patient's z, -x, -y: neither patient axes nor RAS.
TURNED = (0.0, -1.0, 0.0, 0.0, 0.0, -1.0, 1.0, 0.0, 0.0)


@pytest.fixture(autouse=True)
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARTIALORGANSEG_MODELS", str(tmp_path / "models"))


def zoomed(array: np.ndarray, target: Sequence[int], order: int) -> np.ndarray:
    """All axes at once, in float64, values kept within those of the array."""
    result = ndimage.zoom(array.astype(float), [t / n for t, n in zip(target, array.shape, strict=True)], order=order,
                          mode="nearest", grid_mode=True)
    return result.clip(array.min(), array.max())


def slice_by_slice(array: np.ndarray, target: Sequence[int], order: int, order_z: int, axis: int) -> np.ndarray:
    """In plane splines slice by slice, then along `axis` with `order_z`."""
    slices = np.moveaxis(array, axis, 0)
    plane = [size for a, size in enumerate(target) if a != axis]
    slices = np.stack([zoomed(plane_array, plane, order) for plane_array in slices])
    place = (np.arange(target[axis]) + 0.5) * len(slices) / target[axis] - 0.5
    if order_z == 0:
        result = slices[np.clip(np.floor(place + 0.5), 0, len(slices) - 1).astype(int)]
    else:
        low = np.clip(np.floor(place), 0, len(slices) - 1).astype(int)
        part = (np.clip(place, 0, len(slices) - 1) - low)[:, None, None]
        result = slices[low] * (1 - part) + slices[np.minimum(low + 1, len(slices) - 1)] * part
    return np.moveaxis(result, 0, axis)


def read_from(array: np.ndarray, axis: int):
    return lambda part: array.take(range(part.start, part.stop), axis).astype(np.float32)


@pytest.mark.parametrize("order", [0, 1, 3])
@pytest.mark.parametrize("target", [(50, 9, 24), (20, 30, 11), (37, 14, 17)])
def test_splines_are_resampled_slab_by_slab(order: int, target: tuple[int, int, int]) -> None:
    array = np.random.default_rng(0).normal(size=(37, 14, 17)).astype(np.float32)
    resampled = resample(array.shape, target, read_from(array, 0), order, 0, None).numpy()
    assert np.allclose(resampled, zoomed(array, target, order), atol=1e-4)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("order_z", [0, 1])
def test_thick_slices_are_resampled_one_by_one(axis: int, order_z: int) -> None:
    array = np.random.default_rng(1).normal(size=(21, 14, 17)).astype(np.float32)
    target = (30, 9, 25)
    resampled = resample(array.shape, target, read_from(array, axis), 3, order_z, axis).numpy()
    assert np.allclose(resampled, slice_by_slice(array, target, 3, order_z, axis), atol=1e-4)


@pytest.mark.parametrize(("first", "second", "separate", "axis"), [
    ((5, 1, 1), (2, 2, 2), None, 0), ((2, 2, 2), (1, 1, 5), None, 2), ((3, 1, 1), (1, 1, 1), None, None),
    ((5, 5, 1), (1, 1, 5), None, None), ((5, 1, 1), (1, 1, 5), False, None), ((1, 1.5, 1), (5, 1, 1), True, 1),
    ((1, 1, 1), (5, 1, 1), True, None)])
def test_which_axis_is_apart(first, second, separate, axis) -> None:
    assert thick_axis(first, second, separate) == axis


@given(size=st.integers(1, 300), patch=st.integers(1, 80))
def test_windows_cover_an_axis_evenly(size: int, patch: int) -> None:
    size = max(size, patch)
    starts = axis_starts(size, patch, 0.5)
    assert starts[0] == 0
    assert starts[-1] == size - patch
    assert len(starts) == -(-(size - patch) // (patch * 0.5)) + 1  # no more than half a patch asks for
    gaps = np.diff(starts)
    # Gaps as even as whole voxels allow: no stretch is seen by more windows than its neighbours.
    assert (gaps <= -(-patch // 2)).all()
    assert len(gaps) == 0 or gaps.max() - gaps.min() <= 1


@pytest.mark.parametrize("patch", [(8, 12, 9), (64, 96, 96), (10, 16)])
def test_windows_weigh_their_middle_most(patch: tuple[int, ...]) -> None:
    peak = np.zeros(patch)
    peak[tuple(size // 2 for size in patch)] = 1
    expected = ndimage.gaussian_filter(peak, [size / 8 for size in patch], mode="constant")
    # nnU-Net scales the Gaussian to 10 before half precision, so that few weights underflow to zero.
    expected = (expected / expected.max() * 10).astype(np.float16)
    weights = importance(patch).numpy()
    assert (weights > 0).all()
    positive = expected > 0
    assert np.allclose(weights[positive].astype(float), expected[positive].astype(float), rtol=2e-3, atol=1e-7)
    # Where a weight underflows, nnU-Net gives it the smallest one: every voxel must count in some window.
    assert (weights[~positive] == expected[positive].min()).all()


@pytest.mark.parametrize(("shape", "patch"), [((20, 18, 7), (8, 8, 8)), ((37, 9, 20), (8, 12)), ((3, 4, 5), (4, 4, 8))])
def test_windows_are_put_together_where_they_were(shape, patch) -> None:
    """A network that repeats its input gives the volume back, whatever is padded.

    Whole numbers, since at a window's corners half precision holds weights, and so weighted scores, of few digits.
    """
    volume = torch.randint(-3, 4, shape, generator=torch.Generator().manual_seed(0)).float()
    scores = window_scores(volume, patch, 0.5, 2, lambda window: torch.stack([window[0, 0], -window[0, 0]], -1),
                           Reporter())
    assert scores.shape == (*shape, 2)
    assert torch.allclose(scores[..., 0].float(), volume, atol=0.02)


def test_scores_that_are_no_numbers_are_told() -> None:
    broken = torch.full((4, 8, 8, 2), torch.nan)
    with pytest.raises(UserError, match="no numbers"):
        window_scores(torch.zeros(4, 8, 8), (4, 8, 8), 0.5, 2, lambda window: broken, Reporter())


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("scheme", ["CTNormalization", "ZScoreNormalization", "RescaleTo01Normalization",
                                    "NoNormalization"])
@pytest.mark.parametrize("axis", [0, 2])
def test_normalisation_schemes(scheme: str, masked: bool, axis: int) -> None:
    hu = np.random.default_rng(2).integers(-1000, 1500, (20, 6, 18)).astype(np.int16)
    # Nothing at the border, and a hole inside that a mask must not leave out.
    hu[:2], hu[5:9, 2:4, 5:9] = 0, 0
    mask = ndimage.binary_fill_holes(hu != 0) if masked else np.ones(hu.shape, bool)
    image = hu.astype(float)
    inside = image[mask]
    expected = {
        "CTNormalization": (image.clip(-300, 400) - 40) / 120,
        "ZScoreNormalization": np.where(mask, (image - inside.mean()) / inside.std(), image),
        "RescaleTo01Normalization": (image - image.min()) / (image.max() - image.min()),
        "NoNormalization": image}[scheme]
    settings = NNUNetEntry(spacing=[1, 1, 1], patch=[8, 8, 8], normalisation=scheme, masked_normalisation=masked)
    read = Normalised(hu, settings, Preprocessing((1, 1, 1), (-300.0, 400.0), 40.0, 120.0, (8, 8, 8)), axis).slab
    # Read in two slabs: statistics must be those of the whole image, not of each slab.
    normalised = np.concatenate([read(slice(0, 5)), read(slice(5, hu.shape[axis]))], axis)
    assert np.allclose(normalised, expected, atol=1e-3)


def statement(plans: dict, weights: dict[str, torch.Tensor], array: np.ndarray, spacing: Sequence[float],
              mirrorings: Sequence[Sequence[int]] = ((),)) -> np.ndarray:
    """nnU-Net's labels of a CT that fits into one window, all scores held at native resolution."""
    settings = next(iter(plans["configurations"].values()))
    order = plans["transpose_forward"]
    image, mm = array.transpose(order).astype(float), [spacing[axis] for axis in order]
    box = tuple(slice(int(v.min()), int(v.max()) + 1) for v in np.nonzero(image))
    labels, image = np.zeros(image.shape, np.uint8), image[box]
    low, high = FOREGROUND["percentile_00_5"], FOREGROUND["percentile_99_5"]
    image = (image.clip(low, high) - FOREGROUND["mean"]) / FOREGROUND["std"]
    working = settings["spacing"] if len(settings["spacing"]) == 3 else [mm[0], *settings["spacing"]]
    target = [round(m / w * n) for m, w, n in zip(mm, working, image.shape, strict=True)]

    def resized(values: np.ndarray, shape: Sequence[int], spacings: Sequence[Sequence[float]],
                order: int) -> np.ndarray:
        # nnU-Net's own order: first the spacing of the array that it has, then the one that it goes to.
        for lengths in spacings:
            if max(lengths) / min(lengths) > 3:
                return slice_by_slice(values, shape, order, 0, int(np.argmax(lengths)))
        return zoomed(values, shape, order)

    image = resized(image, target, (mm, working), 3)
    patch = settings["patch_size"]
    side = [image.shape[0], *patch] if len(patch) == 2 else patch
    pads = [((s - n) // 2, s - n - (s - n) // 2) for s, n in zip(side, image.shape, strict=True)]
    padded = torch.from_numpy(np.pad(image, pads)).float()
    # A 2D network takes the slices as its batch, a 3D one the volume as one sample.
    data = padded[:, None] if len(patch) == 2 else padded[None, None]
    logits = sum(reference_network(plans, weights, data.flip(axes)).flip(axes) for axes in mirrorings)
    logits = logits.transpose(0, 1) if len(patch) == 2 else logits[0]
    inner = tuple(slice(first, first + n) for (first, _), n in zip(pads, image.shape, strict=True))
    native = [resized(class_logits[inner].numpy(), labels[box].shape, (working, mm), 1) for class_logits in logits]
    labels[box] = np.argmax(native, 0)
    return labels.transpose(np.argsort(order))


def blobs(shape: tuple[int, int, int], seed: int = 3) -> np.ndarray:
    """Smooth HU between -500 and 500, and nothing at all (0) in the outer slices."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 1.5)
    array = (noise / np.abs(noise).max() * 500).astype(np.int16)
    # Zeros inside would count as "nothing at all" and move the box that nnU-Net crops to.
    array[array == 0] = 1
    array[:1], array[-2:], array[:, :, :1] = 0, 0, 0
    return array


def agreement(a: np.ndarray, b: np.ndarray) -> float:
    # An answer of one class would agree with anything that is nearly empty.
    assert len(np.unique(b)) > 2
    return float((a == b).mean())


@pytest.mark.parametrize(("axes", "residual", "transpose", "grid"), [
    (3, False, (0, 1, 2), Grid((14, 15, 9), (3.5, 3.2, 4.5))),
    (3, True, (2, 0, 1), Grid((9, 14, 13), (4.4, 3.5, 3.0), (0, 0, 0), TURNED)),
    (3, False, (0, 1, 2), Grid((18, 17, 7), (2.5, 2.5, 9.0), (5, 5, 5), TURNED)),  # thick slices
    (2, False, (0, 1, 2), Grid((14, 15, 9), (3.5, 3.2, 6.0), (0, 0, 0), TURNED)),
    (2, False, (1, 2, 0), Grid((15, 9, 14), (3.5, 12.0, 3.2)))])
def test_labels_equal_a_plain_statement(tmp_path: Path, axes, residual, transpose, grid) -> None:
    """Files that nnU-Net reads as they are stored: orientation does not matter, spacing does."""
    plans = plans_of(axes, residual, transpose, patch=(16, 16, 16))
    weights = write_results(tmp_path / "r", plans)
    array = blobs(grid.shape)
    prediction = Predictor(import_nnunet(tmp_path / "r"), device="cpu").predict(Volume(array, grid))
    assert prediction.labels.grid == grid
    assert agreement(prediction.labels.array, statement(plans, weights, array, grid.spacing[::-1])) > 0.995


def test_files_are_turned_to_ras_where_nnunet_did(tmp_path: Path) -> None:
    plans = plans_of(reader="NibabelIOWithReorient")
    weights = write_results(tmp_path / "r", plans)
    engine = Predictor(import_nnunet(tmp_path / "r"), device="cpu")
    lps = blobs((9, 15, 14))
    expected = statement(plans, weights, lps[:, ::-1, ::-1], (4.5, 3.2, 3.5))[:, ::-1, ::-1]
    straight = engine.predict(Volume(lps, Grid((14, 15, 9), (3.5, 3.2, 4.5)))).labels.array
    assert agreement(straight, expected) > 0.995
    # The same CT stored along z, -x, -y.
    grid = Grid((9, 14, 15), (4.5, 3.5, 3.2), (0, 0, 0), TURNED)
    stored = np.ascontiguousarray(lps[:, ::-1, ::-1].transpose(1, 2, 0))
    turned = engine.predict(Volume(stored, grid)).labels.array
    assert np.array_equal(turned.transpose(2, 0, 1)[:, ::-1, ::-1], straight)


def test_mirrorings_are_the_models(tmp_path: Path) -> None:
    plans = plans_of()
    weights = write_results(tmp_path / "r", plans, mirror_axes=(0, 2))
    grid, array = Grid((14, 15, 9), (3.5, 3.2, 4.5)), blobs((9, 15, 14))
    expected = statement(plans, weights, array, (4.5, 3.2, 3.5), ((), (2,), (4,), (2, 4)))
    prediction = Predictor(import_nnunet(tmp_path / "r"), device="cpu", mirror=True).predict(Volume(array, grid))
    assert agreement(prediction.labels.array, expected) > 0.995


def test_organs_are_chosen_and_scales_refused(tmp_path: Path) -> None:
    write_results(tmp_path / "r", plans_of())
    bundle = import_nnunet(tmp_path / "r")
    ct = Volume(blobs((9, 15, 14)), Grid((14, 15, 9), (3.5, 3.2, 4.5)))
    everything = Predictor(bundle, device="cpu").predict(ct)
    lung_alone = Predictor(bundle, device="cpu").predict(ct, ["lung"])
    assert np.array_equal(lung_alone.labels.array, np.where(everything.labels.array == 3, 3, 0))
    assert set(lung_alone.entropy) == {"lung"}
    with pytest.raises(UserError, match="scales: expected none"):
        Predictor(bundle, device="cpu", scales=(1.0, 1.5))


@pytest.mark.parametrize("value", [0, 7])
def test_a_ct_without_contrast_has_an_answer(tmp_path: Path, value: int) -> None:
    write_results(tmp_path / "r", plans_of())
    ct = Volume(np.full((4, 5, 6), value, np.int16), Grid((6, 5, 4), (3.0, 3.0, 4.0)))
    assert Predictor(import_nnunet(tmp_path / "r"), device="cpu").predict(ct).labels.array.shape == (4, 5, 6)


def tuned(bundle, tmp_path: Path, organs: Sequence[str], **options):
    data = write_cases(tmp_path / "cases", [only(ct_of(seed)[1], 2) for seed in range(2)], label_space=organs)
    return finetune(bundle.folder, data, tmp_path / "run", "cpu",
                    FinetuneOptions(steps=2, replay="none", overrides=QUICK, **options), None, None)


@pytest.mark.parametrize("axes", [2, 3])
def test_an_imported_model_is_fine_tuned(tmp_path: Path, axes: int) -> None:
    """With labels that count as one organ and a new one; the result reads CTs as it was trained to, in our way."""
    write_results(tmp_path / "r", plans_of(axes))
    (tmp_path / "map.yaml").write_text("labels: {liver: liver, kidney_right: kidney, kidney_left: kidney}")
    bundle = import_nnunet(tmp_path / "r", tmp_path / "map.yaml")
    assert bundle.network_arguments["more"] == [0, 2]
    result = tuned(bundle, tmp_path, ["liver", "spleen", "kidney"])
    model = load_bundle(result.bundle.folder)
    assert model.label_space.names == ("liver", "kidney", "spleen")
    assert model.nnunet is None
    assert model.preprocessing == bundle.preprocessing
    before, after = bundle.load_network().state_dict(), model.load_network().state_dict()
    assert before.keys() == after.keys()
    assert any(not torch.equal(value, after[name]) for name, value in before.items() if "encoder" in name)
    image, _ = ct_of(0)
    ct = Volume(image, Grid(image.shape[::-1], (2.0, 2.0, 3.0)))
    assert Predictor(model, device="cpu").predict(ct).labels.array.shape == image.shape


def test_only_listed_organs_keep_what_counted_as_them(tmp_path: Path) -> None:
    """In another order and without the liver: both kidneys are still the kidney, what was the liver is background."""
    write_results(tmp_path / "r", plans_of())
    (tmp_path / "map.yaml").write_text(
        "labels: {liver: liver, lung: liver, kidney_right: kidney, kidney_left: kidney}")
    bundle = import_nnunet(tmp_path / "r", tmp_path / "map.yaml")
    result = tuned(bundle, tmp_path, ["kidney", "spleen", "liver_of_another"], only_listed=True)
    assert bundle.network_arguments["more"] == [1, 2]
    assert load_bundle(result.bundle.folder).network_arguments["more"] == [0, 1]


def test_input_that_differs_from_ct_to_ct_is_not_trained_on(tmp_path: Path) -> None:
    write_results(tmp_path / "r", plans_of(normalization_schemes=["ZScoreNormalization"]))
    with pytest.raises(UserError, match="expected a model to train on with normalisation CTNormalization"):
        tuned(import_nnunet(tmp_path / "r"), tmp_path, ["liver", "spleen", "kidney"])


def test_target_shape_is_rounded() -> None:
    assert target_shape((10, 100, 3), (5.0, 0.7, 1.0), (2.0, 1.5, 10.0)) == (25, 47, 1)


def test_memory_grows_with_the_networks_channels(tmp_path: Path) -> None:
    plans = plans_of()
    write_results(tmp_path / "r", plans)
    bundle, grid = import_nnunet(tmp_path / "r"), Grid((14, 15, 9), (3.5, 3.2, 4.5))
    # Four channels more on the finest level, where every one of them is as large as the patch.
    wide = replace(bundle, network_arguments=bundle.network_arguments | {"features": [8, 6, 6]})
    assert estimate_memory(grid, wide) - estimate_memory(grid, bundle) == 4 * NNUNET_CHANNEL_BYTES * 8 * 16 * 16


@pytest.mark.parametrize(("reader", "transpose", "grid"), [
    ("SimpleITKIO", (0, 1, 2), Grid((15, 14, 40), (3.0, 3.0, 0.5))),
    ("NibabelIOWithReorient", (2, 0, 1), Grid((15, 14, 40), (0.5, 3.0, 3.0))),
    ("SimpleITKIO", (2, 0, 1), Grid((15, 14, 40), (0.5, 3.0, 3.0), direction=TURNED)),
    ("NibabelIOWithReorient", (0, 1, 2), Grid((15, 14, 40), (0.5, 3.0, 3.0), direction=TURNED)),
])
def test_memory_of_slices_is_of_as_many_as_the_ct_has(tmp_path: Path, reader: str, transpose: tuple[int, int, int],
                                                      grid: Grid) -> None:
    """The CT has the model's voxels but for the slices, which lie closer than those trained on: nothing gets fewer."""
    write_results(tmp_path / "r", plans_of(axes=2, reader=reader, transpose=transpose, spacing=(4.0, 3.0, 3.0)))
    bundle = import_nnunet(tmp_path / "r")
    larger = replace(bundle, label_space=label_space_of_names("more", [*bundle.label_space.names, "one_more"]))
    slices = min(SLICES, grid.size[grid.spacing.index(0.5)])
    assert estimate_memory(grid, larger) - estimate_memory(grid, bundle) == (
        2 * np.prod(grid.size) + slices * 16 * 16 * NNUNET_CLASS_BYTES)
