"""Which organs the trained network of a joined model takes over from the frozen members, and the model that results."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

from ..errors import Code, UserError
from ..loading.cache import CachedCase
from ..models.bundle import Bundle
from ..models.bundle_writing import write_bundle
from ..models.joined import join_bundles
from ..networks import arguments_of_phase
from ..organs import LabelSpace
from ..scratch import scratch_folder
from .frozen_members import Division, FrozenMembers
from .recipe import Recipe
from .start import Start


class HandOver:
    """The division of the organs in a run. There is none, and nothing to take over, where the start model is a single
    network that learns on itself.

    `not_taken_over`: organs that the trained network was measured to find no better than their frozen member, with the
    Dice it had; that member keeps the say of them. Raises UserError for `takes_over` of organs that the run does not
    have, and for a network `beside` the start model that would have the say of none.
    """

    def __init__(self, recipe: Recipe, start: Start, space: LabelSpace, training: Sequence[CachedCase],
                 device: torch.device) -> None:
        self.members: FrozenMembers | None = None
        self.taken_over: list[str] = []
        self.not_taken_over: dict[str, float] = {}
        if start.bundle is None and recipe.beside:
            raise UserError(code=Code.SETTINGS_CONFLICT, subject="beside", expected="a model as start_from",
                            found="none")
        if start.bundle is None or (len(start.bundle.members) < 2 and not recipe.beside):
            if recipe.takes_over:
                raise UserError(code=Code.SETTINGS_CONFLICT, subject="takes_over",
                                expected="a joined model as start_from", found="none")
            return
        self.members = FrozenMembers(start.bundle, space, device, recipe.manifest.parent / "cache", recipe.beside)
        self.members.check(recipe.takes_over or ())
        organs = recipe.takes_over
        if organs is None:
            organs = _shown_organs(training, space)
        owners = self.members.owners
        self.taken_over = [organ for organ in organs if organ in owners]
        if recipe.beside and not self.members.after(self.taken_over).trained:
            raise UserError(code=Code.SETTINGS_CONFLICT, subject="beside",
                            expected="an organ for the network that learns, new or by takes_over", found="none")

    @property
    def before(self) -> Division | None:
        """Who has the say of which organ in the start model."""
        return None if self.members is None else self.members.before

    @property
    def division(self) -> Division | None:
        """Who has it in the model that would be written."""
        return None if self.members is None else self.members.after(self.taken_over)

    def give_back(self, before: Mapping[str, float], figures: dict[str, float],
                  measure: Callable[[], dict[str, float]]) -> dict[str, float]:
        """Gives back what is measured no better than before, until nothing is; the Dice of the division that results.
        A network without any organ would be none: where all would go back, nothing does, and the figures say so.

        `figures`: the Dice of the present division; `measure` measures that of a changed one.
        """
        while True:
            no_better = {}
            for organ in self.taken_over:
                if organ in figures and organ in before and figures[organ] <= before[organ]:
                    no_better[organ] = figures[organ]
            remaining = [organ for organ in self.taken_over if organ not in no_better]
            if not no_better or self.members is None or not self.members.after(remaining).trained:
                return figures
            # A new division changes the Dice of other organs too, so it is measured and compared again.
            self.not_taken_over |= no_better
            self.taken_over = remaining
            figures = measure()

    def write(self, folder: Path, recipe: Recipe, start: Start, space: LabelSpace,
              metrics: Mapping[str, object]) -> None:
        """Writes the trained network of `start` into `folder`, joined with the frozen members that keep an organ."""
        division = self.division
        if self.members is None or division is None or not self.members.keeping(division):
            _write_network(folder, recipe, start, space, metrics)
            return
        if self.not_taken_over:
            owners = self.members.owners
            not_taken_over = {}
            for organ, dice in self.not_taken_over.items():
                not_taken_over[organ] = {"member": owners[organ], "dice": dice}
            metrics = {**metrics, "not_taken_over": not_taken_over}
        keeping = self.members.keeping(division)
        # Beside the model's folder, so that what is joined moves there at once.
        with scratch_folder(folder.parent, ".member-") as scratch:
            trained = _write_network(scratch / "trained", recipe, start, space, metrics)
            join_bundles(folder, [*(member.bundle for member in keeping), trained], recipe.bundle.name,
                         recipe.bundle.version, metrics=dict(metrics), label_space=space,
                         organs=[*(member.organs for member in keeping), division.trained])


def _shown_organs(cases: Sequence[CachedCase], space: LabelSpace) -> list[str]:
    """The organs of which a voxel of some case that is trained on is certain."""
    shown: set[int] = set()
    for cached in cases:
        if cached.case.weight > 0:
            shown.update(cached.positions)
    return [space.names[label - 1] for label in sorted(shown) if label]


def _write_network(folder: Path, recipe: Recipe, start: Start, space: LabelSpace,
                   metrics: Mapping[str, object]) -> Bundle:
    """The trained network as a bundle of its own."""
    settings, network = recipe.bundle, start.settings
    # In the phase of the last stage, in which it was validated: in another one it would give other labels.
    arguments = network.arguments | arguments_of_phase(network.name, start.network)
    return write_bundle(
        folder, start.network.eval().cpu(), network.name, arguments, space,
        recipe.preprocessing.for_bundle(), name=settings.name, version=settings.version,
        licences=settings.licences, metrics=dict(metrics), training_data=settings.training_data,
        description=settings.description, half=True)
