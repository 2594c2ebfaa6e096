"""Writes a model bundle whole: its network's weights, or whole copies of the bundles that it consists of."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from ..errors import Code, UserError
from ..label_space_file import LabelSpaceEntry
from ..organs import LabelSpace
from ..scratch import replace_folder, scratch_folder
from .bundle import METADATA, WEIGHTS, Bundle, Preprocessing, load_bundle
from .checksums import write_checksums
from .metadata import (
    Licences,
    Lineage,
    Metadata,
    NetworkEntry,
    NNUNetEntry,
    OwnSection,
    Precision,
    PreprocessingEntry,
    monai_fields,
)

if TYPE_CHECKING:
    import torch

# Executed by MONAI's bundle runner, not by us: `$` expressions are MONAI's, and every `--key=value` overrides one. The
# names dataset_dir, dataset, network_def, inferer and evaluator are those that its tools look for.
INFERENCE_CONFIG: dict[str, Any] = {
    "imports": [
        "$from pathlib import Path",
        "$from PartialOrganSegLib.segmenting.engine import Engine",
        "$from PartialOrganSegLib.segmenting.predictor import Predictor",
        "$from PartialOrganSegLib.models.bundle import load_bundle",
    ],
    "bundle_root": ".",
    "dataset_dir": ".",
    "image": "ct.nii.gz",
    "output": "labels.nii.gz",
    "device": "auto",
    "dataset": "$[{'image': Path(@dataset_dir) / str(@image), 'label': Path(str(@output))}]",
    "network_def": "$load_bundle(@bundle_root).learner.load_network()",
    "inferer": "$Predictor(load_bundle(@bundle_root), device=@device)",
    "evaluator": "$Engine(@inferer, @dataset)",
    "run": ["$@evaluator.run()"],
}


def write_bundle(folder: Path | str, network: torch.nn.Module, network_name: str, network_arguments: dict[str, Any],
                 label_space: LabelSpace, preprocessing: Preprocessing, name: str, version: str,
                 licences: dict[str, str], training_data: list[Any], metrics: dict[str, Any], description: str,
                 card: str | None = None, half: bool = False, lineage: Lineage | None = None,
                 nnunet: NNUNetEntry | None = None, precision: Precision | None = None) -> Bundle:
    """Writes a bundle whole, replacing an older one in `folder`, and reads it back.

    `licences` has the keys code, weights and data. With `half` the convolutions' weights are stored as float16 (an
    eighth of a per mille of rounding, half the size); vectors such as batch statistics stay float32.
    Raises UserError for invalid fields or when `folder` holds something that is no bundle.
    """
    try:
        section = OwnSection(
            label_space=LabelSpaceEntry.of(label_space), licences=Licences(**licences),
            preprocessing=PreprocessingEntry(**asdict(preprocessing)),
            network=NetworkEntry(name=network_name, arguments=network_arguments), training_data=training_data,
            metrics=metrics, lineage=lineage, nnunet=nnunet, precision=precision)
        metadata = metadata_of(section, name, version, description)
    except ValidationError as error:
        raise _invalid(name, error) from None

    def write_network(new: Path) -> None:
        (new / WEIGHTS).parent.mkdir()
        _write_weights(new / WEIGHTS, network, half)

    return write_folder(Path(folder), metadata, card, write_network)


def metadata_of(section: OwnSection, name: str, version: str, description: str) -> Metadata:
    """The metadata of a bundle: MONAI's fields say what our `section` does. Raises UserError for an invalid one."""
    fields = monai_fields(section.label_space.label_space(), section.preprocessing, section.metrics, section.licences)
    try:
        return Metadata.model_validate({**fields, "name": name, "version": version, "description": description,
                                        "changelog": {version: description},
                                        "partialorganseg": section.model_dump(mode="json")})
    except ValidationError as error:
        raise _invalid(name, error) from None


def _invalid(name: str, error: ValidationError) -> UserError:
    first = error.errors()[0]
    return UserError(code=Code.BUNDLE_BROKEN, subject=f"bundle {name}: {'.'.join(map(str, first['loc']))}",
                     found=first["msg"])


def write_folder(folder: Path, metadata: Metadata, card: str | None, write_networks: Callable[[Path], None]) -> Bundle:
    """Writes a bundle whole, replacing an older one in `folder`, and reads it back.

    `write_networks` puts the weights into the new folder that it is given. Raises UserError when `folder` holds
    something that is no bundle, and OSError that names `folder` where it cannot be written.
    """
    if folder.exists() and any(folder.iterdir()) and not (folder / METADATA).is_file():
        raise UserError(code=Code.FILE_EXISTS, subject=folder, expected="a new folder or an older bundle to replace",
                        found="other files")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _naming(folder), scratch_folder(folder.parent, ".bundle-") as scratch:
        new = scratch / "new"
        (new / METADATA).parent.mkdir(parents=True)
        write_networks(new)
        _write_json(new / METADATA, metadata.model_dump(mode="json"))
        _write_json(new / "configs/inference.json", INFERENCE_CONFIG)
        # A folder with a card opens as a page of its own where models are shared.
        text = card or f"# {metadata.name}\n\n{metadata.description}\n"
        (new / "README.md").write_text(text, encoding="utf-8")
        write_checksums(new)
        replace_folder(new, folder, scratch)
    return load_bundle(folder)


@contextlib.contextmanager
def _naming(folder: Path) -> Iterator[None]:
    """Errors of the system name the bundle that was to be written, not a hidden folder or a file that was copied."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(folder)) from error


def _write_weights(path: Path, network: torch.nn.Module, half: bool) -> None:
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    weights = {}
    for key, value in network.state_dict().items():
        value = value.detach().cpu()
        if half and value.is_floating_point() and value.ndim >= 2 and value.abs().max() < torch.finfo(torch.half).max:
            value = value.half()
        weights[key] = value.clone(memory_format=torch.contiguous_format)
    try:
        save_file(weights, path)
    except SafetensorError as error:
        # It says in words alone what the system said: "I/O error: No space left on device (os error 28)".
        number = re.search(r"os error (\d+)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from None


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
