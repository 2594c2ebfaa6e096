"""The formats that ITK reads and writes whole: NRRD and MetaImage."""

from __future__ import annotations

from pathlib import Path

from ..events import Reporter
from ..imaging.volume import Volume
from .itk_image import read_back, read_with_itk, write_with_itk
from .metaimage import check_metaimage
from .nrrd import check_nrrd
from .registry import register_format


@register_format
class Nrrd:
    """NRRD, in one file or with its voxels beside the header."""

    name = "nrrd"
    suffixes = (".nrrd", ".nhdr")
    written_suffixes = (".nrrd",)

    def reads(self, path: Path) -> bool:
        """By its name."""
        return path.name.lower().endswith(self.suffixes) and not path.is_dir()

    def read(self, path: Path, reporter: Reporter) -> Volume:
        """Values as stored; what ITK would fill in or fail on is looked for first."""
        check_nrrd(path, reporter)
        return read_with_itk(path, "NrrdImageIO")

    def write(self, path: Path, volume: Volume) -> None:
        """Compressed, with the header in the same file."""
        write_with_itk(path, volume)
        read_back(path)


@register_format
class MetaImage:
    """MetaImage, in one file or with its voxels beside the header."""

    name = "metaimage"
    suffixes = (".mha", ".mhd")
    written_suffixes = (".mha",)

    def reads(self, path: Path) -> bool:
        """By its name."""
        return path.name.lower().endswith(self.suffixes) and not path.is_dir()

    def read(self, path: Path, reporter: Reporter) -> Volume:
        """Values as stored; damage of compressed voxels, which ITK reads as noise, is looked for."""
        # First, because afterwards noise looks like any image.
        check_metaimage(path, reporter)
        return read_with_itk(path, "MetaImageIO")

    def write(self, path: Path, volume: Volume) -> None:
        """Compressed, with the header in the same file."""
        write_with_itk(path, volume)
        read_back(path)
