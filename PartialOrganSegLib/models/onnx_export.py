"""Networks of a bundle as ONNX files, for viewers and runtimes that have no PyTorch.

A file holds the network and, in its metadata, what it takes to use it without this library: names of the classes,
spacing, clipping and scaling of the intensities, orientation of the axes, sizes and overlap of the windows.
"""

from __future__ import annotations

import contextlib
import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from .. import __version__
from ..errors import Code, UserError, one_line
from ..networks.base import size_multiple_of, slices_of
from ..outputs import all_at_once
from .bundle import Bundle

SUFFIX = ".onnx"
INPUT, OUTPUT = "image", "logits"
# Has instance norm, resizing and all else that the networks here consist of; runtimes of 2022 and later know it.
OPSET = 18
AXES = "batch, channel, z to superior, y to posterior, x to left"


def export_onnx(bundle: Bundle, file: Path) -> list[Path]:
    """Writes the network of `bundle` to `file`, replacing an earlier one, and gives the path.

    Of a joined model or an ensemble each network gets a file of its own, named by its member: `NAME.MEMBER.onnx`, of
    an ensemble within a joined model `NAME.MEMBER.FOLD.onnx`. A network takes float32 (1, 1, z, y, x), sizes any
    multiples of what its metadata say, and gives logits (1, class, z, y, x); one that sees slices takes windows of the
    training patch alone.

    Raises UserError for another suffix, a missing package, a network that cannot be exported and a folder that cannot
    be written.
    """
    networks = _files(bundle, file)
    _require_packages()
    with all_at_once(file.parent, file.stem) as folder:
        for path, (network_bundle, organs) in networks.items():
            _write(network_bundle, organs, folder / path.name)
    return list(networks)


def onnx_files(bundle: Bundle, file: Path) -> list[Path]:
    """The files that `export_onnx` writes. Raises UserError for a suffix that is not .onnx."""
    return list(_files(bundle, file))


def _files(bundle: Bundle, file: Path) -> dict[Path, tuple[Bundle, tuple[str, ...]]]:
    """Each file with the bundle of its network and the organs of which this has the say."""
    if file.suffix.lower() != SUFFIX:
        raise UserError(code=Code.VALUE_UNFIT, subject="--onnx", expected=f"a file name with {SUFFIX}", found=file)
    files: dict[Path, tuple[Bundle, tuple[str, ...]]] = {}
    if bundle.members:
        for member in bundle.members:
            # A member may be an ensemble, whose networks decide on its organs together.
            for path, (network, _) in _files(member.bundle, _named(file, member.bundle)).items():
                files[path] = network, member.organs
        return files
    if bundle.folds:
        return {_named(file, fold): (fold, fold.label_space.names) for fold in bundle.folds}
    return {file: (bundle, bundle.label_space.names)}


def _named(file: Path, part: Bundle) -> Path:
    """The name of a part's own file: `NAME.PART.onnx`."""
    return file.with_name(f"{file.stem}.{part.folder.name}{file.suffix}")


def _require_packages() -> None:
    """Raises UserError with the way to install them where the packages that write ONNX are missing."""
    try:
        import onnx  # noqa: F401 - only whether they are there
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UserError(code=Code.PACKAGE_MISSING, subject="models export", expected=f"the package {error.name}",
                        found="none", hint="pip install onnx onnxscript") from None


def _write(bundle: Bundle, organs: tuple[str, ...], file: Path) -> None:
    """Writes one network with its metadata. Raises UserError where PyTorch cannot export it."""
    network = bundle.load_network()
    multiple = size_multiple_of(network)
    shape = tuple(-(-size // unit) * unit for size, unit in zip(bundle.preprocessing.patch_zyx, multiple, strict=True))
    sizes: dict[int, Any] | None = None
    # How many slices at a time pass through a 2D network depends on their size, which an ONNX graph cannot express.
    if slices_of(network) is None:
        sizes = {2 + axis: unit * torch.export.Dim(name) for axis, (name, unit) in
                 enumerate(zip("zyx", multiple, strict=True))}
    try:
        with torch.no_grad(), _quiet():
            program = torch.onnx.export(network, (torch.zeros(1, 1, *shape),), dynamo=True, opset_version=OPSET,
                                        input_names=[INPUT], output_names=[OUTPUT], verbose=False,
                                        dynamic_shapes=None if sizes is None else (sizes,))
    except (torch.onnx.errors.OnnxExporterError, RuntimeError) as error:
        first = one_line(str(error).strip().partition("\n")[0])
        raise UserError(code=Code.MODEL_UNFIT, subject=bundle.name, found=first,
                        expected=f"a network '{bundle.network_name}' that PyTorch can export") from error
    assert program is not None
    described = {key: json.dumps(value) if not isinstance(value, str) else value
                 for key, value in _metadata(bundle, organs, multiple, shape, sizes is not None).items()}
    program.model.metadata_props.update(described)
    program.save(file, external_data=False)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporter says of its own insides and of packages that it does not need."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _metadata(bundle: Bundle, organs: tuple[str, ...], multiple: tuple[int, ...], shape: tuple[int, ...],
              any_size: bool) -> Mapping[str, object]:
    """What somebody who has only the file must know to get labels from it; lists are written as JSON."""
    settings, section = bundle.preprocessing, bundle.metadata.partialorganseg
    facts: dict[str, object] = {
        "name": bundle.name, "version": bundle.metadata.version, "producer": f"PartialOrganSeg {__version__}",
        "description": bundle.metadata.description, "licence_of_the_weights": section.licences.weights,
        "intended_use": "research only, not a medical device",
        "classes": ["background", *bundle.label_space.names], "decides_on": list(organs),
        "axes": AXES, "spacing_zyx_mm": settings.spacing_zyx, "clip_hu": settings.clip_hu,
        "subtract": settings.subtract, "divide": settings.divide, "padding": settings.padding,
        "patch_zyx": shape, "size_multiple_zyx": multiple, "any_size": any_size, "overlap": settings.overlap,
    }
    if section.nnunet is not None:
        facts["nnunet"] = section.nnunet.model_dump(mode="json")
    return facts
