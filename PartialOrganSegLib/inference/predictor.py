"""A CT into a labelmap on the same grid: localise, resample, windows, clean, labels at native resolution."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F

from ..errors import UserError
from ..events import Reporter
from ..geometry import Grid, Volume
from ..models.bundle import Bundle
from ..networks import channels_last
from .backend import choose_device, fast_dtype
from .folding import fold_batch_norm
from .localise import find_body
from .memory import check_memory
from .postprocess import clean
from .resampling import patient_aligned, resample_box, working_shape
from .upsampling import NativeLabels
from .windows import plan, round_up, window_scores

# Below this angle between voxel and patient axes (a tilted gantry) the network may as well work along the voxel axes.
TILT_DEGREES = 10.0
LEAST_SCALE = 0.25


@dataclass(frozen=True)
class Prediction:
    """`labels`: uint8 on the CT's grid; `entropy`: mean nats over an organ's voxels; `seconds` of each stage."""

    labels: Volume
    entropy: dict[str, float]
    seconds: dict[str, float] = field(default_factory=dict)


class Predictor:
    """A bundle's network, loaded once and used for any number of CTs.

    >>> Predictor(load_bundle("embedded")).predict(read_ct(path)).labels    # doctest: +SKIP
    """

    def __init__(self, bundle: Bundle, device: str = "auto", mirror: bool = False,
                 scales: Sequence[float] = (1.0,)) -> None:
        """`mirror` also predicts the mirrored CT; `scales` predict it enlarged or reduced in plane (Zhou 2019, section
        4.1: 0.75 to 2). Their scores are averaged. Raises UserError for an absent device or a scale beyond 0.25 to 4.
        """
        self.bundle = bundle
        self.device = choose_device(device)
        self.mirror, self.scales = mirror, tuple(scales)
        for scale in self.scales:
            if not LEAST_SCALE <= scale <= 1 / LEAST_SCALE:
                raise UserError(f"scales: expected numbers from {LEAST_SCALE} to {1 / LEAST_SCALE}, found {scale}")
        self._dtype = fast_dtype(self.device)
        network = bundle.load_network(self.device)
        self._multiple = getattr(network, "size_multiple", (1, 1, 1))
        self._slices = getattr(network, "slices", None)
        network = fold_batch_norm(network, tuple(2 * unit for unit in self._multiple))
        self._network = channels_last(network)
        self._permutation = bundle.label_space.mirror_permutation()

    @torch.inference_mode()
    def predict(self, ct: Volume, organs: Sequence[str] | None = None, reporter: Reporter | None = None) -> Prediction:
        """Labels of `organs` (default all) on `ct.grid`; `ct` in HU, any axis order, direction and spacing.

        The other organs still compete for their voxels, they are only not written.
        Raises UserError for an unknown organ and for a CT that does not fit into memory.
        """
        reporter = reporter or Reporter()
        space, preprocessing = self.bundle.label_space, self.bundle.preprocessing
        written = np.arange(space.class_count, dtype=np.uint8)
        if organs is not None:
            written[~np.isin(written, space.indices(organs))] = 0
        check_memory(ct.grid, self.bundle, reporter)
        seconds: dict[str, float] = {}

        with _timed(seconds, "localise"):
            canonical = ct.canonical()
            body = find_body(canonical.array, canonical.grid.spacing[::-1])
        with _timed(seconds, "resample"):
            frame = _Frame.of(canonical.grid, body.box, body.midline, preprocessing.spacing_zyx)
            volume = preprocessing.normalise(frame.read(canonical.array))
        with _timed(seconds, "windows"):
            layout = plan(tuple(volume.shape), preprocessing.patch_zyx, self._multiple, self._slices)
            forward = _Stopwatch(self._logits)
            scores = window_scores(volume, preprocessing.padding, layout, space.class_count, forward, reporter)
            del volume
        seconds["forward"] = forward.seconds
        seconds["windows"] -= forward.seconds
        with _timed(seconds, "clean"):
            if frame.turned is None:  # a network may call the air around the patient anything
                scores[torch.from_numpy(body.outside(tuple(scores.shape[:3])))] = _background(scores)
            labels = np.empty(scores.shape[:3], np.uint8)
            for z in range(len(labels)):  # argmax gives int64, eight times what is kept
                labels[z] = scores[z].float().max(-1).indices
            clean(scores, labels, frame.spacing_zyx, space, frame.midline)
            entropy = _mean_entropy(scores, labels, space.names)
        with _timed(seconds, "upsample"):
            native = np.zeros(ct.grid.shape, np.uint8)
            out = ct.grid.axis_order().to_canonical(native)[body.box]
            frame.write(NativeLabels(scores, labels, written), out)
        asked = {space.names[index - 1] for index in np.unique(written[written > 0])}
        return Prediction(Volume(native, ct.grid), {k: v for k, v in entropy.items() if k in asked}, seconds)

    def _logits(self, window: torch.Tensor) -> torch.Tensor:
        """(1, 1, z, y, x) network input to logits (z, y, x, class) on the CPU."""
        data = window.to(self.device)
        with torch.autocast(self.device.type, self._dtype, enabled=self._dtype != torch.float32):
            logits = self._at_scale(data, self.scales[0])
            for scale in self.scales[1:]:
                logits = logits + self._at_scale(data, scale)
        return (logits / len(self.scales) if len(self.scales) > 1 else logits)[0].permute(1, 2, 3, 0).cpu()

    def _at_scale(self, data: torch.Tensor, scale: float) -> torch.Tensor:
        """Logits (1, class, z, y, x) of a window that the network sees enlarged `scale` times in plane."""
        size = tuple(data.shape[2:])
        scaled = (size[0], *(round_up(round(n * scale), unit) for n, unit in zip(size[1:], self._multiple[1:],
                                                                                 strict=True)))
        if scaled != size:
            data = F.interpolate(data, scaled, mode="trilinear", align_corners=False)
        data = data.contiguous(memory_format=torch.channels_last_3d)
        logits = self._network(data)
        if self.mirror:
            flipped = self._network(data.flip(-1)).flip(-1)
            logits = (logits + flipped[:, self._permutation]) / 2
        return logits if scaled == size else F.interpolate(logits, size, mode="trilinear", align_corners=False)


def _background(scores: torch.Tensor) -> torch.Tensor:
    """(C,) scores of a voxel that is background for sure."""
    sure = torch.zeros(scores.shape[-1], dtype=scores.dtype)
    sure[0] = 30
    return sure


@dataclass(frozen=True)
class _Frame:
    """The working grid of one CT: how it is read from the native box and how native labels are read from it."""

    box: tuple[slice, slice, slice]
    straight: tuple[int, int, int]  # shape after resampling along the voxel axes
    spacing_zyx: tuple[float, float, float]
    midline: float | None
    turned: tuple[int, int, int] | None = None  # shape along the patient's axes, for a tilted scan
    to_straight: np.ndarray | None = None  # (4, 4) turned index to straight index
    from_native: np.ndarray | None = None  # (4, 4) index in the box to turned index

    @classmethod
    def of(cls, grid: Grid, box: tuple[slice, slice, slice], midline: float | None,
           working_mm: tuple[float, float, float]) -> _Frame:
        """The frame for the `box` of a canonical `grid`."""
        sizes = tuple(part.stop - part.start for part in box)
        spacing = grid.spacing[::-1]
        if grid.tilt_degrees() <= TILT_DEGREES:
            shape = working_shape(sizes, spacing, working_mm)
            mm = tuple(n * s / w for n, s, w in zip(sizes, spacing, shape, strict=True))
            if midline is not None:
                midline = (midline - box[2].start + 0.5) * shape[2] / sizes[2] - 0.5
            return cls(box, shape, mm, midline)
        # Thin voxels are averaged first, thick ones left alone: they are interpolated once, onto the patient's axes.
        shape = working_shape(sizes, spacing, tuple(max(s, w) for s, w in zip(spacing, working_mm, strict=True)))
        ratio = np.array([n / w for n, w in zip(sizes[::-1], shape[::-1], strict=True)])
        straight_to_box = np.eye(4)
        straight_to_box[:3, :3] = np.diag(ratio)
        straight_to_box[:3, 3] = (ratio - 1) / 2
        box_to_patient = grid.matrix.copy()
        box_to_patient[:3, 3] = (grid.matrix @ [*(part.start for part in box[::-1]), 1])[:3]
        corners = np.array([[x, y, z, 1] for x in (-0.5, sizes[2] - 0.5) for y in (-0.5, sizes[1] - 0.5)
                            for z in (-0.5, sizes[0] - 0.5)]).T
        low, high = (edge((box_to_patient @ corners)[:3], axis=1) for edge in (np.min, np.max))
        mm_xyz = np.array(working_mm[::-1])
        turned_xyz = np.maximum(1, np.ceil((high - low) / mm_xyz)).astype(int)
        turned_to_patient = np.diag([*mm_xyz, 1.0])
        turned_to_patient[:3, 3] = low + mm_xyz / 2
        return cls(box, shape, working_mm, None, tuple(int(n) for n in turned_xyz[::-1]),
                   np.linalg.inv(box_to_patient @ straight_to_box) @ turned_to_patient,
                   np.linalg.inv(turned_to_patient) @ box_to_patient)

    def read(self, ct: np.ndarray) -> torch.Tensor:
        """float32 HU (z, y, x) at working spacing."""
        volume = resample_box(ct, self.box, self.straight)
        return volume if self.turned is None else patient_aligned(volume, self.to_straight, self.turned)

    def write(self, labels: NativeLabels, out: np.ndarray) -> None:
        """Fills the native box `out` (z, y, x)."""
        if self.turned is None:
            labels.write_aligned(out)
        else:
            labels.write_turned(out, self.from_native)


class _Stopwatch:
    """Calls a function and adds up the seconds it took."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self._function, self.seconds = function, 0.0

    def __call__(self, argument: torch.Tensor) -> torch.Tensor:
        start = time.perf_counter()
        result = self._function(argument)
        self.seconds += time.perf_counter() - start
        return result


@contextlib.contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[stage] = time.perf_counter() - start


def _mean_entropy(scores: torch.Tensor, labels: np.ndarray, names: Sequence[str]) -> dict[str, float]:
    """Mean entropy in nats of the softmax over each found organ's voxels at working spacing."""
    total, count = np.zeros(len(names) + 1), np.zeros(len(names) + 1)
    for z in range(len(labels)):
        found = labels[z] > 0
        if not found.any():
            continue
        logarithm = torch.log_softmax(scores[z][torch.from_numpy(found)].float(), dim=-1)
        entropy = -(logarithm.exp() * logarithm).sum(-1).numpy()
        total += np.bincount(labels[z][found], entropy, minlength=len(total))
        count += np.bincount(labels[z][found], minlength=len(total))
    return {name: float(total[i] / count[i]) for i, name in enumerate(names, 1) if count[i]}
