"""Real CTs segmented by the start model and by the new one: what changed of organs that no mask says anything of."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from pydantic import TypeAdapter, ValidationError

from ..atomic import whole_file
from ..datasets.case_names import case_name
from ..errors import Code, Problem, UserError
from ..evaluation.metrics import joint_counts
from ..events import Reporter
from ..formats.reading import read_ct, read_labelmap
from ..formats.writing import write_labelmap
from ..imaging.volume import Volume
from ..json_file import read_json
from ..models.bundle import Bundle
from ..organs import LabelSpace
from ..segmenting.predictor import Predictor
from ..training.memory import is_out_of_memory
from .drift import CaseLook, OrganLook

# In the files' names: of which model they are.
START_KIND, NEW_KIND = "start", "new"
_ENTROPY = TypeAdapter(dict[str, float])


def run_labels(start: LabelSpace, space: LabelSpace) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    """(classes of `start`,) the label in `space` of each of the start model's classes; background where it has none."""
    label_of = np.zeros(start.class_count, np.uint8)
    for organ in space.organs:
        if organ.name in start.names:
            label_of[start.index(organ.name)] = organ.index
    return label_of


class StoredLabels:
    """What a model finds in CTs, kept as files in a folder of the run: a CT is segmented once, also where the run is
    resumed. Without a folder nothing is kept."""

    def __init__(self, folder: Path | None, model: Bundle, space: LabelSpace, kind: str, device: torch.device) -> None:
        """`kind`: a word in the files' names. The labels are those of the run's label space `space`."""
        self._folder, self._model, self._space = folder, model, space
        self._kind, self._device = kind, device
        self._label_of = run_labels(model.label_space, space)
        # Only made where a case is segmented: it takes the device's memory.
        self._predictor: Predictor | None = None

    def exist(self, image_sha256: str) -> bool:
        """Whether the CT of this checksum was segmented."""
        return self._folder is not None and self._entropy_file(self._folder, image_sha256).exists()

    def labels(self, image: Path, image_sha256: str) -> tuple[Volume, dict[str, float]]:
        """The labels on the CT's own grid and the mean entropy of each organ. Raises UserError, RuntimeError and
        MemoryError where the CT does not fit into memory."""
        if self._folder is None:
            return self._predicted(image)
        file = self._folder / f"{image_sha256[:16]}.{self._kind}.nii.gz"
        entropy_file = self._entropy_file(self._folder, image_sha256)
        if not entropy_file.exists():
            labels, entropy = self._predicted(image)
            self._folder.mkdir(parents=True, exist_ok=True)
            write_labelmap(file, labels)
            # Last: with it the labels count as complete.
            with whole_file(entropy_file) as temporary:
                temporary.write_text(json.dumps(entropy), encoding="utf-8")
            return labels, entropy
        try:
            entropy = _ENTROPY.validate_python(read_json(entropy_file, "entropy of organs"))
        except ValidationError as error:
            raise UserError(code=Code.WRONG_FORMAT, subject=entropy_file, expected="entropy of organs",
                            found=" ".join(str(error).split())[:200]) from None
        return read_labelmap(file), entropy

    def _predicted(self, image: Path) -> tuple[Volume, dict[str, float]]:
        if self._predictor is None:
            self._predictor = Predictor(self._model, device=str(self._device))
        prediction = self._predictor.predict(read_ct(image, force=True))
        return Volume(self._label_of[prediction.labels.array], prediction.labels.grid), dict(prediction.entropy)

    def _entropy_file(self, folder: Path, image_sha256: str) -> Path:
        return folder / f"{image_sha256[:16]}.{self._kind}.json"


def compare_looks(images: Mapping[Path, str], start: StoredLabels, new: StoredLabels, space: LabelSpace,
                  reporter: Reporter, seconds: float = math.inf) -> list[CaseLook]:
    """What both models find in the CTs. `images`: file to checksum. One that does not fit into memory is reported and
    ends it; after the first, so does the time, of which there are so many `seconds`."""
    looks: list[CaseLook] = []
    clock = time.monotonic()
    try:
        for number, (image, checksum) in enumerate(images.items()):
            # The next one will take as long as those before it.
            spent = time.monotonic() - clock
            if looks and spent + spent / len(looks) > seconds:
                break
            before, entropy_before = start.labels(image, checksum)
            after, entropy_after = new.labels(image, checksum)
            counts = joint_counts(after.array, before.array, (space.class_count, space.class_count))
            organs = organ_looks(counts, space, before.grid.voxel_ml, entropy_before, entropy_after)
            looks.append(CaseLook(case=case_name(image), organs=organs))
            reporter.progress("comparing with the start model", number + 1, len(images))
    except (UserError, RuntimeError, MemoryError) as error:
        if not isinstance(error, UserError) and not is_out_of_memory(error):
            raise
        reporter.warning(Problem(Code.CASE_SKIPPED, found=f"both models could not be compared: {error}"))
    return looks


def organ_looks(counts: np.ndarray[tuple[int, int], np.dtype[np.int64]], space: LabelSpace, voxel_ml: float,
                 entropy_before: Mapping[str, float], entropy_after: Mapping[str, float]) -> list[OrganLook]:
    """Of the organs that one of both finds. `counts`: voxels by the start model's label and the new model's."""
    looks = []
    names: Sequence[str] = space.names
    for label, name in enumerate(names, 1):
        before, after = int(counts[label].sum()), int(counts[:, label].sum())
        if before + after:
            looks.append(OrganLook(
                organ=name, before_ml=before * voxel_ml, after_ml=after * voxel_ml,
                agreement=2 * int(counts[label, label]) / (before + after), entropy_before=entropy_before.get(name),
                entropy_after=entropy_after.get(name)))
    return looks
