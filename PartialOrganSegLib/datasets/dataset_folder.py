"""nnU-Net raw datasets (versions 1 and 2) and Medical Segmentation Decathlon folders, read as they are.

All have a `dataset.json` beside `imagesTr` and `labelsTr`. What its labels mean in our label space follows from their
names (`structure_names`), and which organs the data set annotates follows from that.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from ..annotation import Kind
from ..errors import Code, UserError, brief
from ..formats.registry import stem_of
from ..json_file import read_json
from ..organs import LabelSpace
from .manifest_file import CaseEntry, DatasetEntry
from .structure_names import meanings

DESCRIPTION = "dataset.json"
_CHANNEL = "_0000"


def is_dataset_folder(path: Path) -> bool:
    """Whether `path` is a folder of either layout, or its dataset.json."""
    return path.name == DESCRIPTION or (path / DESCRIPTION).is_file()


def read_dataset_folder(path: Path, label_space: LabelSpace, name: str | None = None) -> tuple[DatasetEntry, list[str]]:
    """The data set as an entry of a manifest, and notes on names whose meaning the user should check.

    Only the training part is read. Raises UserError naming the file and the key for what is neither layout, is not CT,
    or has region lists for labels.
    """
    description = path if path.name == DESCRIPTION else path / DESCRIPTION
    folder = description.parent
    content = _read(description)
    labels = _labels(description, content["labels"])
    training = content.get("training")
    if "channel_names" in content:
        cases = _nnunet_cases(folder, description, content)
    elif isinstance(training, list):
        _check_modality(description, "modality", content.get("modality", {"0": "CT"}))
        cases = _decathlon_cases(description, training)
    else:
        raise UserError(code=Code.WRONG_FORMAT, subject=description,
                        expected="'channel_names' (nnU-Net v2) or a list 'training' (Decathlon)", found="neither")
    entries = list(cases)
    if not entries:
        raise UserError(code=Code.NO_CASES, subject=description, expected="training cases", found=f"none in {folder}")
    # Only a data set with all of our organs is full: in another one, an organ without a label may still be there.
    meaning = meanings(labels, label_space)
    kind = Kind.PARTIAL
    if len(meaning.annotated) == len(label_space.names):
        kind = Kind.FULL
    # As the user wrote it, whatever a link points to.
    usual_name = Path(os.path.abspath(folder)).name
    entry = DatasetEntry(name=name or usual_name, root=str(folder), kind=kind, annotated=meaning.annotated,
                         label_map=meaning.label_map, split_left_right=meaning.split_left_right, cases=entries)
    return entry, [f"{description}: {note}" for note in meaning.notes]


def _read(description: Path) -> dict[str, object]:
    content = read_json(description, "a readable JSON file")
    if not isinstance(content, dict) or not isinstance(content.get("labels"), dict):
        raise UserError(code=Code.WRONG_FORMAT, subject=description, expected="a data set's description with 'labels'",
                        found="none")
    return content


def _labels(description: Path, content: object) -> dict[int, str]:
    """value -> name, from nnU-Net v2's {name: value} or the Decathlon's {value: name}."""
    assert isinstance(content, dict)
    labels: dict[int, str] = {}
    for key, value in content.items():
        # Regions of nnU-Net overlap (tumour within organ), which one label map cannot say.
        if isinstance(value, list):
            raise UserError(code=Code.VALUE_UNFIT, subject=f"{description}: labels", expected="one value a label",
                            found=f"the region list '{key}': {value} (write a manifest with a label_map instead)")
        number, name = key, value
        if isinstance(value, int):
            number, name = value, key
        if not str(number).isdecimal() or not isinstance(name, str):
            raise UserError(code=Code.VALUE_UNFIT, subject=f"{description}: labels", expected="a name and a number",
                            found=f"'{key}': {value!r}")
        if int(number) in labels:
            raise UserError(code=Code.VALUE_UNFIT, subject=f"{description}: labels", expected="different values",
                            found=f"{number} for '{labels[int(number)]}' and '{name}'")
        labels[int(number)] = name
    if not any(labels):
        raise UserError(code=Code.NO_LABELS, subject=f"{description}: labels", expected="labels besides the background",
                        found="none")
    return labels


def _check_modality(description: Path, key: str, channels: object) -> None:
    """Raises UserError unless `channels`, such as {"0": "CT"} or ["CT"], is one channel of CT."""
    names = []
    if isinstance(channels, dict):
        names = [str(name) for name in channels.values()]
    elif isinstance(channels, list):
        names = [str(name) for name in channels]
    if len(names) != 1 or names[0].strip().lower() != "ct":
        raise UserError(code=Code.WRONG_MODALITY, subject=f"{description}: {key}", expected="one channel, 'CT'",
                        found=", ".join(f"'{name}'" for name in names) or brief(channels))


def _nnunet_cases(folder: Path, description: Path, content: Mapping[str, object]) -> Iterator[CaseEntry]:
    _check_modality(description, "channel_names", content["channel_names"])
    ending = content.get("file_ending")
    if not isinstance(ending, str) or not ending.startswith("."):
        raise UserError(code=Code.WRONG_FORMAT, subject=f"{description}: file_ending",
                        expected="an ending such as .nii.gz", found=brief(ending))
    listed = content.get("dataset")  # images in other folders: {case: {images: [...], label: ...}}
    if isinstance(listed, dict):
        for name, files in sorted(listed.items()):
            key, images = f"dataset.{name}", None
            if isinstance(files, dict):
                images = files.get("images")
            if not isinstance(images, list) or not images:
                raise _no_pair(description, key, files)
            yield _case(description, key, images[0], files.get("label"), files, name)
        return
    # nnU-Net numbers the channels of a case: of a CT there is only channel 0.
    for image in sorted((folder / "imagesTr").glob("[!.]*" + ending)):
        stem = image.name[:-len(ending)]
        if stem.endswith(_CHANNEL):
            name = stem[:-len(_CHANNEL)]
            yield CaseEntry(image=f"imagesTr/{image.name}", label=f"labelsTr/{name}{ending}", name=name)


def _decathlon_cases(description: Path, training: Sequence[object]) -> Iterator[CaseEntry]:
    for number, files in enumerate(training):
        key = f"training.{number}"
        if not isinstance(files, dict):
            raise _no_pair(description, key, files)
        image = files.get("image")
        if isinstance(image, str):
            image = _with_channel(description.parent, image)
        yield _case(description, key, image, files.get("label"), files, _name_of_channel(image))


def _with_channel(folder: Path, image: str) -> str:
    """A listed image, or the file of its channel 0: nnU-Net 1 lists `case.nii.gz` where `case_0000.nii.gz` lies."""
    path = PurePosixPath(image)
    if not path.name or (folder / image).exists():
        return image
    stem = stem_of(Path(image))
    numbered = str(path.with_name(stem + _CHANNEL + path.name[len(stem):]))
    if (folder / numbered).exists():
        return numbered
    return image


def _name_of_channel(image: object) -> str | None:
    """The case's name where its file is numbered as a channel; None where it has no number."""
    if not isinstance(image, str):
        return None
    stem = stem_of(Path(image))
    if not stem.endswith(_CHANNEL):
        return None
    return stem[:-len(_CHANNEL)] or None


def _case(description: Path, key: str, image: object, label: object, entry: object,
          name: str | None = None) -> CaseEntry:
    """The case of an `entry` under `key`. Raises UserError where image or label is no text."""
    if not isinstance(image, str) or not isinstance(label, str):
        raise _no_pair(description, key, entry)
    return CaseEntry(image=image, label=label, name=name)


def _no_pair(description: Path, key: str, entry: object) -> UserError:
    return UserError(code=Code.WRONG_FORMAT, subject=f"{description}: {key}", expected="an image and a label",
                     found=brief(entry))
