"""Several models of the same organs asked together: the folds of a cross-validation, or models given side by side.

Averaged, the classes of a voxel have the mean of the models' probabilities, `p(c) = mean_k P_k(c)`, and the likeliest
is taken; networks imported from nnU-Net are averaged as nnU-Net does it, by their logits. By vote, every model segments
by itself and a voxel gets the class that most of them give it (Zhou 2019, section 4.3, and Fang 2020, section IV.B,
for their challenge entries); of classes with equally many votes, that of the model that stands first.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from ..errors import Code, UserError
from ..label_space_file import LabelSpaceEntry
from .bundle import MEMBERS, Bundle
from .bundle_writing import metadata_of, write_folder
from .checksums import MANIFEST, bundle_files, sha256, verify_bundle
from .combining import MEAN, VOTE
from .metadata import NetworkEntry, OwnSection, PreprocessingEntry


def load_models(models: str | Path | Sequence[str | Path], combine: str = MEAN) -> Bundle:
    """The bundle of a model, or the ensemble of several. Raises UserError for an unknown model and for models that
    cannot be combined so."""
    from .bundle import load_bundle

    paths = [models] if isinstance(models, str | Path) else list(models)
    bundles = [load_bundle(path) for path in paths]
    if len(bundles) == 1:
        bundle = bundles[0]
    else:
        bundle = ensemble_of(bundles)
        if combine == MEAN:
            check_mean(bundle)
    if combine == VOTE and not bundle.folds:
        raise UserError(code=Code.SETTINGS_CONFLICT, subject="combine", expected="several models to vote",
                        found=f"{bundle.name} alone")
    return bundle


def ensemble_of(bundles: Sequence[Bundle]) -> Bundle:
    """An ensemble in memory; ensembles among the bundles count as their folds. Raises UserError for models of different
    organs."""
    first = bundles[0]
    for bundle in bundles[1:]:
        if bundle.label_space.names != first.label_space.names:
            raise UserError(code=Code.MODEL_UNFIT, subject=bundle.name,
                            expected=f"the organs of {first.name} in its order ({', '.join(first.label_space.names)})",
                            found=", ".join(bundle.label_space.names))
    folds: list[Bundle] = []
    for bundle in bundles:
        folds += bundle.one_network_each
    return replace(first, name="+".join(bundle.name for bundle in bundles), members=(), folds=tuple(folds))


def check_mean(bundle: Bundle) -> None:
    """Raises UserError for an ensemble whose models have no voxels in common to average on."""
    first = bundle.one_network_each[0]
    for fold in bundle.folds:
        differs = [name for name, value in asdict(fold.preprocessing).items()
                   if value != getattr(first.preprocessing, name)]
        if fold.nnunet != first.nnunet:
            differs.append("way to predict")
        if fold.members:
            differs.append("joined networks")
        if differs:
            raise UserError(code=Code.SETTINGS_CONFLICT, subject="combine",
                            expected="models of one preprocessing to average", hint="let them vote: combine=vote",
                            found=f"{first.name} and {fold.name} with different {', '.join(differs)}")


def write_ensemble(folder: Path | str, bundles: Sequence[Bundle], name: str, version: str = "1.0.0",
                   description: str | None = None, metrics: Mapping[str, object] | None = None,
                   card: str | None = None) -> Bundle:
    """Writes an ensemble of whole copies of `bundles` into `folder`, replacing an older one, and reads it back.

    Raises UserError for models that cannot be averaged and for joined ones.
    """
    ensemble = ensemble_of(bundles)
    check_mean(ensemble)
    first = ensemble.folds[0]
    for bundle in bundles:
        verify_bundle(bundle.folder)
    places = [f"fold_{number}" for number in range(len(ensemble.folds))]
    section_of_first = first.metadata.partialorganseg
    section = OwnSection(
        label_space=LabelSpaceEntry.of(first.label_space),
        network=NetworkEntry(name=first.network_name, arguments=first.network_arguments),
        preprocessing=PreprocessingEntry(**asdict(first.preprocessing)), folds=places, nnunet=first.nnunet,
        precision=section_of_first.precision, licences=section_of_first.licences,
        training_data=[data for fold in ensemble.folds for data in fold.metadata.partialorganseg.training_data],
        metrics=dict(metrics or {}))

    def write_folds(new: Path) -> None:
        for place, fold in zip(places, ensemble.folds, strict=True):
            for file in [*bundle_files(fold.folder), MANIFEST]:
                target = new / MEMBERS / place / file
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(fold.folder / file, target)

    description = description or f"Ensemble of {len(places)} networks: {first.metadata.description}"
    return write_folder(Path(folder), metadata_of(section, name, version, description), card, write_folds)


def model_checksum(bundle: Bundle) -> str:
    """SHA-256 over all files of a model, of an ensemble in memory over those of all its models."""
    outside = [fold.folder for fold in bundle.folds if not fold.folder.is_relative_to(bundle.folder)]
    checksum = sha256(bundle.folder / MANIFEST)
    if not outside:
        return checksum
    sums = [checksum, *(sha256(folder / MANIFEST) for folder in outside)]
    return hashlib.sha256("".join(sums).encode()).hexdigest()
