"""How a label space is written in files: in a bundle's metadata, and in a file that a manifest names."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from .organ_records import CATEGORY, Code, organ_record
from .organs import LabelSpace, Organ

Byte = Annotated[int, Field(ge=0, le=255)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CodeEntry(_Strict):
    """A SNOMED CT concept."""

    value: str
    meaning: str


class OrganEntry(_Strict):
    """One class of the model; `colour` is RGB in 0-255."""

    index: Annotated[int, Field(ge=1)]
    name: Annotated[str, Field(min_length=1)]
    code: CodeEntry
    modifier: CodeEntry | None = None
    colour: tuple[Byte, Byte, Byte]


class LabelSpaceEntry(_Strict):
    """The label space with its codes, so that a bundle explains itself."""

    name: str
    organs: Annotated[list[OrganEntry], Field(min_length=1)]

    @classmethod
    def of(cls, space: LabelSpace) -> LabelSpaceEntry:
        """The entry that describes `space`."""
        def code(c: Code | None) -> dict[str, str] | None:
            return None if c is None else {"value": c.value, "meaning": c.meaning}

        organs = [{"index": o.index, "name": o.name, "code": code(o.code), "modifier": code(o.modifier),
                   "colour": o.colour} for o in space.organs]
        return cls.model_validate({"name": space.name, "organs": organs})

    def label_space(self) -> LabelSpace:
        """The label space this entry describes. Raises UserError when the indices are not 1..n."""
        def code(c: CodeEntry | None) -> Code | None:
            return None if c is None else Code(c.value, c.meaning)

        organs = []
        for o in self.organs:
            # The file does not say the category; an organ that no record knows gets the general one.
            record = organ_record(o.name)
            category = CATEGORY if record is None else record.category
            organs.append(Organ(o.index, o.name, Code(o.code.value, o.code.meaning), o.colour, code(o.modifier),
                                category))
        return LabelSpace(self.name, tuple(organs))
