"""Which CT a volume is, whatever it is called: by its DICOM slices, else by its voxels."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

import numpy as np
import slicer
import slicer.util
from slicer.i18n import tr as _

from PartialOrganSegLib.errors import UserError

DIGITS = 16  # of SHA-256; two CTs of one user never share so many
SHORT_DIGITS = 8  # in file names
SAMPLES = 1 << 20  # voxels that are looked at, so that a large CT is known in a few milliseconds
_VOXELS = "PartialOrganSeg.CtVoxels"  # attribute of a CT: the digest of its voxels
_NOTED = "PartialOrganSeg.CtVoxelsOf"  # attribute beside it: ID of the node, and its size, when it was noted
_TEXT = re.compile(r"dicom:([0-9a-f]*) voxels:([0-9a-f]*)")


@dataclass(frozen=True)
class CtIdentity:
    """Digests of the UIDs of a CT's slices and of a sample of its voxels. `dicom` is empty for a CT that was not
    loaded from DICOM."""

    dicom: str
    voxels: str

    def same_as(self, identity: CtIdentity) -> bool:
        """Whether the two are one CT: a series that was saved as a file and loaded again has only its voxels left."""
        same_slices = bool(self.dicom) and self.dicom == identity.dicom
        return same_slices or self.voxels == identity.voxels

    @property
    def short(self) -> str:
        """Eight digits for a file's name."""
        return (self.dicom or self.voxels)[:SHORT_DIGITS]

    def text(self) -> str:
        """What `parsed` reads; of letters that every file format takes."""
        return f"dicom:{self.dicom} voxels:{self.voxels}"

    @classmethod
    def parsed(cls, text: str) -> CtIdentity | None:
        """The identity in a text, None where there is none."""
        match = _TEXT.search(text)
        if match is None:
            return None
        return cls(*match.groups())


def ct_identity(volume: slicer.vtkMRMLScalarVolumeNode) -> CtIdentity:
    """The identity of a CT; neither its name nor its place in the room counts. Raises UserError for one without voxels.

    The voxels' digest is noted with the node at first, so that a CT stays the same one when it is edited afterwards. A
    node that was made as a copy of another one, to be cropped or filtered, is a CT of its own.
    """
    # sorted: the order of the slices in the attribute depends on how the series was loaded
    uids = sorted((volume.GetAttribute("DICOM.instanceUIDs") or "").split())
    dicom = ""
    if uids:
        dicom = _digest(" ".join(uids).encode())
    voxels = volume.GetAttribute(_VOXELS)
    if volume.GetImageData() is None:  # its file was not found
        if voxels:
            return CtIdentity(dicom, voxels)
        raise UserError(_("{ct} has no voxels: its file was not found or could not be read.").format(
            ct=volume.GetName()))
    if not voxels or _is_of_another_node(volume, voxels):
        voxels = _voxel_digest(volume)
        volume.SetAttribute(_VOXELS, voxels)
        volume.SetAttribute(_NOTED, f"{volume.GetID()} {_size(volume)}")
    return CtIdentity(dicom, voxels)


def _is_of_another_node(volume: slicer.vtkMRMLScalarVolumeNode, voxels: str) -> bool:
    """Whether the noted digest came along when the node was copied. Scenes of older versions do not say where it was
    noted. An ID alone says nothing: a scene that is added to another one may get new ones."""
    node_id, _blank, size = (volume.GetAttribute(_NOTED) or "").partition(" ")
    if not size:
        return False
    noted_in = slicer.mrmlScene.GetNodeByID(node_id)
    is_copy = noted_in is not None and noted_in is not volume and noted_in.GetAttribute(_VOXELS) == voxels
    return is_copy or size != _size(volume)


def _size(volume: slicer.vtkMRMLScalarVolumeNode) -> str:
    return ",".join(map(str, volume.GetImageData().GetDimensions()))


def _voxel_digest(volume: slicer.vtkMRMLScalarVolumeNode) -> str:
    voxels = slicer.util.arrayFromVolume(volume).reshape(-1)
    # An odd step does not stay in one column or plane of a CT whose sides are powers of two.
    step = max(1, voxels.size // SAMPLES) | 1
    sample = np.ascontiguousarray(np.rint(voxels[::step]).astype(np.int32))
    return _digest(_size(volume).encode() + sample.tobytes())


def ct_file_name(volume: slicer.vtkMRMLScalarVolumeNode) -> str:
    """A name without an ending for files of this CT: what it is called, for people, and digits of its identity, so that
    two patients' files never replace each other."""
    name = re.sub(r"[^\w.-]+", "_", volume.GetName()).strip("._") or "case"
    return f"{name}_{ct_identity(volume).short}"


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:DIGITS]
