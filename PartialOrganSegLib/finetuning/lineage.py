"""The label space of a run's model, and what came from where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..models.bundle import Bundle
from ..models.checksums import MANIFEST, sha256
from ..models.metadata import LearntEntry, Lineage, ParentEntry
from ..organs import LabelSpace, label_space_of_names
from ..training.transfer import ClassMap
from .cases import PreparedCase, fingerprint


def run_space(start: LabelSpace, listed: LabelSpace, only_listed: bool) -> LabelSpace:
    """The start model's organs followed by the listed ones that it lacks; or only the listed ones."""
    if only_listed:
        return listed
    new = [organ for organ in listed.organs if organ.name not in start.names]
    if not new:
        return start
    grown = label_space_of_names(f"{start.name}+{len(new)}", [*start.names, *(organ.name for organ in new)])
    # Codes and colours stay those of the space an organ comes from.
    records = {organ.name: organ for organ in (*listed.organs, *start.organs)}
    return LabelSpace(grown.name, tuple(replace(records[organ.name], index=organ.index) for organ in grown.organs))


def lineage_of(start: Bundle, cases: Sequence[PreparedCase], trained: Sequence[PreparedCase],
               space: LabelSpace) -> Lineage:
    """The fingerprint is of all `cases`; learnt is what those `trained` on show."""
    learnt, classes = {}, ClassMap.between(start.label_space, space)
    for label, name in enumerate(space.names, 1):
        showing = [case for case in trained if label in case.organs]
        if showing:
            learnt[name] = LearntEntry(cases=len(showing), voxels=sum(case.voxels[label] for case in showing),
                                       kinds=sorted({case.kind.value for case in showing}))
    return Lineage(
        parent=ParentEntry(name=start.name, version=start.metadata.version, sha256=sha256(start.folder / MANIFEST)),
        data_sha256=fingerprint(cases), learnt=learnt,
        new_organs=[space.names[label - 1] for label in classes.new],
        dropped_organs=[start.label_space.names[label - 1] for label in classes.dropped],
        trained_images=sorted(images_learnt_by(start) | {case.image_sha256 for case in trained}))


def images_learnt_by(model: Bundle) -> set[str]:
    """Checksums of the CTs that a model is known to be trained on: by its fine-tunings, and those of its members."""
    images: set[str] = set()
    lineage = model.metadata.partialorganseg.lineage
    if lineage is not None:
        images.update(lineage.trained_images)
    for member in model.members:
        images |= images_learnt_by(member.bundle)
    return images
