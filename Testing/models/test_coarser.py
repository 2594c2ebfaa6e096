"""`--fast`: every network sees the CT no finer than 3 x 2 x 2 mm; labels lie on the CT's own grid all the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from PartialOrganSegLib.cli import main
from PartialOrganSegLib.errors import UserError
from PartialOrganSegLib.models.bundle import load_bundle
from PartialOrganSegLib.models.coarser import FAST_SPACING, coarser
from PartialOrganSegLib.models.nnunet_import import import_nnunet
from PartialOrganSegLib.segmenting.options import SegmentOptions
from PartialOrganSegLib.segmenting.segmenter import Segmenter
from PartialOrganSegLib.synthesis.phantom import make_phantom
from Testing.helpers.nnunet_folder import plans_of, write_results


def test_only_finer_networks_change_and_nothing_but_their_spacing() -> None:
    model = load_bundle("embedded")
    fast = coarser(model)
    for before, after in zip(model.members, fast.members, strict=True):
        assert after.organs == before.organs
        assert after.bundle.preprocessing.spacing_zyx == tuple(
            np.maximum(before.bundle.preprocessing.spacing_zyx, FAST_SPACING))
        assert after.bundle.preprocessing.patch_zyx == before.bundle.preprocessing.patch_zyx
    assert coarser(fast) == fast


def test_options_choose_it_and_records_tell_it() -> None:
    fast = Segmenter(SegmentOptions(fast=True, device="cpu"))
    assert fast.bundle == coarser(load_bundle("embedded"))
    space = fast.bundle.label_space
    assert fast.options.deciding_settings(space)["fast"] is True
    # Records of runs from before it existed stay good.
    assert "fast" not in SegmentOptions().deciding_settings(space)


def test_a_ct_is_labelled_on_its_own_grid() -> None:
    ct, truth = make_phantom(shape_zyx=(40, 48, 60), spacing_zyx=(5, 6, 6), seed=3)
    result = Segmenter(SegmentOptions(fast=True, device="cpu"))(ct)
    assert result.labels.grid == ct.grid
    # So coarse a phantom shows the network a small liver; what it calls so lies where the liver is.
    called_liver = truth.array[result.array == 1]
    assert len(called_liver) > 100
    assert np.mean(called_liver == 1) > 0.8


@pytest.mark.usefixtures("models")
def test_a_model_imported_from_nnunet_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_results(tmp_path / "results", plans_of())
    bundle = import_nnunet(tmp_path / "results")
    with pytest.raises(UserError, match=r"fast: expected off for .*, a model imported from nnU-Net, found on"):
        coarser(bundle)
    command = ["segment", "ct.nii.gz", "-o", str(tmp_path / "out"), "--model", bundle.name, "--fast"]
    assert main(command) == 1
    assert "imported from nnU-Net" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
