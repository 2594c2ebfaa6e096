"""Set up and segment in one command: `python3 scripts/demo.py [CT]`.

CT is a NIfTI, NRRD or MetaImage file or a DICOM folder; without one, a synthetic CT is made. Results lie in a folder
beside it. Further options go to `partialorganseg segment`, e.g. `--organs liver,spleen` or `-o results`.
"""

import sys
from pathlib import Path

from _environment import ROOT, SetupError, call, ready_environment, run_script

# Copied from the library, which cannot be imported before its packages are installed.
SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")


def result_folder(ct):
    """The folder beside a CT that takes its results: `scan.nii.gz` gives `scan_segmentation`."""
    name = next((ct.name[:-len(suffix)] for suffix in SUFFIXES if ct.name.lower().endswith(suffix)), ct.name)
    return ct.with_name(f"{name}_segmentation")


def main():
    options = sys.argv[1:]
    if options[:1] in (["-h"], ["--help"]):
        print(__doc__)
        return 0
    ct = None
    if options and not options[0].startswith("-"):
        ct = Path(options.pop(0)).resolve()
    if ct and not ct.exists():  # reported before minutes of set-up
        raise SetupError(f"{ct}: expected a CT file or a DICOM folder, found nothing there")
    # A CT of the user's may have been segmented before, and the labels corrected by hand: those are not replaced.
    overwrite = ["--overwrite"] if ct is None else []
    command = [str(ready_environment()), "-m", "PartialOrganSegLib"]
    if ct is None:
        folder = ROOT / "output" / "demo"
        ct = folder / "images" / "phantom_0.nii.gz"
        code = call([*command, "phantom", "-o", str(folder), "--seed", "0", "--overwrite"])
        if code:
            return code
    return call([*command, "segment", str(ct), "-o", str(result_folder(ct)), *overwrite, *options])


if __name__ == "__main__":
    run_script(main)
