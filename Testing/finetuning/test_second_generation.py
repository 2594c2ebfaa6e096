"""A model that was fine-tuned goes on learning: what it has learnt from is no measure of patients not seen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from PartialOrganSegLib.finetuning.cases import files_sha256
from PartialOrganSegLib.finetuning.lineage import images_learnt_by
from PartialOrganSegLib.finetuning.options import FinetuneOptions
from PartialOrganSegLib.finetuning.run import Result, finetune
from PartialOrganSegLib.models.bundle import Bundle
from PartialOrganSegLib.models.joined import join_bundles
from Testing.helpers.finetune_data import QUICK, RunListener, ct_of, only, write_cases, write_start

SAID = "it is measured on, and the start model was fine-tuned on it before"


def tune(start: Bundle, data: Path, run: Path, *validate: str, beside: bool = False) -> tuple[Result, list[str]]:
    """The result, and the warnings that a case was learnt before."""
    listener = RunListener()
    options = FinetuneOptions(steps=2, replay="none", overrides=list(QUICK), validate=list(validate), beside=beside)
    result = finetune(start.folder, data, run, "cpu", options, None, listener)
    return result, [text for text in listener.warnings if SAID in text]


@pytest.fixture(scope="module")
def spleens(tmp_path_factory) -> Path:
    return write_cases(tmp_path_factory.mktemp("Fälle"), [only(ct_of(seed)[1], 2) for seed in range(4)])


@pytest.mark.parametrize("beside", [False, True])
def test_cases_that_the_start_model_has_not_seen_are_measured_on(spleens: Path, tmp_path: Path, beside: bool) -> None:
    start = write_start(tmp_path / "start")
    by_itself, warnings = tune(start, spleens, tmp_path / "by itself")
    assert not warnings
    [measured] = set(range(4)) - _numbers(by_itself.bundle, spleens)
    another = (measured + 1) % 4
    first, _ = tune(start, spleens, tmp_path / "first", f"case{another}", beside=beside)
    assert _numbers(first.bundle, spleens) == set(range(4)) - {another}
    second, warnings = tune(first.bundle, spleens, tmp_path / "second")
    assert not warnings
    assert _numbers(second.bundle, spleens) == set(range(4)) - {another}
    third, warnings = tune(second.bundle, spleens, tmp_path / "third", f"case{measured}")
    assert len(warnings) == 1
    assert warnings[0].startswith(f"case{measured}: ")
    # What the generations before have learnt from stays known, also where the model is joined with another one.
    assert _numbers(third.bundle, spleens) == set(range(4))
    other = write_start(tmp_path / "other", ("pancreas",))
    joined = join_bundles(tmp_path / "joined", [third.bundle, replace(other, name="other")], "joined")
    assert images_learnt_by(joined) == images_learnt_by(third.bundle)


def _numbers(bundle: Bundle, data: Path) -> set[int]:
    """The cases that a model knows to have learnt from."""
    images = {files_sha256([data.parent / f"{number}_image.nii.gz"]): number for number in range(4)}
    return {images[checksum] for checksum in images_learnt_by(bundle)}
