"""A trained network with all it needs to be used: a folder in the MONAI bundle layout.

    NAME/configs/metadata.json        MONAI's fields and our own section (see metadata.py)
    NAME/configs/inference.json       `python -m monai.bundle run --config_file .../inference.json --image CT`
    NAME/configs/checksums.json       SHA-256 of every other file
    NAME/models/model.safetensors     weights, never a pickle
    NAME/members/MEMBER/...           instead of weights, in a joined model (joined.py) or an ensemble: a bundle each
    NAME/README.md                    the model card
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import Code, UserError
from ..organs import LabelSpace
from .checksums import verify_bundle
from .folders import find_folder
from .metadata import Metadata, NNUNetEntry, Precision, read_metadata

if TYPE_CHECKING:
    import torch

# Where MONAI's bundles have them.
WEIGHTS = "models/model.safetensors"
METADATA = "configs/metadata.json"
MEMBERS = "members"  # folder of a joined model's bundles
AIR_HU = -1024.0
# nnU-Net's schemes that `Preprocessing` states in full.
FIXED_NORMALISATION = ("CTNormalization", "NoNormalization")


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
