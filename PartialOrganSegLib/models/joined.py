"""Several bundles as one model: each network has the say of its own organs, and none forgets anything.

An annotation says which classes a voxel may be; so does a network that knows only some of the organs. Its background is
the candidate set {background and all organs that it does not know}. The members are asked in order. The first says how
much of a voxel belongs to each of its organs; what it calls background is left to the next, which shares it out among
its own organs and what remains, and so on:

    p(c) = P_k(c) * prod_{i < k} P_i(background)   for an organ c of member k,
    p(background) = prod_i P_i(background),

where `P_i(background)` is member i's probability of everything but the organs that it has the say of. These sum to one.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ..errors import Code, UserError, did_you_mean
from ..label_space_file import LabelSpaceEntry
from ..organs import WORD16, LabelSpace, Organ, label_space_of_names
from .bundle import MEMBERS, Bundle
from .bundle_writing import metadata_of, write_folder
from .checksums import MANIFEST, bundle_files, verify_bundle
from .metadata import Licences, Lineage, MemberEntry, NetworkEntry, OwnSection, PreprocessingEntry


def divided(bundles: Sequence[Bundle], chosen: Mapping[str, Sequence[str]] = MappingProxyType({})
            ) -> list[tuple[str, ...]]:
    """The organs of which each bundle has the say: those `chosen` (by the bundle's name), else what it knows.

    An organ that several know is that of the bundle it was chosen for, else the first's. Raises UserError for fewer
    than two bundles, for two of one name, for a choice that cannot be met and for a bundle that gets no organ.
    """
    names = [bundle.name for bundle in bundles]
    if len(bundles) < 2:
        raise UserError(code=Code.SETTING_MISSING, expected="two models or more to join",
                        found=", ".join(names) or "none")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UserError(code=Code.SETTINGS_CONFLICT, subject=twice, expected="models of different names to join",
                        found="two of this one")
    owners: dict[str, str] = {}  # organ -> name of the bundle that has the say
    for name, organs in chosen.items():
        if name not in names:
            raise UserError(code=Code.UNKNOWN_NAME, subject=f"organs of '{name}'",
                            expected=f"one of {', '.join(names)}", hint=did_you_mean(name, names))
        space = bundles[names.index(name)].label_space
        for organ in organs:
            title = space.organ(organ).name  # it may be called by another name of it
            if owners.setdefault(title, name) != name:
                raise UserError(code=Code.SETTINGS_CONFLICT, subject=title, expected="one model to have the say",
                                found=f"{owners[title]} and {name}")
    for bundle in bundles:
        if bundle.name not in chosen:
            for organ in bundle.label_space.names:
                owners.setdefault(organ, bundle.name)
    division = []
    for bundle in bundles:
        owned = tuple(organ for organ in bundle.label_space.names if owners.get(organ) == bundle.name)
        if not owned:
            raise UserError(code=Code.SETTINGS_CONFLICT, subject=bundle.name,
                            expected="an organ of which no other model has the say", found="none")
        division.append(owned)
    return division


def without_owner(bundles: Sequence[Bundle], organs: Sequence[Sequence[str]]) -> list[str]:
    """Organs that some bundle knows and none has the say of, where `organs` are those of which each has it."""
    owned = set().union(*organs)
    lost: dict[str, None] = {}  # a set that keeps its order
    for bundle in bundles:
        lost.update(dict.fromkeys(organ for organ in bundle.label_space.names if organ not in owned))
    return list(lost)


def joined_label_space(name: str, parts: Sequence[tuple[Bundle, Sequence[str]]]) -> LabelSpace:
    """All organs of the members: WORD's sixteen in their own order where these they are, else in the members' order.

    `parts`: the members' bundles and the organs of which each has the say. An organ keeps the code and the colour that
    its member states: no record here may know it.
    """
    organs: list[Organ] = []
    for bundle, names in parts:
        organs += [bundle.label_space.organ(organ) for organ in names]
    names = [organ.name for organ in organs]
    if set(names) == set(WORD16.names):
        return WORD16
    label_space_of_names(name, names)  # refuses what no label space may hold
    return LabelSpace(name, tuple(replace(organ, index=index) for index, organ in enumerate(organs, 1)))


def join_bundles(folder: Path | str, bundles: Sequence[Bundle], name: str, version: str = "1.0.0",
                 organs: Sequence[Sequence[str]] | None = None, description: str | None = None,
                 metrics: dict[str, object] | None = None, card: str | None = None,
                 label_space: LabelSpace | None = None, lineage: Lineage | None = None) -> Bundle:
    """Writes a joined bundle of whole copies of `bundles` into `folder`, replacing an older one, and reads it back.

    `organs`: those of which each bundle has the say; None as `divided` divides them. A joined bundle among them counts
    as its members, an ensemble as one. `label_space`: None as `joined_label_space` orders them. Raises UserError for
    what cannot be joined.
    """
    if organs is None:
        organs = divided(bundles)
    parts = []
    for bundle, names in zip(bundles, organs, strict=True):
        if any(not fold.folder.is_relative_to(bundle.folder) for fold in bundle.folds):
            raise UserError(code=Code.MODEL_UNFIT, subject=bundle.name, expected="a model in a folder of its own",
                            found="several that are asked together", hint="write_ensemble makes one model of them")
        # The copies keep the checksums of the originals: a damaged one would only fail once it is used.
        verify_bundle(bundle.folder)
        for member in bundle.members:
            parts.append((member.bundle, [organ for organ in member.organs if organ in names]))
        if not bundle.members:
            parts.append((bundle, list(names)))
    # A joined model's member that keeps no organ would only take time.
    parts = [(bundle, names) for bundle, names in parts if names]
    folders = _folder_names([bundle.name for bundle, _ in parts])
    space = label_space or joined_label_space(name, parts)
    learner = parts[-1][0]  # training goes on from the last
    sections = [bundle.metadata.partialorganseg for bundle, _ in parts]
    training_data: list[Any] = []
    for section in sections:
        training_data += section.training_data
    joined_section = OwnSection(
        label_space=LabelSpaceEntry.of(space),
        network=NetworkEntry(name=learner.network_name, arguments=learner.network_arguments),
        preprocessing=PreprocessingEntry(**asdict(learner.preprocessing)),
        members=[MemberEntry(folder=place, organs=names) for place, (_, names) in zip(folders, parts, strict=True)],
        licences=Licences(code=_terms(parts, [section.licences.code for section in sections]),
                          weights=_terms(parts, [section.licences.weights for section in sections]),
                          data=_terms(parts, [section.licences.data for section in sections])),
        training_data=training_data, metrics=dict(metrics or {}), lineage=lineage)
    if not description:
        members = [f"{bundle.name} {bundle.metadata.version} ({', '.join(names)})" for bundle, names in parts]
        description = "Joined of " + " and ".join(members)

    def write_members(new: Path) -> None:
        for place, (bundle, _) in zip(folders, parts, strict=True):
            for file in [*bundle_files(bundle.folder), MANIFEST]:
                target = new / MEMBERS / place / file
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(bundle.folder / file, target)

    return write_folder(Path(folder), metadata_of(joined_section, name, version, description), card, write_members)


def _folder_names(names: Sequence[str]) -> list[str]:
    """Names of the members' folders: the bundles' own, numbered where two have one name in any spelling."""
    folders: list[str] = []
    for name in names:
        folder, number = name, 1
        # Some file systems take upper and lower case for the same.
        while folder.lower() in [earlier.lower() for earlier in folders]:
            number += 1
            folder = f"{name[:60]}-{number}"
        folders.append(folder)
    return folders


def _terms(parts: Sequence[tuple[Bundle, list[str]]], texts: Sequence[str]) -> str:
    """Terms that all members have in common, or each member's own."""
    if len(set(texts)) == 1:
        return texts[0]
    return "; ".join(f"{bundle.name}: {text}" for (bundle, _), text in zip(parts, texts, strict=True))
