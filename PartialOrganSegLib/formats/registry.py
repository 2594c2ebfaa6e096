"""Kinds of image files, a class each: which format reads a file, and how other packages add one.

    @register_format
    class NumPyArchive:
        name = "npz"
        suffixes = (".npz",)

        def reads(self, path): return path.is_file() and path.name.lower().endswith(self.suffixes)
        def read(self, path, reporter): ...          # a Volume
        def write(self, path, volume): ...           # if it can be written

That is all: `read_ct`, `read_labelmap`, `write_labelmap`, folders of CTs and the command line take the format from
here. An installed package registers it with an entry point of the group `partialorganseg.formats`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar, runtime_checkable

from ..registry import Registry

if TYPE_CHECKING:
    from ..events import Reporter
    from ..imaging.shapes import LabelMap
    from ..imaging.volume import Volume
    from ..organs import Organ
    from .dicom_source import DicomSource, Maker
    from .strokes import Strokes


@runtime_checkable
class Format(Protocol):
    """A kind of file. `name` is unique and short; `suffixes`: endings of file names in small letters, with the dot."""

    @property
    def name(self) -> str: ...

    @property
    def suffixes(self) -> tuple[str, ...]: ...

    def reads(self, path: Path) -> bool:
        """Whether `path`, a file or a folder that exists, is of this format and `read` can be tried on it. Where
        several say so, the one with the longest suffix that fits has it, of these the one registered last."""
        ...


@runtime_checkable
class ImageFormat(Format, Protocol):
    """One volume in a file: a CT or a label map."""

    def read(self, path: Path, reporter: Reporter) -> Volume:
        """The volume with its values as stored, axes (z, y, x). Raises UserError for what cannot be understood;
        OSError, ValueError, OverflowError and MemoryError are taken for damage."""
        ...


@runtime_checkable
class SeriesFormat(Format, Protocol):
    """Several volumes, among which one is chosen, in a folder or file."""

    def read_series(self, path: Path, series: str | None, reporter: Reporter) -> Volume:
        """The volume that `series` chooses. Raises UserError when it does not choose one."""
        ...


@runtime_checkable
class ImageWriter(Format, Protocol):
    """A format that volumes can be written in."""

    def write(self, path: Path, volume: Volume) -> None:
        """Writes to `path`, a temporary name with the suffix of the final one. Raises OSError or RuntimeError."""
        ...


@runtime_checkable
class SegmentationWriter(Format, Protocol):
    """A format that keeps the names, codes and colours of organs."""

    def write_segmentation(self, path: Path, segmentation: Segmentation) -> None:
        """Writes the whole file or none. Raises UserError."""
        ...


@runtime_checkable
class StrokeFormat(Format, Protocol):
    """Strokes drawn on slices."""

    def read_strokes(self, path: Path) -> Strokes:
        """The strokes of a file. Raises UserError."""
        ...

    def write_strokes(self, path: Path, strokes: Strokes) -> None:
        """Writes the whole file or none. Raises OSError."""
        ...


@dataclass(frozen=True)
class Segmentation:
    """Labels (z, y, x) and all that a format may want of them.

    `organs`: those that were looked for, also without a voxel. DICOM needs the series behind it, `source`, and the
    `maker`; `resample`: labels on another grid than the series' are taken to it; `tg263`: names of AAPM's TG-263.
    """

    labels: Volume
    organs: Sequence[Organ]
    source: DicomSource | None = None
    maker: Maker | None = None
    resample: bool = False
    tg263: bool = False

    @cached_property
    def on_slices(self) -> LabelMap:
        """Labels (slices, rows, columns) on the slices of the series; see `DicomSource.on_slices`."""
        assert self.source is not None
        return self.source.on_slices(self.labels, self.resample)


_ROOM = __name__.rpartition(".")[0]
FORMATS: Registry[Format] = Registry(
    "format", group="partialorganseg.formats", instances=True,
    modules=[f"{_ROOM}.{module}" for module in ("nifti_format", "itk_formats", "dicom_formats", "slicer_segmentation",
                                                "strokes_format")])
F = TypeVar("F", bound=Format)


def register_format(format_class: type[F]) -> type[F]:
    """Class decorator that adds a format. Raises ValueError for a name that is taken."""
    # An object, because a name may be a property.
    FORMATS.add(format_class().name, format_class)
    return format_class


def format_of(path: Path) -> ImageFormat | SeriesFormat | None:
    """The format that reads an existing file or folder; None when none does."""
    best: ImageFormat | SeriesFormat | None = None
    longest = -1
    for candidate in FORMATS.values():
        if isinstance(candidate, (ImageFormat, SeriesFormat)) and candidate.reads(path):
            # ".nii.gz" beats ".gz"; "not shorter" lets what was registered later replace one of ours.
            length = len(_suffix_of(path, candidate.suffixes))
            if length >= longest:
                best, longest = candidate, length
    return best


def writer_of(path: Path) -> ImageWriter | None:
    """The format that a volume is written in under this name; None for a suffix that no format writes."""
    best: ImageWriter | None = None
    longest = 0
    for candidate in FORMATS.values():
        if isinstance(candidate, ImageWriter):
            length = len(_suffix_of(path, _written(candidate)))
            if length and length >= longest:
                best, longest = candidate, length
    return best


def volume_suffixes() -> tuple[str, ...]:
    """The endings of files that hold one volume each."""
    suffixes: list[str] = []
    for known_format in FORMATS.values():
        if isinstance(known_format, ImageFormat):
            suffixes += known_format.suffixes
    return tuple(suffixes)


def written_suffixes() -> tuple[str, ...]:
    """The endings under which a volume can be written."""
    suffixes: list[str] = []
    for known_format in FORMATS.values():
        if isinstance(known_format, ImageWriter):
            suffixes += _written(known_format)
    return tuple(suffixes)


def is_volume_name(path: Path) -> bool:
    """Whether a file of that name holds one volume, and is not a segmentation with organ names (.seg.nrrd)."""
    no_volumes: list[str] = []
    for known_format in FORMATS.values():
        if not isinstance(known_format, ImageFormat):
            no_volumes += known_format.suffixes
    return len(_suffix_of(path, volume_suffixes())) > len(_suffix_of(path, no_volumes))


def stem_of(path: Path, also: Collection[str] = ()) -> str:
    """A file's name without the ending that says its format, or one of `also`; the name where nothing would be left.

    >>> stem_of(Path("cts/scan.1.nii.gz"))
    'scan.1'
    """
    suffixes = [*volume_suffixes(), *also]
    for known_format in FORMATS.values():
        if isinstance(known_format, SeriesFormat):
            suffixes += known_format.suffixes
    return path.name[:len(path.name) - len(_suffix_of(path, suffixes))]


def _written(writer: ImageWriter) -> tuple[str, ...]:
    """A format may write fewer suffixes than it reads: `written_suffixes`."""
    return tuple(getattr(writer, "written_suffixes", writer.suffixes))


def _suffix_of(path: Path, suffixes: Collection[str]) -> str:
    """The longest of the endings that a name has with something before it, empty when it has none."""
    name = path.name.lower()
    fitting = [suffix for suffix in suffixes if name.endswith(suffix) and len(name) > len(suffix)]
    return max(fitting, key=len, default="")
