"""A joined start model in training: its last network learns, the others stay as they are and are measured with it.

What the frozen members say of a validation case is computed once, by the engine that segments CTs, and kept on disk at
the working spacing. It is combined with what the trained network says by the rule of `models.joined`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ..atomic import whole_file
from ..errors import Code, UserError, did_you_mean
from ..events import Reporter
from ..imaging.frame import Frame
from ..loading.cache import CachedCase
from ..loading.contents import digest
from ..models.bundle import Bundle, Member
from ..models.checksums import MANIFEST, sha256
from ..organs import LabelSpace
from ..segmenting.joined import MemberPredictor
from ..segmenting.memory import check_memory
from ..segmenting.patient import locate

FAINT = 1 / 256  # a voxel of which the frozen members' organs have less together is none of theirs


@dataclass(frozen=True)
class Division:
    """The organs of which each frozen member has the say, in the members' order, and those of the trained network."""

    frozen: tuple[tuple[str, ...], ...]
    trained: tuple[str, ...]


class FrozenMembers:
    """The members of the joined model `start` that are not trained, in a run of label space `space`.

    `folder` keeps what they say of the validation cases; they are asked on `device`.
    """

    def __init__(self, start: Bundle, space: LabelSpace, device: torch.device, folder: Path) -> None:
        self._members, self._space, self._device, self._folder = start.members[:-1], space, device, folder
        self._start = start
        self._predictors: list[MemberPredictor] = []
        # Organs that the run leaves out are found as background, as they are by a start model of one network.
        self._label_of = {organ: space.index(organ) if organ in space.names else 0
                          for member in self._members for organ in member.organs}
        self.before = Division(tuple(member.organs for member in self._members),
                               tuple(organ for organ in start.members[-1].organs if organ in space.names))

    @property
    def owners(self) -> dict[str, str]:
        """The run's organs of which a frozen member has the say in the start model: organ -> the member's name."""
        return {organ: member.bundle.name for member in self._members for organ in member.organs
                if organ in self._space.names}

    def check(self, organs: Iterable[str]) -> None:
        """Raises UserError for organs to be taken over that the run does not have."""
        for organ in organs:
            if organ not in self._space.names:
                raise UserError(code=Code.UNKNOWN_NAME, subject="takes_over", expected=f"organs of {self._space.name}",
                                found=f"'{organ}'", hint=did_you_mean(organ, self._space.names))

    def after(self, taken_over: Collection[str]) -> Division:
        """The division of the run's model: frozen members keep their organs, but those that are `taken_over`."""
        frozen = tuple(tuple(organ for organ in member.organs if organ in self._space.names and organ not in taken_over)
                       for member in self._members)
        kept = {organ for organs in frozen for organ in organs}
        return Division(frozen, tuple(organ for organ in self._space.names if organ not in kept))

    def keeping(self, division: Division) -> list[Member]:
        """The frozen members that have the say of an organ."""
        return [Member(member.bundle, organs) for member, organs in zip(self._members, division.frozen, strict=True)
                if organs]

    def combine(self, cached: CachedCase, seen: slice, scores: torch.Tensor, division: Division) -> np.ndarray:
        """(z, y, x) uint8 labels of the working slices `seen` of a case, by all members together.

        `scores` (z, y, x, class): the trained network's logits of these slices.
        """
        places, values = self._said_of(cached, seen)
        said = [0, *self._space.indices(division.trained)]
        label_of = np.array(said, np.uint8)
        labels = np.empty(scores.shape[:3], np.uint8)
        plane = labels[0].size
        for z in range(len(labels)):
            shares = torch.softmax(scores[z].flatten(0, 1).float(), -1)[:, said]
            shares[:, 0] = 1 - shares[:, 1:].sum(-1)  # whatever it has no say of
            labels[z] = label_of[shares.max(-1).indices.numpy()].reshape(labels[z].shape)
            first, end = np.searchsorted(places, [z * plane, (z + 1) * plane])
            if end > first:
                at = places[first:end] - z * plane
                labels[z].reshape(-1)[at] = self._best(values[first:end], shares[at], label_of, division)
        return labels

    def _best(self, values: np.ndarray, shares: torch.Tensor, label_of: np.ndarray, division: Division) -> np.ndarray:
        """(n,) labels of voxels: `values` (n, organ) of all frozen members' organs, `shares` (n, 1 + organ) of the
        trained network's background and organs, whose labels are `label_of`."""
        frozen = torch.from_numpy(values).float()
        left = torch.ones(len(frozen))
        columns, labels, first = [], [], 0
        for member, organs in zip(self._members, division.frozen, strict=True):
            chosen = [first + number for number, organ in enumerate(member.organs) if organ in organs]
            first += len(member.organs)
            columns.append(frozen[:, chosen] * left[:, None])
            labels += [self._label_of[organ] for organ in member.organs if organ in organs]
            left = left * (1 - frozen[:, chosen].sum(-1)).clamp_min(0)
        every = torch.cat([shares * left[:, None], *columns], 1)  # the background first, which so wins a draw
        return np.array([*label_of.tolist(), *labels], np.uint8)[every.max(-1).indices.numpy()]

    def _said_of(self, cached: CachedCase, seen: slice) -> tuple[np.ndarray, np.ndarray]:
        """Flat places (n,) within the slices `seen`, ascending, and float16 (n, organ) what each frozen member's organs
        have of them."""
        members = [sha256(member.bundle.folder / MANIFEST) for member in self._members]
        key = digest([members, [member.organs for member in self._members], seen.start, seen.stop])
        file = self._folder / f"{cached.image_file.name.removesuffix('.image.npy')}-{key}.members.npz"
        if not file.exists():
            places, values = self._ask(cached, seen)
            with whole_file(file) as temporary, temporary.open("wb") as stream:
                np.savez(stream, places=places, values=values)
        with np.load(file) as content:
            return content["places"], content["values"]

    @torch.inference_mode()
    def _ask(self, cached: CachedCase, seen: slice) -> tuple[np.ndarray, np.ndarray]:
        """As `_said_of`, by the networks, which see the whole CT as they do when a user segments it: of a few slices
        alone they would say something else."""
        canonical = cached.case.read_image().canonical()
        shape = cached.image().shape
        whole = tuple(slice(0, size) for size in canonical.array.shape)
        to_patient = Frame((whole[0], whole[1], whole[2]), shape, (1.0, 1.0, 1.0), None).to_patient(canonical.grid)
        to_patient[:, 3] = to_patient @ [seen.start, 0, 0, 1]
        check_memory(canonical.grid, self._start, Reporter())
        patient = locate(canonical, {})
        if not self._predictors:
            with torch.random.fork_rng(devices=[]):  # networks are built with random weights before theirs are read
                self._predictors = [MemberPredictor(member, self._device) for member in self._members]
        depth = seen.stop - seen.start
        stacks = [torch.stack([plane.half() for plane in member.probabilities(
            patient, to_patient, (depth, *shape[1:]), {}, Reporter())]) for member in self._predictors]
        values = torch.cat(stacks, -1).flatten(0, 2)
        places = torch.nonzero(values.sum(-1, dtype=torch.float32) > FAINT).ravel()
        return places.numpy(), values[places].numpy()

    def release(self) -> None:
        """Lets go of the networks, whose memory is the training's."""
        self._predictors = []

