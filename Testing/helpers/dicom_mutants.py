"""Mutants of DICOM files: damaged bytes, and whole files whose elements say something else."""

from __future__ import annotations

import copy
import io
from collections.abc import Iterator

import numpy as np
from pydicom import dcmread
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

from Testing.helpers.faults import mutate_bytes

_HEADER = 3000  # bytes before the pixels of a small slice, about
_PIXELS = 0x7FE00010
_VALUES = (b"", b"0 ", b"-1", b"nan ", b"inf ", b"1e300 ", b"99999999999 ", b"1\\2 ", b"\0\1", b"A" * 70, b"1,5 ",
           b"\x1b[31m ", b"../a", b"1.2.3.4 ", b"0\\0\\0 ", b"1\\0\\0\\0\\1\\0 ", b"\xff\xff\xff\xff", b"3 ", b"65535 ")
_REPRESENTATIONS = ("LO", "DS", "IS", "US", "FD", "UI", "OB", "UN")


def mutate_dicom(raw: bytes, rng: np.random.Generator) -> bytes:
    """In a third of the mutants bytes, mostly of the header; in the others an element or two, at any depth."""
    if rng.random() < 0.33:
        return mutate_bytes(raw, rng, None if rng.random() < 0.4 else _HEADER)
    dataset = dcmread(io.BytesIO(raw))
    for _ in range(int(rng.integers(1, 3))):
        places = [(part, tag) for part in _parts(dataset) for tag in part.keys()]  # noqa: SIM118 - not a mapping
        part, tag = places[int(rng.integers(0, len(places)))]
        if tag != _PIXELS:
            _change(part, tag, rng)
    stream = io.BytesIO()
    try:
        dataset.save_as(stream)
    except Exception:  # a change that pydicom itself does not write, each for a reason of its own
        return mutate_bytes(raw, rng, _HEADER)
    return stream.getvalue()


def _parts(dataset: Dataset) -> Iterator[Dataset]:
    """The data set and the items of its sequences, of theirs and so on."""
    yield dataset
    for tag in dataset.keys():  # noqa: SIM118
        if dataset.get_item(tag).VR == "SQ":
            for item in dataset[tag].value:
                yield from _parts(item)


def _change(part: Dataset, tag: BaseTag, rng: np.random.Generator) -> None:
    element = part.get_item(tag)
    representation = str(element.VR)
    if representation == "SQ":
        items = part[tag].value
        kind = int(rng.integers(0, 4)) if items else 3
        if kind == 0:
            del items[int(rng.integers(0, len(items)))]
        elif kind == 1:
            items.append(copy.deepcopy(items[int(rng.integers(0, len(items)))]))
        elif kind == 2:
            items.insert(0, items.pop())
        else:
            del part[tag]
        return
    if rng.random() < 0.25:
        del part[tag]
        return
    value = _VALUES[int(rng.integers(0, len(_VALUES)))]
    if rng.random() < 0.2:
        representation = _REPRESENTATIONS[int(rng.integers(0, len(_REPRESENTATIONS)))]
    part._dict[tag] = RawDataElement(tag, representation, len(value), value, 0, False, True)
