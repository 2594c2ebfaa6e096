"""Sound inputs of every format that users hand in, small, and how each is read: what `faults` makes mutants of."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import yaml
from pydicom import dcmread
from pydicom.dataset import Dataset

from PartialOrganSegLib.batch.case_list import read_list
from PartialOrganSegLib.datasets.manifest import load_manifest
from PartialOrganSegLib.datasets.segment_labels import read_organ_labels
from PartialOrganSegLib.datasets.soft_targets import SoftTargets, read_soft_targets, write_soft_targets
from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.events import Reporter
from PartialOrganSegLib.formats.dicom_export import write_dicom
from PartialOrganSegLib.formats.dicom_source import Maker, read_source
from PartialOrganSegLib.formats.drawn_structures import read_structures
from PartialOrganSegLib.formats.reading import read_ct
from PartialOrganSegLib.formats.strokes import Stroke, Strokes, paint_strokes, read_strokes, write_strokes
from PartialOrganSegLib.formats.writing import write_segmentation
from PartialOrganSegLib.imaging.volume import Grid, Volume
from PartialOrganSegLib.models.bundle import load_bundle
from PartialOrganSegLib.models.nnunet_folder import read_results
from PartialOrganSegLib.models.nnunet_plans import planned
from PartialOrganSegLib.organs import WORD16
from PartialOrganSegLib.resources import resource
from PartialOrganSegLib.training.recipe import load_recipe
from Testing.helpers.dicom_files import inside, write_enhanced, write_slices
from Testing.helpers.dicom_mutants import mutate_dicom
from Testing.helpers.faults import Seed, mutate_bytes, mutate_header, mutate_text
from Testing.helpers.listener import Listener
from Testing.helpers.nnunet_folder import plans_of, write_results
from Testing.helpers.volume_files import body, save

GRID = Grid((24, 20, 12), (0.8, 0.9, 5.0), (-10.0, 20.0, 300.5))


def _described(volume: Volume) -> tuple[object, ...]:
    grid = volume.grid
    return (volume.array, *grid.spacing, *grid.origin, *grid.direction)


def _ct(file: Path, listener: Listener) -> object:
    return _described(read_ct(file, reporter=listener, force=True))


def _folder_ct(file: Path, listener: Listener) -> object:
    return _described(read_ct(file.parent, reporter=listener, force=True))


def _by_itk(file: Path) -> object:
    """ITK's own reading of a file, as the independent one: what it refuses is not sound."""
    try:
        image = sitk.ReadImage(str(file))
    except RuntimeError:
        return None
    array = sitk.GetArrayFromImage(image)
    # One volume of a time series is a volume, as our reader takes it.
    if array.ndim == 4 and len(array) == 1:
        array = array[0]
    direction = np.array(image.GetDirection()).reshape(image.GetDimension(), -1)[:3, :3].ravel().tolist()
    return (array, *image.GetSpacing()[:3], *image.GetOrigin()[:3], *direction)


def _by_pydicom(file: Path) -> object:
    """pydicom's reading of the series in the file's folder, slices or frames from the lowest to the highest."""
    slices = []
    try:
        for path in file.parent.glob("*.dcm"):
            slices += _frames(dcmread(path))
        axes = np.array(slices[0][2], float).reshape(2, 3)
        normal = np.cross(*axes)
        slices.sort(key=lambda frame: float(np.array(frame[1], float) @ normal))
        positions = np.array([position for _, position, _, _ in slices], float)
        step = float((positions[-1] - positions[0]) @ normal) / (len(slices) - 1)
        row_mm, column_mm = map(float, slices[0][3])
        direction = np.stack([*axes, normal], axis=1).ravel().tolist()
        return (np.stack([hu for hu, _, _, _ in slices]), column_mm, row_mm, step, *positions[0].tolist(), *direction)
    except Exception:  # whatever pydicom raises: what it cannot read agrees with nothing
        return None


def _frames(ct: Dataset) -> list[tuple[np.ndarray, list, list, list]]:
    """HU, position, orientation and spacing of each frame."""
    if "SamplesPerPixel" not in ct:  # without which pydicom reads nothing, and everybody else one number a pixel
        ct.SamplesPerPixel = 1
    if "PhotometricInterpretation" not in ct:  # likewise
        ct.PhotometricInterpretation = "MONOCHROME2"
    if "PerFrameFunctionalGroupsSequence" not in ct:
        values = ct.pixel_array * float(ct.get("RescaleSlope", 1)) + float(ct.get("RescaleIntercept", 0))
        return [(values, ct.ImagePositionPatient, ct.ImageOrientationPatient, ct.PixelSpacing)]
    shared = ct.SharedFunctionalGroupsSequence[0]
    frames = []
    for plane, frame in zip(ct.pixel_array, ct.PerFrameFunctionalGroupsSequence, strict=True):
        scale = frame.PixelValueTransformationSequence[0]
        values = plane * float(scale.RescaleSlope) + float(scale.RescaleIntercept)
        frames.append((values, frame.PlanePositionSequence[0].ImagePositionPatient,
                       shared.PlaneOrientationSequence[0].ImageOrientationPatient,
                       shared.PixelMeasuresSequence[0].PixelSpacing))
    return frames


def _image(name: str, folder: Path) -> Path:
    return save(folder / name, body())


def _plain_header(name: str, folder: Path) -> Path:
    image = sitk.GetImageFromArray(body())
    image.SetSpacing(GRID.spacing)
    sitk.WriteImage(image, str(folder / name), False)
    return folder / name


def _segmentation(folder: Path) -> Path:
    labels = np.zeros(GRID.shape, np.uint8)
    labels[3:6, 4:9, 4:9], labels[7:9, 4:9, 4:9] = 1, 2
    write_segmentation(folder / "a.seg.nrrd", Volume(labels, GRID), WORD16)
    return folder / "a.seg.nrrd"


def _series(folder: Path) -> Path:
    return sorted(write_slices(folder / "ct", body()).glob("*.dcm"))[4]


def _enhanced(folder: Path) -> Path:
    return write_enhanced(folder / "ct.dcm", body())


@cache
def _drawn(kind: str) -> tuple[bytes, Grid]:
    """A structure set or segmentation of two organs, and the grid of its CT."""
    with tempfile.TemporaryDirectory() as folder:
        series = write_slices(Path(folder) / "ct", body())
        grid = read_ct(series).grid
        labels = np.zeros(grid.shape, np.uint8)
        labels[3:7, 4:12, 4:15], labels[4:6, 6:9, 7:10], labels[7:10, 3:9, 4:9] = 1, 0, 2
        file = Path(folder) / "a.dcm"
        write_dicom({kind: file}, Volume(labels, grid), read_source(series, None, Reporter()), WORD16.organs,
                    Maker("a model", "1"))
        return file.read_bytes(), grid


def _structures(kind: str, folder: Path) -> Path:
    (folder / "a.dcm").write_bytes(_drawn(kind)[0])
    return folder / "a.dcm"


def _masks(kind: str, file: Path, listener: Listener) -> object:
    structures = read_structures(file)
    if structures is None:
        raise UserError("a.dcm: expected a structure set, found another kind of file")
    masks = list(structures.masks(_drawn(kind)[1]))
    assert [name for name, _ in masks] == list(structures.names)
    return tuple(part for pair in masks for part in pair)


def _contours_by_pydicom(file: Path) -> object:
    """Every pixel centre held against every contour, as pydicom has them; None for what it cannot read."""
    grid = _drawn("rtstruct")[1]
    try:
        dataset = dcmread(file)
        names = {int(roi.ROINumber): str(roi.ROIName) for roi in dataset.StructureSetROISequence}
        result: list[object] = []
        for roi in dataset.ROIContourSequence:
            mask = np.zeros(grid.shape, bool)
            for contour in roi.get("ContourSequence", []):
                points = np.array(contour.ContourData, float).reshape(-1, 3)
                x, y, z = ((points - grid.origin) / grid.spacing).T
                if contour.ContourGeometricType.startswith("CLOSED"):
                    mask[round(float(z[0]))] ^= inside(np.stack([x, y], axis=1), grid.shape[1:])
            if mask.any():
                result += [names[int(roi.ReferencedROINumber)], mask]
        return tuple(result)
    except Exception:  # what it cannot read agrees with nothing
        return None


def _frames_by_pydicom(file: Path) -> object:
    """The segments whose frames lie on the CT's own pixels; None for what pydicom cannot read or that lies beside."""
    grid = _drawn("seg")[1]
    try:
        dataset = dcmread(file)
        names = {int(segment.SegmentNumber): str(segment.SegmentLabel) for segment in dataset.SegmentSequence}
        shared = dataset.SharedFunctionalGroupsSequence[0]
        axes = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)
        spacing = np.array(shared.PixelMeasuresSequence[0].PixelSpacing, float)
        assert np.allclose(axes, [1, 0, 0, 0, 1, 0], atol=1e-3)
        assert np.allclose(spacing, grid.spacing[1::-1], atol=1e-3)
        masks: dict[int, np.ndarray] = {}
        for plane, group in zip(dataset.pixel_array, dataset.PerFrameFunctionalGroupsSequence, strict=True):
            number = int(group.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
            place = np.array(group.PlanePositionSequence[0].ImagePositionPatient, float) - grid.origin
            x, y, z = np.rint(place / grid.spacing).astype(int)
            mask = masks.setdefault(number, np.zeros(grid.shape, bool))
            rows, columns = plane.nonzero()
            mask[z, rows + y, columns + x] = True
        return tuple(part for number in sorted(masks) if masks[number].any() for part in (names[number], masks[number]))
    except Exception:  # as above
        return None


def _mutated_nifti(raw: bytes, rng: np.random.Generator) -> bytes:
    # A NIfTI header's bytes, and the four that follow it.
    return mutate_bytes(raw, rng, 352)


def _mutated_packed(raw: bytes, rng: np.random.Generator) -> bytes:
    """The packed bytes, or what is packed in them."""
    if rng.random() < 0.5:
        return mutate_bytes(raw, rng)
    return gzip.compress(mutate_bytes(gzip.decompress(raw), rng, 352), 1)


def _text(name: str, content: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        # Files that a manifest or list may name; nothing opens them.
        for case in ("a", "b"):
            (folder / f"{case}.nii.gz").write_bytes(b"")
            (folder / f"{case}_label.nii.gz").write_bytes(b"")
        (folder / name).write_text(content, encoding="utf-8")
        return folder / name
    return make


MANIFEST = yaml.safe_dump({"label_space": "word16", "datasets": [
    {"name": "one", "kind": "full", "cases": [{"image": "a.nii.gz", "label": "a_label.nii.gz", "group": "p1"}]},
    {"name": "two", "kind": "partial", "annotated": ["liver"], "label_map": {1: ["liver", "spleen"]}, "weight": 0.5,
     "cases": [{"image": "b.nii.gz", "label": "b_label.nii.gz"}]}]}, sort_keys=False)
CSV = "image,name\na.nii.gz,first\nb.nii.gz,second\n"


def _strokes(folder: Path) -> Path:
    points = [(float(x), 30.0, 320.5) for x in range(-5, 5)]
    write_strokes(folder / "s.json", Strokes(image="ct.nii.gz", drawn_by="a", licence="b", strokes=[
        Stroke(organ="liver", points=points, width_mm=4.0), Stroke(organ="colon", points=points[:4], closed=True)]))
    return folder / "s.json"


def _painted(file: Path, listener: Listener) -> object:
    return paint_strokes(read_strokes(file), GRID, WORD16).array


def _soft(folder: Path) -> Path:
    probabilities = np.random.default_rng(0).integers(0, 256, (3, 6, 7, 8), dtype=np.uint8)
    targets = SoftTargets(probabilities, Grid((8, 7, 6), (1.0, 2.0, 3.0)),
                          (("background",), ("liver",), ("spleen",)), "s.npz")
    write_soft_targets(folder / "s.npz", targets)
    return folder / "s.npz"


def _bundle(folder: Path) -> Path:
    member = next(resource("models", "embedded", "members").iterdir())
    # Links in place of copies: the weights are not what is mutated.
    shutil.copytree(member, folder / "model", copy_function=_linked)
    file = folder / "model" / "configs" / "metadata.json"
    content = file.read_bytes()
    # The link would lead to the package's own file.
    file.unlink()
    file.write_bytes(content)
    return file


def _linked(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _loaded(file: Path, listener: Listener) -> object:
    bundle = load_bundle(file.parent.parent, verify=False)
    bundle.load_network("cpu")
    return bundle.name


def _nnunet_results(folder: Path) -> Path:
    plans = plans_of()
    write_results(folder / "results", plans)
    return next((folder / "results").rglob("plans.json"))


def _planned(file: Path, listener: Listener) -> object:
    planned(read_results(file.parent))
    return 1


def _nnunet_data(folder: Path) -> Path:
    for name in ("imagesTr/a_0000.nii.gz", "labelsTr/a.nii.gz"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"")
    file = folder / "dataset.json"
    file.write_text(json.dumps({"channel_names": {"0": "CT"}, "labels": {"background": 0, "liver": 1, "spleen": 2},
                                "numTraining": 1, "file_ending": ".nii.gz"}))
    return file


SEEDS = [
    Seed("nifti", partial(_image, "ct.nii"), _ct, _mutated_nifti, _by_itk),
    Seed("nifti.gz", partial(_image, "ct.nii.gz"), _ct, _mutated_packed, _by_itk),
    Seed("nrrd", partial(_plain_header, "ct.nrrd"), _ct, mutate_header, _by_itk),
    Seed("nrrd packed", partial(_image, "ct.nrrd"), _ct, mutate_header, _by_itk),
    Seed("metaimage", partial(_plain_header, "ct.mha"), _ct, mutate_header, _by_itk),
    Seed("metaimage detached", partial(_plain_header, "ct.mhd"), _ct, mutate_text, _by_itk),
    Seed("seg.nrrd", _segmentation, lambda file, listener: _described(read_organ_labels(file, WORD16, listener)),
         mutate_header),
    Seed("dicom", _series, _folder_ct, mutate_dicom, _by_pydicom),
    Seed("enhanced dicom", _enhanced, _ct, mutate_dicom, _by_pydicom),
    Seed("dicom seg", partial(_structures, "seg"), partial(_masks, "seg"), mutate_dicom, _frames_by_pydicom),
    Seed("rtstruct", partial(_structures, "rtstruct"), partial(_masks, "rtstruct"), mutate_dicom, _contours_by_pydicom),
    Seed("manifest", _text("m.yaml", MANIFEST), lambda file, listener: str(load_manifest(file, listener)), mutate_text),
    Seed("recipe", lambda folder: Path(shutil.copy(resource("recipes", "full.yaml"), folder / "r.yaml")),
         lambda file, listener: str(load_recipe(file)), mutate_text),
    Seed("csv", _text("list.csv", CSV), lambda file, listener: str(read_list(file, listener)), mutate_text),
    Seed("strokes", _strokes, _painted, mutate_text),
    Seed("soft targets", _soft, lambda file, listener: read_soft_targets(file).probabilities, mutate_bytes),
    Seed("bundle", _bundle, _loaded, mutate_text),
    Seed("nnunet results", _nnunet_results, _planned, mutate_text),
    Seed("nnunet data", _nnunet_data, lambda file, listener: str(load_manifest(file.parent, listener)), mutate_text),
]
