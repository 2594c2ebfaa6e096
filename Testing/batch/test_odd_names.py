"""Names of CTs and folders in bytes that are no UTF-8, as old archives and other systems leave them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from Testing.helpers.batch_data import hidden
from Testing.helpers.moody_network import moody_bundle, write_moody_ct
from Testing.helpers.repository import ROOT


@pytest.mark.skipif(os.name == "nt", reason="Windows' names are UTF-16")
def test_names_that_are_no_utf8_work(tmp_path):
    """Of files and of folders. In a process of its own, since ITK would end the whole process, and with it the run."""
    folder = os.fsdecode(os.fsencode(tmp_path) + b"/B\xfcro")
    try:
        os.mkdir(folder)
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    model = moody_bundle(tmp_path / "moody").folder
    plain = write_moody_ct(tmp_path / "z.nii.gz")
    odd = Path(folder, os.fsdecode(b"M\xfcller.nii.gz"))
    shutil.copyfile(plain, odd)
    out = Path(folder, "out")
    words = [sys.executable, "-m", "PartialOrganSegLib", "segment", plain, odd, "-o", out, "--model", model,
             "--device", "cpu"]
    ended = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, errors="replace", check=False)
    assert ended.returncode == 0, ended.stderr
    labels = [out / f"{name}.labels.nii.gz" for name in ("z", os.fsdecode(b"M\xfcller"))]
    assert labels[0].read_bytes() == labels[1].read_bytes()
    assert not hidden(out)
