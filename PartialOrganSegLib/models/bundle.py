"""A trained network with all it needs to be used: a folder in the MONAI bundle layout.

    NAME/configs/metadata.json        MONAI's fields and our own section (see metadata.py)
    NAME/configs/inference.json       `python -m monai.bundle run --config_file .../inference.json --image CT`
    NAME/configs/checksums.json       SHA-256 of every other file
    NAME/models/model.safetensors     weights, never a pickle
    NAME/members/MEMBER/...           instead of weights, in a joined model (joined.py) or an ensemble: a bundle each
    NAME/README.md                    the model card
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from ..atomic import put_in_place
from ..errors import Code, UserError
from ..exchanging import exchange
from ..label_space_file import LabelSpaceEntry
from ..organs import LabelSpace
from ..scratch import OLD, scratch_folder
from .checksums import verify_bundle, write_checksums
from .folders import find_folder
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
    read_metadata,
)

if TYPE_CHECKING:
    import torch

# Where MONAI's bundles have them.
WEIGHTS = "models/model.safetensors"
METADATA = "configs/metadata.json"
MEMBERS = "members"  # folder of a joined model's bundles
AIR_HU = -1024.0
# nnU-Net's schemes that `Preprocessing` states in full.
FIXED_NORMALISATION = ("CTNormalization", "NoNormalization")

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


@dataclass(frozen=True)
class Preprocessing:
    """How HU on any grid become the network's input.

    `spacing_zyx` mm is the working spacing, `patch_zyx` voxels the training patch. Input = (HU clipped to `clip_hu`
    - `subtract`) / `divide`; outside the volume lies air of -1024 HU. A CT is seen in windows of the patch that share
    `overlap` of their length. With `fitted` the windows are equal and have the lengths that cover the CT with the
    fewest voxels, each window at most `fitted` times as many as the patch (1: and along no axis longer): a network
    with instance norm answers a little differently in windows of another size, but half of the voxels need be seen.
    """

    spacing_zyx: tuple[float, float, float]
    clip_hu: tuple[float, float]
    subtract: float
    divide: float
    patch_zyx: tuple[int, int, int]
    overlap: float = 0.5
    fitted: float | None = None

    @property
    def padding(self) -> float:
        """The network's input value for a voxel outside the volume."""
        return (min(max(AIR_HU, self.clip_hu[0]), self.clip_hu[1]) - self.subtract) / self.divide

    def normalise(self, hu: torch.Tensor) -> torch.Tensor:
        """HU (any shape, float) to network input, in place where `hu` allows it."""
        return hu.clamp_(*self.clip_hu).sub_(self.subtract).div_(self.divide)


@dataclass(frozen=True)
class Member:
    """One of the bundles that a joined model consists of, a network or an ensemble, and the organs of which it has the
    say."""

    bundle: Bundle
    organs: tuple[str, ...]


@dataclass(frozen=True)
class Bundle:
    """A model bundle on disk whose metadata is valid. Weights are read by `load_network` only.

    `nnunet` is how nnU-Net predicts with an imported model; a model of our own has None. A joined model has `members`
    and no network of its own (`models.joined`); nor has an ensemble, which has `folds` (`models.ensemble`).
    """

    folder: Path
    name: str
    metadata: Metadata
    label_space: LabelSpace
    preprocessing: Preprocessing
    network_name: str
    network_arguments: dict[str, Any]
    nnunet: NNUNetEntry | None = None
    members: tuple[Member, ...] = ()
    precision: Precision = "bfloat16"
    folds: tuple[Bundle, ...] = ()

    @property
    def learner(self) -> Bundle:
        """The bundle whose network training goes on from: of a joined model the last member's, of an ensemble the
        first, else this one."""
        if self.folds:
            return self.folds[0]
        return self.members[-1].bundle.learner if self.members else self

    @property
    def one_network_each(self) -> tuple[Bundle, ...]:
        """The bundles of an ensemble, or this one alone."""
        return self.folds or (self,)

    def check_trainable(self) -> None:
        """Raises UserError for an imported model whose input depends on the whole CT: training cuts patches first."""
        if self.nnunet is not None and self.nnunet.normalisation not in FIXED_NORMALISATION:
            raise UserError(code=Code.MODEL_UNFIT, subject=self.name,
                            expected=f"a model to train on with normalisation {' or '.join(FIXED_NORMALISATION)}",
                            found=f"{self.nnunet.normalisation}, which differs from CT to CT")

    def load_network(self, device: str | torch.device = "cpu") -> torch.nn.Module:
        """The network with its weights in float32, in eval mode on `device`.

        Raises UserError for weights that do not fit, for ones that are no numbers, and for a joined model or an
        ensemble.
        """
        if self.folds:
            raise UserError(code=Code.MODEL_UNFIT, subject=self.name, expected="a model of one network",
                            found=f"an ensemble of {len(self.folds)}")
        if self.members:
            raise UserError(code=Code.MODEL_UNFIT, subject=self.name, expected="a model of one network",
                            found=f"one joined of {', '.join(member.bundle.name for member in self.members)}")
        import torch
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        from ..networks import build_network

        network = build_network(self.network_name, 1, self.label_space.class_count, **self.network_arguments)
        path = self.folder / WEIGHTS
        try:
            weights = load_file(path)
        except (OSError, SafetensorError) as error:
            raise UserError(code=Code.MODEL_UNFIT, subject=path, expected="safetensors weights", found=error) from None
        # Stored as float16 in part, to be half as large.
        weights = {key: value.float() if value.is_floating_point() else value for key, value in weights.items()}
        broken = [key for key, value in weights.items() if not torch.isfinite(value).all()]
        if broken:
            raise UserError(code=Code.MODEL_UNFIT, subject=path, expected="numbers as weights",
                            found=f"NaN or infinite ones in {broken[0]}")
        try:
            network.load_state_dict(weights)
        except RuntimeError as error:
            detail = str(error).replace("\n", " ")[:200]
            raise UserError(code=Code.MODEL_UNFIT, subject=path,
                            expected=f"weights of network '{self.network_name}'", found=detail) from None
        return network.eval().requires_grad_(False).to(device)


def load_bundle(name_or_path: str | Path, verify: bool = True) -> Bundle:
    """The bundle of an installed name ("embedded") or in a folder; its checksums are compared unless `verify` is off.

    Raises UserError for an unknown name (with the nearest one), wrong metadata or a wrong checksum.
    """
    folder = find_folder(name_or_path)
    if verify:
        verify_bundle(folder)
    metadata = read_metadata(folder / METADATA)
    section = metadata.partialorganseg
    space = section.label_space.label_space()
    members = tuple(_member(folder / MEMBERS / entry.folder, entry.organs, space) for entry in section.members)
    unspoken = set(space.names)
    for member in members:
        unspoken -= set(member.organs)
    if members and unspoken:
        raise UserError(code=Code.MODEL_UNFIT, subject=folder, expected="a member for every organ",
                        found=f"none for {', '.join(sorted(unspoken))}")
    precision = section.precision
    # Computed as they were measured: our networks in bfloat16, imported ones in float32.
    if precision is None:
        precision = "bfloat16" if section.nnunet is None else "float32"
    folds = tuple(_fold(folder / MEMBERS / place, space) for place in section.folds)
    return Bundle(folder, metadata.name, metadata, space, Preprocessing(**section.preprocessing.model_dump()),
                  section.network.name, dict(section.network.arguments), section.nnunet, members, precision, folds)


def _fold(folder: Path, space: LabelSpace) -> Bundle:
    """A model of an ensemble with label space `space`."""
    bundle = load_bundle(folder, verify=False)
    if bundle.members or bundle.folds or bundle.label_space.names != space.names:
        raise UserError(code=Code.MODEL_UNFIT, subject=folder, expected=f"one network of {', '.join(space.names)}",
                        found=f"{bundle.name} of {', '.join(bundle.label_space.names)}")
    return bundle


def _member(folder: Path, organs: list[str], space: LabelSpace) -> Member:
    """A member of the joined model with label space `space`; the whole model's checksums cover its files."""
    bundle = load_bundle(folder, verify=False)
    if bundle.members:
        raise UserError(code=Code.MODEL_UNFIT, subject=folder, expected="a member of one network or an ensemble",
                        found="a joined model")
    for organ in organs:
        if organ not in bundle.label_space.names or organ not in space.names:
            raise UserError(code=Code.MODEL_UNFIT, subject=folder, expected=f"a model that knows '{organ}'",
                            found=f"one of {', '.join(bundle.label_space.names)}")
    return Member(bundle, tuple(organs))


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


def replace_folder(new: Path, target: Path, scratch: Path) -> None:
    """Puts `new` in the place of `target`, beside which the scratch folder lies; what was there ends in that.

    Where the system cannot exchange two folders, a process that is killed between two renames leaves none in place; the
    next scratch folder beside it puts the old one back. Raises OSError, with what was there in its place.
    """
    if target.exists() and exchange(new, target):
        return
    old = scratch / OLD / target.name
    if target.exists():
        old.parent.mkdir()
        put_in_place(target, old)
    try:
        put_in_place(new, target)
    except OSError:
        if old.exists():
            put_in_place(old, target)
        raise


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
