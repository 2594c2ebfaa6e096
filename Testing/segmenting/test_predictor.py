"""The engine's geometry: whatever the grid, the labels lie where the CT shows the organs."""

import itertools
import subprocess
import sys

import numpy as np
import pytest
import torch

from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.events import Reporter
from PartialOrganSegLib.imaging import upsampling
from PartialOrganSegLib.imaging.resampling import axis_weights, resample_box
from PartialOrganSegLib.imaging.volume import AxisOrder, Grid, Volume
from PartialOrganSegLib.organs import WORD16
from PartialOrganSegLib.segmenting import memory, predictor, window_layout, windows
from PartialOrganSegLib.segmenting.folding import fold_batch_norm
from PartialOrganSegLib.segmenting.predictor import Predictor
from Testing.helpers.repository import ROOT
from Testing.helpers.threshold_network import LEVELS, Threshold, threshold_bundle

# Six orders of the axes and eight directions: all ways in which a CT without tilt may be stored.
ALL_ORDERS = list(itertools.starmap(AxisOrder, itertools.product(
    itertools.permutations((0, 1, 2)), itertools.product((False, True), repeat=3))))


def body(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """CT and labels at LPS points (..., 3) mm: an elliptic body with three ellipsoid organs."""
    def inside(centre, radii):
        return (((points - np.array(centre)) / np.array(radii)) ** 2).sum(-1) < 1

    ct = np.where((((points[..., :2]) / np.array([130.0, 90.0])) ** 2).sum(-1) < 1, 0, -1000)
    labels = np.zeros(points.shape[:-1], np.uint8)
    for name, centre, radii in (("liver", (-60, -10, 30), (48, 48, 44)), ("spleen", (72, 20, 40), (30, 34, 40)),
                                ("left_kidney", (50, 30, -45), (28, 28, 36))):
        ct[inside(centre, radii)] = LEVELS[name]
        labels[inside(centre, radii)] = WORD16.index(name)
    return ct, labels


def on_grid(grid: Grid, dtype=np.int16) -> tuple[Volume, Volume]:
    z, y, x = np.meshgrid(*(np.arange(n) for n in grid.shape), indexing="ij")
    points = np.stack([x, y, z, np.ones_like(x)], -1) @ grid.matrix.T
    ct, labels = body(points[..., :3])
    return Volume(ct.astype(dtype), grid), Volume(labels, grid)


def centred(size, spacing, direction=(1, 0, 0, 0, 1, 0, 0, 0, 1)) -> Grid:
    grid = Grid(size, spacing, (0, 0, 0), tuple(float(d) for d in direction))
    middle = grid.matrix[:3, :3] @ ((np.array(size) - 1) / 2)
    return Grid(size, spacing, tuple(float(-m) for m in middle), grid.direction)


def dice(a: np.ndarray, b: np.ndarray, index: int) -> float:
    return 2 * ((a == index) & (b == index)).sum() / max(1, (a == index).sum() + (b == index).sum())


def assert_right(predicted: Volume, truth: Volume, lowest_dice: float) -> None:
    assert predicted.grid == truth.grid
    assert predicted.array.dtype == np.uint8
    for name in ("liver", "spleen", "left_kidney"):
        index = WORD16.index(name)
        # Of a few voxels one at the rim moves Dice by a per cent or more.
        if (truth.array == index).sum() > 200:
            assert dice(predicted.array, truth.array, index) >= lowest_dice, name


@pytest.fixture(scope="module")
def engine(tmp_path_factory) -> Predictor:
    return Predictor(threshold_bundle(tmp_path_factory.mktemp("bundle")), device="cpu")


@pytest.fixture(scope="module")
def upright(engine: Predictor) -> tuple[Volume, np.ndarray]:
    """A CT whose axes all differ, and what the engine says of it: every order is compared with that."""
    ct, _ = on_grid(centred((70, 54, 37), (4.1, 3.9, 5.0)))
    return ct, engine.predict(ct).labels.array


@pytest.mark.parametrize("order", ALL_ORDERS, ids=str)
def test_reoriented_ct_gives_the_reoriented_labels(engine: Predictor, upright: tuple[Volume, np.ndarray],
                                                   order: AxisOrder) -> None:
    ct, expected = upright
    grid = AxisOrder(tuple(int(i) for i in np.argsort(order.permutation)),
                     tuple(order.flips[i] for i in np.argsort(order.permutation))).canonical_grid(ct.grid)
    turned = Volume(grid.axis_order().from_canonical(ct.array), grid)
    assert np.array_equal(turned.canonical().array, ct.array)
    labels = engine.predict(turned).labels
    assert labels.grid == grid
    assert np.array_equal(labels.canonical().array, expected)


@pytest.mark.parametrize(("size", "spacing", "lowest_dice"), [
    ((120, 90, 400), (2.5, 2.5, 0.5), 0.93), ((150, 110, 40), (2.0, 2.0, 5.0), 0.93),
    ((100, 72, 25), (3.0, 3.0, 8.0), 0.9), ((70, 50, 50), (4.0, 4.0, 4.0), 0.93)])
def test_slice_thickness(engine: Predictor, size, spacing, lowest_dice) -> None:
    ct, truth = on_grid(centred(size, spacing))
    assert_right(engine.predict(ct).labels, truth, lowest_dice)


@pytest.mark.parametrize("degrees", [6, 25, 40])
def test_oblique_directions(engine: Predictor, degrees: int) -> None:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    tilt = np.array([[1, 0, 0], [0, c, -s], [0, s, c]]) @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    ct, truth = on_grid(centred((110, 100, 50), (3.0, 3.0, 5.0), tilt.ravel()))
    assert_right(engine.predict(ct).labels, truth, 0.88)


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.float32, np.float64, np.uint16])
def test_voxel_types_and_padding(engine: Predictor, dtype) -> None:
    ct, truth = on_grid(centred((70, 54, 36), (4.0, 4.0, 5.0)), np.int16)
    array = ct.array.copy()
    # Values that scanners write round the field of view; unsigned types cannot hold them.
    if np.issubdtype(dtype, np.signedinteger) or np.issubdtype(dtype, np.floating):
        array[:, :, :4] = -3024
        array[:, :4] = -2048
    else:
        array = np.maximum(array, 0)
    assert_right(engine.predict(Volume(array.astype(dtype), ct.grid)).labels, truth, 0.9)


@pytest.mark.parametrize("size", [(1, 1, 1), (2, 3, 1), (9, 9, 2), (64, 50, 1), (5, 60, 30)])
def test_tiny_and_partial_volumes(engine: Predictor, size) -> None:
    ct, _ = on_grid(centred(size, (4.0, 4.0, 5.0)))
    assert engine.predict(ct).labels.array.shape == size[::-1]


def test_part_of_the_abdomen(engine: Predictor) -> None:
    abdomen, truth = on_grid(centred((140, 100, 60), (2.0, 2.0, 3.0)))
    cut = (slice(20, 45), slice(10, 90), slice(0, 60))
    origin = tuple(float(o) for o in (abdomen.grid.matrix @ [0, 10, 20, 1])[:3])
    grid = Grid((60, 80, 25), abdomen.grid.spacing, origin)
    assert_right(engine.predict(Volume(abdomen.array[cut], grid)).labels, Volume(truth.array[cut], grid), 0.88)


def test_no_body_and_no_organs(engine: Predictor) -> None:
    grid = centred((40, 40, 20), (4.0, 4.0, 4.0))
    assert not engine.predict(Volume(np.full(grid.shape, -1000, np.int16), grid)).labels.array.any()


def test_only_the_asked_organs_are_written(engine: Predictor) -> None:
    ct, _ = on_grid(centred((70, 54, 36), (4.0, 4.0, 5.0)))
    everything = engine.predict(ct)
    some = engine.predict(ct, organs=["spleen"])
    spleen = WORD16.index("spleen")
    assert np.array_equal(some.labels.array, np.where(everything.labels.array == spleen, spleen, 0))
    assert set(some.entropy) == {"spleen"}
    with pytest.raises(UserError, match="did you mean 'spleen'"):
        engine.predict(ct, organs=["spleeen"])


def test_several_scales_keep_the_place(tmp_path) -> None:
    ct, labels = on_grid(Grid((70, 50, 50), (4.0, 4.0, 4.0), (-140.0, -100.0, -100.0)))
    predicted = Predictor(threshold_bundle(tmp_path), device="cpu", scales=(0.75, 1.0, 1.5)).predict(ct).labels.array
    for value in np.unique(labels.array)[1:]:
        mask, expected = predicted == value, labels.array == value
        assert 2 * (mask & expected).sum() > 0.9 * (mask.sum() + expected.sum())
    with pytest.raises(UserError, match=r"scales: expected numbers from 0\.25 to 4, found '8"):
        Predictor(threshold_bundle(tmp_path), device="cpu", scales=(1.0, 8.0))


def test_mirroring_keeps_sides(tmp_path) -> None:
    ct, truth = on_grid(centred((70, 54, 36), (4.0, 4.0, 5.0)))

    class Sided(Threshold):
        """Knows sides: what is bright right of the middle is the right kidney."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            logits = super().forward(x).clone()
            half = x.shape[-1] // 2
            sides = WORD16.indices(["left_kidney", "right_kidney"])
            logits[:, list(sides), ..., :half] = logits[:, list(sides[::-1]), ..., :half]
            return logits

    engine = Predictor(threshold_bundle(tmp_path, (48, 64, 72)), device="cpu", mirror=True)
    # Without exchanging left and right in the flipped pass, each kidney would be named after the other side there.
    engine._method.networks[0].module = Sided()
    assert_right(engine.predict(ct).labels, truth, 0.9)


def test_stages_and_progress_are_reported(engine: Predictor) -> None:
    steps = []

    class Listening(Reporter):
        def progress(self, stage: str, step: int, total: int) -> None:
            steps.append((step, total))

    ct, _ = on_grid(centred((70, 54, 36), (4.0, 4.0, 5.0)))
    seconds = engine.predict(ct, reporter=Listening()).seconds
    assert {"localise", "resample", "forward", "windows", "clean", "upsample"} == set(seconds)
    assert steps[0][0] == 0
    assert steps[-1][0] == steps[-1][1]


def test_agreeing_shortcut_equals_dense_interpolation() -> None:
    """Independent statement: interpolate every class everywhere, then take the largest that a neighbour has."""
    rng = np.random.default_rng(0)
    coarse = torch.from_numpy(rng.normal(size=(1, 5, 4, 5, 6)).astype(np.float32))
    scores = torch.nn.functional.interpolate(coarse, size=(12, 14, 15), mode="trilinear")
    # The engine holds scores in half precision: both statements must start from the same numbers.
    scores = scores.half().float()
    labels = scores[0].argmax(0).numpy().astype(np.uint8)
    native = upsampling.NativeLabels(scores[0].permute(1, 2, 3, 0).half().contiguous(), labels,
                                     np.arange(5, dtype=np.uint8))
    out = np.empty((30, 33, 21), np.uint8)
    native.write_aligned(out)
    dense = torch.nn.functional.interpolate(scores, size=out.shape, mode="trilinear")[0]
    one_hot = torch.nn.functional.one_hot(torch.from_numpy(labels).long(), 5).movedim(-1, 0)[None].float()
    # A class may only be where one of the eight neighbours has it.
    near = torch.nn.functional.interpolate(one_hot, size=out.shape, mode="trilinear")[0] > 0
    expected = dense.masked_fill(~near, -np.inf).argmax(0).numpy()
    assert (out == expected).mean() > 0.998  # half-precision weights move the odd tie


def test_what_was_cleaned_away_does_not_come_back_between_voxels() -> None:
    """A class with the second best score everywhere wins between two voxels of different classes."""
    scores = torch.zeros(1, 1, 8, 3)
    scores[..., :4, 0], scores[..., 4:, 1], scores[..., 2] = 10, 10, 9
    labels = scores.argmax(-1).numpy().astype(np.uint8)
    out = np.empty((1, 1, 40), np.uint8)
    upsampling.NativeLabels(scores.half(), labels, np.arange(3, dtype=np.uint8)).write_aligned(out)
    assert (out == np.repeat([0, 1], 20)).all()


def test_windows_cover_every_voxel() -> None:
    for size in range(1, 200, 7):
        for window in (4, 16, 48):
            starts = window_layout.axis_starts(size, window, window - window // 2)
            covered = np.zeros(size, int)
            for start in starts:
                covered[start:start + window] += 1
            assert covered.all()
            # Every other window and the last: what is run first, before quiet stretches between them are left out.
            first = sorted({*starts[::2], starts[-1]})
            covered[:] = 0
            for start in first:
                covered[start:start + window] += 1
            assert covered.all()


def test_quiet_stretches_are_seen_once() -> None:
    """Windows between two others without any organ are left out; where there is one, or no two overlap, they run."""
    layout = window_layout.plan((64, 8, 8), (16, 8, 8), (4, 8, 8))
    calls = []

    def forward(window: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return torch.stack([torch.zeros(window.shape[2:]), window[0, 0] - 0.5], -1)

    quiet = windows.window_scores(torch.zeros(64, 8, 8), 0.0, layout, 2, forward, Reporter())
    assert len(calls) == 4
    assert not quiet.isnan().any()
    calls.clear()
    volume = torch.zeros(64, 8, 8)
    volume[3:6] = 1
    scores = windows.window_scores(volume, 0.0, layout, 2, forward, Reporter())
    assert 4 < len(calls) < 7
    assert torch.equal(scores.argmax(-1) > 0, volume > 0)


def test_thin_slices_are_averaged_not_skipped() -> None:
    rng = np.random.default_rng(0)
    ct = rng.normal(0, 100, (90, 20, 20)).astype(np.float32)
    out = resample_box(ct, (slice(0, 90), slice(0, 20), slice(0, 20)), (15, 20, 20))
    # Six slices of noise with deviation 100 averaged give 41, picked ones 100.
    assert float(out.std()) < 60
    assert torch.allclose(axis_weights(90, 15).sum(1), torch.ones(15))
    assert torch.allclose(axis_weights(7, 7), torch.eye(7))


def test_memory_is_estimated_and_told(engine: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    large = memory.estimate_memory(Grid((512, 512, 600), (0.8, 0.8, 1.0)), engine.bundle)
    # A usual abdomen of 600 slices must fit a computer with 8 GiB beside everything else that runs.
    assert memory.estimate_memory(Grid((512, 512, 100), (0.8, 0.8, 1.0)), engine.bundle) < large < 3 << 30
    ct, _ = on_grid(centred((40, 40, 20), (4.0, 4.0, 4.0)))
    monkeypatch.setattr(memory, "free_memory", lambda: 1000)
    monkeypatch.setattr(memory, "free_swap", lambda: 0)
    with pytest.raises(UserError, match=r"40 x 40 x 20 voxels: expected .* MiB"):
        engine.predict(ct)


def test_batch_norm_is_folded_only_where_nothing_changes() -> None:
    torch.manual_seed(0)

    class Sharing(torch.nn.Module):
        """Uses the convolution's output twice: folding would change it."""

        def __init__(self, share: bool) -> None:
            super().__init__()
            self.conv, self.norm = torch.nn.Conv3d(1, 4, 3, padding=1), torch.nn.BatchNorm3d(4)
            self.share = share
            torch.nn.init.uniform_(self.norm.weight, 0.5, 2.0)
            self.norm.running_mean.fill_(0.3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            """Logits of the same size."""
            y = self.conv(x)
            return self.norm(y) + y if self.share else self.norm(y).relu()

    shared, plain = Sharing(True).eval(), Sharing(False).eval()
    assert fold_batch_norm(shared, (4, 4, 4)) is shared
    folded = fold_batch_norm(plain, (4, 4, 4))
    assert not any(isinstance(module, torch.nn.BatchNorm3d) for module in folded.modules())
    data = torch.randn(1, 1, 6, 6, 6)
    assert torch.allclose(folded(data), plain(data), atol=1e-5)


def test_absent_device() -> None:
    with pytest.raises(UserError, match="device 'tpu9'"):
        predictor.choose_device("tpu9")


LARGE = """
import resource, sys, pathlib
import numpy as np
sys.path.insert(0, {root!r})
from PartialOrganSegLib.imaging.volume import Grid, Volume
from PartialOrganSegLib.segmenting.predictor import Predictor
from Testing.helpers.threshold_network import threshold_bundle
# A process apart: peak memory of this one includes every test before.
ct = np.full((600, 512, 512), -1000, np.int16)
ct[:, 100:400, 60:450] = 0
ct[200:400, 150:300, 100:220] = 200
ct = Volume(ct, Grid((512, 512, 600), (0.8, 0.8, 1.0)))
engine = Predictor(threshold_bundle(pathlib.Path("."), (48, 128, 160), (3.0, 2.0, 2.0)), device="cpu")
labels = engine.predict(ct).labels.array
assert abs((labels == 1).sum() / (200 * 150 * 120) - 1) < 0.05
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (2**20 if sys.platform == "darwin" else 2**10))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="peak memory is read with the resource module")
def test_a_large_ct_stays_under_three_gib() -> None:
    code = LARGE.format(root=str(ROOT))
    completed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert completed.returncode == 0, completed.stderr
    assert int(completed.stdout) < 3 * 1024
