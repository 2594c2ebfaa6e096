"""Set up and segment in one command: `python3 scripts/demo.py [CT]`.

CT is a NIfTI, NRRD or MetaImage file or a DICOM folder; without one, a synthetic CT is made. Further options go to
`partialorganseg segment`, e.g. `--organs liver,spleen`.
"""

import argparse
from pathlib import Path

from _environment import ROOT, call, ready_environment, run_script

SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")


def result_folder(ct):
    """The folder beside a CT that takes its results: `scan.nii.gz` gives `scan_segmentation`."""
    name = next((ct.name[:-len(suffix)] for suffix in SUFFIXES if ct.name.lower().endswith(suffix)), ct.name)
    return ct.with_name(f"{name}_segmentation")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ct", nargs="?", type=Path, metavar="CT", help="the CT to segment; none: a synthetic one")
    parser.add_argument("-o", "--output", type=Path, help="folder for the results (default: beside the CT)")
    arguments, segment_options = parser.parse_known_args()
    command = [str(ready_environment()), "-m", "PartialOrganSegLib"]
    ct = arguments.ct and arguments.ct.resolve()
    if ct is None:
        phantom = ROOT / "output" / "demo"
        ct = phantom / "images" / "phantom_0.nii.gz"
        code = call([*command, "phantom", "-o", str(phantom), "--seed", "0", "--overwrite"])
        if code:
            return code
    output = arguments.output.resolve() if arguments.output else result_folder(ct)
    return call([*command, "segment", str(ct), "-o", str(output), "--overwrite", *segment_options])


if __name__ == "__main__":
    run_script(main)
