"""A joined start model in training: its last network learns, the others stay as they are and are measured with it. Of
one that is learnt beside all stay, and a copy of the last learns.

What the frozen members predict of a validation case is computed once, by the engine that segments CTs, and kept on disk
at the working spacing. It is combined with what the trained network predicts by the rule of `models.joined`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from ..atomic import whole_file
from ..errors import Code, UserError, did_you_mean
from ..events import Reporter
from ..imaging.working_grid import WorkingGrid
from ..loading.cache import CachedCase
from ..loading.contents import digest
from ..models.bundle import Bundle, Member
from ..models.checksums import MANIFEST, sha256
from ..organs import LabelSpace
from ..segmenting.member_predictor import MemberPredictor
from ..segmenting.memory import check_memory
from ..segmenting.patient import locate

# A voxel of which the frozen members' organs have less together counts as none of their organs, and takes no room on
# the disk. Of fewer than 26 classes a member's own bound (`member_predictor`) is the higher one. It is kept here too:
# users' CTs are segmented with it, and validation is to measure what they get.
FAINT = 1 / 256


@dataclass(frozen=True)
class Division:
    """The organs of which each frozen member has the say, in the members' order, and those of the trained network."""

    frozen: tuple[tuple[str, ...], ...]
    trained: tuple[str, ...]


def frozen_members(start: Bundle, beside: bool) -> tuple[Member, ...]:
    """The networks of a start model that a run leaves as they are, with the organs of which each has the say: all but
    the last, or all where a copy learns `beside` them."""
    if not beside:
        return start.members[:-1]
    return start.members or (Member(start, start.label_space.names),)


class FrozenMembers:
    """The members of the model `start` that are not trained, in a run of label space `space`: see `frozen_members`.

    `folder` keeps their predictions of the validation cases, which are made on `device`.
    """

    def __init__(self, start: Bundle, space: LabelSpace, device: torch.device, folder: Path,
                 beside: bool = False) -> None:
        self._members, self._space = frozen_members(start, beside), space
        self._device, self._folder = device, folder
        self._start = start
        self._predictors: list[MemberPredictor] = []
        # Organs that the run leaves out count as background, as they do with a start model of one network.
        self._label_of: dict[str, int] = {}
        for member in self._members:
            for organ in member.organs:
                self._label_of[organ] = space.index(organ) if organ in space.names else 0
        learning: tuple[str, ...] = ()
        if not beside:
            learning = tuple(organ for organ in start.members[-1].organs if organ in space.names)
        self.before = Division(tuple(member.organs for member in self._members), learning)

    @property
    def owners(self) -> dict[str, str]:
        """The run's organs of which a frozen member has the say in the start model: organ -> the member's name."""
        owners = {}
        for member in self._members:
            owners.update({organ: member.bundle.name for organ in member.organs if organ in self._space.names})
        return owners

    def check(self, organs: Iterable[str]) -> None:
        """Raises UserError for organs to be taken over that the run does not have."""
        for organ in organs:
            if organ not in self._space.names:
                raise UserError(code=Code.UNKNOWN_NAME, subject="takes_over", expected=f"organs of {self._space.name}",
                                found=f"'{organ}'", hint=did_you_mean(organ, self._space.names))

    def after(self, taken_over: Collection[str]) -> Division:
        """The division of the run's model: frozen members keep their organs, but those that are `taken_over`."""
        remaining = set(self._space.names) - set(taken_over)
        frozen = []
        for member in self._members:
            frozen.append(tuple(organ for organ in member.organs if organ in remaining))
        owned = set().union(*frozen)
        return Division(tuple(frozen), tuple(organ for organ in self._space.names if organ not in owned))

    def keeping(self, division: Division) -> list[Member]:
        """The frozen members that have the say of an organ."""
        return [Member(member.bundle, organs) for member, organs in zip(self._members, division.frozen, strict=True)
                if organs]

    def combine(self, cached: CachedCase, slices: slice, logits: torch.Tensor,
                division: Division) -> npt.NDArray[np.uint8]:
        """(z, y, x) labels of the working `slices` of a case, by all members together.

        `logits` (z, y, x, class): the trained network's of these slices.
        """
        voxels, probabilities = self._predictions(cached, slices)
        classes = [0, *self._space.indices(division.trained)]
        label_of = np.array(classes, np.uint8)
        labels = np.empty(logits.shape[:3], np.uint8)
        plane_size = labels[0].size
        # Slice by slice: probabilities of a whole CT in float32 would take gigabytes.
        for z in range(len(labels)):
            trained = torch.softmax(logits[z].flatten(0, 1).float(), -1)[:, classes]
            # Background is whatever the trained network has no say of.
            trained[:, 0] = 1 - trained[:, 1:].sum(-1)
            labels[z] = label_of[trained.max(-1).indices.numpy()].reshape(labels[z].shape)
            first, end = np.searchsorted(voxels, [z * plane_size, (z + 1) * plane_size])
            if end > first:
                in_plane = voxels[first:end] - z * plane_size
                labels[z].reshape(-1)[in_plane] = self._best(probabilities[first:end], trained[in_plane], label_of,
                                                             division)
        return labels

    def _best(self, probabilities: npt.NDArray[np.float16], trained: torch.Tensor, label_of: npt.NDArray[np.uint8],
              division: Division) -> npt.NDArray[np.uint8]:
        """(n,) labels of voxels: `probabilities` (n, organ) of all frozen members' organs, `trained` (n, 1 + organ) of
        the trained network's background and organs, whose labels are `label_of`."""
        frozen = torch.from_numpy(probabilities).float()
        # What the members before have left of each voxel: a member divides it among its organs and those after it.
        remaining = torch.ones(len(frozen))
        columns, labels, first = [], [], 0
        for member, organs in zip(self._members, division.frozen, strict=True):
            chosen = [first + number for number, organ in enumerate(member.organs) if organ in organs]
            first += len(member.organs)
            columns.append(frozen[:, chosen] * remaining[:, None])
            labels += [self._label_of[organ] for organ in member.organs if organ in organs]
            remaining = remaining * (1 - frozen[:, chosen].sum(-1)).clamp_min(0)
        # The background comes first, which so wins a draw.
        candidates = torch.cat([trained * remaining[:, None], *columns], 1)
        label_of_column = np.array([*label_of.tolist(), *labels], np.uint8)
        best: npt.NDArray[np.uint8] = label_of_column[candidates.max(-1).indices.numpy()]
        return best

    def _predictions(self, cached: CachedCase,
                     slices: slice) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float16]]:
        """Flat places (n,) of voxels within the `slices`, ascending, and (n, organ) the probability that each frozen
        member's organs have there; from the disk, where they were made before."""
        members = [sha256(member.bundle.folder / MANIFEST) for member in self._members]
        key = digest([members, [member.organs for member in self._members], slices.start, slices.stop])
        file = self._folder / f"{cached.image_file.name.removesuffix('.image.npy')}-{key}.members.npz"
        if not file.exists():
            voxels, probabilities = self._predict(cached, slices)
            with whole_file(file) as temporary, temporary.open("wb") as stream:
                np.savez(stream, places=voxels, values=probabilities)
        with np.load(file) as content:
            return content["places"], content["values"]

    @torch.inference_mode()
    def _predict(self, cached: CachedCase, slices: slice) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float16]]:
        """As `_predictions`, by the networks, which see the whole CT as they do when a user segments it: of a few
        slices alone they would predict something else."""
        canonical = cached.case.read_image().canonical()
        shape = cached.image().shape
        depth, height, width = (slice(0, size) for size in canonical.array.shape)
        working_grid = WorkingGrid((depth, height, width), shape, (1.0, 1.0, 1.0), None)
        to_patient = working_grid.to_patient(canonical.grid)
        to_patient[:, 3] = to_patient @ [slices.start, 0, 0, 1]
        check_memory(canonical.grid, self._start, Reporter())
        patient = locate(canonical, {})
        if not self._predictors:
            # Networks are built with random weights before theirs are read, and the run's random numbers must not
            # depend on that.
            with torch.random.fork_rng(devices=[]):
                self._predictors = [MemberPredictor(member, self._device) for member in self._members]
        size = (slices.stop - slices.start, shape[1], shape[2])
        of_members = []
        for predictor in self._predictors:
            planes = predictor.probabilities(patient, to_patient, size, {}, Reporter())
            of_members.append(torch.stack([plane.half() for plane in planes]))
        probabilities = torch.cat(of_members, -1).flatten(0, 2)
        voxels = torch.nonzero(probabilities.sum(-1, dtype=torch.float32) > FAINT).ravel()
        return voxels.numpy(), probabilities[voxels].numpy()

    def release(self) -> None:
        """Lets go of the networks, whose memory is the training's."""
        self._predictors = []
