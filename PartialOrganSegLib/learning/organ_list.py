"""The organs of a run: those of the start model, and those that were drawn and it lacks."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from ..datasets.structure_names import organs_named
from ..errors import Code, UserError, did_you_mean
from ..organ_records import known_organs
from ..organs import BACKGROUND, LABEL_SPACES, LabelSpace, label_space_of_names
from .case_names import words_of

Ask = Callable[[str], str]
"""Puts a question to the user; the answer is empty where they pressed Enter alone."""


def how_to_add(name: str) -> str:
    """The option that makes an organ of what somebody called a structure, in the letters that an organ's name may have:
    planning systems write "GTV+5mm (old)". Empty where nothing of the name would be left."""
    words = words_of(name)
    return f"--new-organ {'_'.join(words)} adds it" if words else ""


def _new_organ(name: str) -> str:
    """An organ's name as it is written in a label space. Raises UserError for one that it cannot have."""
    try:
        return label_space_of_names("new", [name]).names[0]
    except UserError as error:
        raise UserError(code=error.problem.code, subject="--new-organ", expected=error.problem.expected,
                        found=f"'{name}'", hint="one name; for several organs --new-organ is repeated") from None


class OrganList:
    """Grows while names of drawings are looked at: `take` every name first, then ask for `space`.

    `new`: organs the user named as new. `annotated`: the only ones to be learnt, None for all that are drawn. `ask`:
    None where nobody answers. Raises UserError for an `annotated` organ that nothing knows, with the way to add it.
    """

    def __init__(self, start: Sequence[str], new: Sequence[str] = (), annotated: Sequence[str] | None = None,
                 ask: Ask | None = None) -> None:
        self._start, self._ask = list(start), ask
        self.added: list[str] = []
        self.unknown: dict[str, None] = {}
        self._answers: dict[str, str] = {}
        self._stated = {_new_organ(name) for name in new}  # organs that somebody asked for or lists
        for name in new:
            self._add(_new_organ(name))
        # While the names of `annotated` are looked up, nothing is left out yet.
        self._annotated: set[str] | None = None
        if annotated is not None:
            self._annotated = {self._named(name) for name in annotated}

    def _named(self, name: str) -> str:
        """The organ of `--annotated`, added where it is known and the start model lacks it."""
        self.take(name, is_chosen=True)
        organs = self.organs(name)
        if len(organs) != 1:
            all_names = [*self.space.names, *known_organs().records]
            raise UserError(code=Code.UNKNOWN_NAME, subject="--annotated", found=f"'{name}'",
                            expected="an organ that the model or the library knows",
                            hint=did_you_mean(name, all_names) or how_to_add(name))
        self._stated.add(organs[0])
        return organs[0]

    @property
    def space(self) -> LabelSpace:
        """The start model's organs, then the added ones."""
        names = [*self._start, *self.added]
        for space in LABEL_SPACES.values():
            if list(space.names) == names:
                return space
        return label_space_of_names("own", names)

    @property
    def setting(self) -> str | list[str]:
        """The space as a manifest writes it."""
        space = self.space
        if space.name in LABEL_SPACES:
            return space.name
        return list(space.names)

    def take(self, name: str, is_chosen: bool = False) -> None:
        """Looks at the name of something drawn. An organ that the library knows and the start model lacks is added,
        unless only others are `annotated`; one that nobody knows is asked about, or becomes `unknown`."""
        organs = organs_named(name, self.space)
        if organs or name.strip().lower() == BACKGROUND:
            return
        if organs is None:
            self._ask_about(name)
            return
        # Where the user lists organs, an organ beside them is not to be learnt.
        record = self._record(name)
        if record is not None and (is_chosen or self._annotated is None):
            self._add(record)

    @property
    def are_chosen(self) -> bool:
        """Whether the user listed the organs to be learnt."""
        return self._annotated is not None

    def declare(self, names: Sequence[str]) -> None:
        """Adds the organs of a manifest, whose author has named them."""
        self._stated.update(names)
        for name in names:
            self._add(name)

    def without_drawing(self, drawn: Collection[str]) -> list[str]:
        """Takes back the added organs that nobody asked for or lists and that are not among those `drawn`."""
        lost = [name for name in self.added if name not in self._stated and name not in drawn]
        self.added = [name for name in self.added if name not in lost]
        return lost

    def organs(self, name: str) -> tuple[str, ...]:
        """The organs that a name may mean, of those that are to be learnt; empty where it means none of them."""
        name = self._answers.get(name, name)
        organs = organs_named(name, self.space) or ()
        if self._annotated is not None and not set(organs) & self._annotated:
            return ()
        return organs

    def known(self, name: str) -> tuple[str, ...]:
        """The organs of the start model or of the library that a name means; empty where nobody knows it."""
        library = label_space_of_names("library", list(dict.fromkeys([*self.space.names, *known_organs().records])))
        return organs_named(name, library) or ()

    def meant_by(self, name: str) -> str:
        """The name, or the organ that the user said it is."""
        return self._answers.get(name, name)

    @staticmethod
    def _record(name: str) -> str | None:
        """The one organ of the library that a name means."""
        library = label_space_of_names("library", list(known_organs().records))
        organs = organs_named(name, library) or ()
        if len(organs) != 1:
            return None
        return organs[0]

    def _ask_about(self, name: str) -> None:
        if name in self._answers or name in self.unknown:
            return
        answer = ""
        if self._ask is not None:
            answer = self._ask(f"'{name}' is no organ that the model or the library knows. Which organ is it, or what "
                               "shall the new one be called? (Enter leaves it out) ").strip()
        if not answer:
            self.unknown[name] = None
            return
        self._answers[name] = answer
        if not organs_named(answer, self.space):
            self._add(self._record(answer) or label_space_of_names("new", [answer]).names[0])

    def _add(self, organ: str) -> None:
        if organ not in self._start and organ not in self.added:
            self.added.append(organ)
