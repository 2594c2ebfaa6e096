"""Models for the tests: small ones of random weights, quick to train and to install, and the embedded one with windows
of a tenth of its volume."""

from __future__ import annotations

import dataclasses
import shutil

LICENCES = {"code": "Apache-2.0", "weights": "CC0-1.0", "data": "CC BY 4.0 <clinic>"}


def write_model(folder, name="small", organs=("liver", "spleen", "left_kidney"), metrics=None):
    """A bundle in `folder` (made), as a training run leaves it."""
    from PartialOrganSegLib.models.bundle import Preprocessing
    from PartialOrganSegLib.models.bundle_writing import write_bundle
    from PartialOrganSegLib.networks import build_network
    from PartialOrganSegLib.organs import label_space_of_names

    space, network = label_space_of_names("own", organs), {"channels": [4, 4]}
    write_bundle(folder, build_network("light_unet", 1, space.class_count, **network), "light_unet", network, space,
                 Preprocessing((10.0, 10.0, 10.0), (-300.0, 500.0), 60.0, 150.0, (8, 16, 16)), name, "1.0", LICENCES,
                 ["a data set"], metrics or {}, "Blocks.")
    return folder


def write_embedded_model(folder, name, patch_zyx=(32, 64, 64)):
    """The embedded model in `folder` (made) under another `name`, windows and patches of `patch_zyx` voxels.

    Weights, spacing and intensities are those that ship, so that a run is the real one in a fraction of the time."""
    from PartialOrganSegLib.models.bundle import load_bundle
    from PartialOrganSegLib.models.bundle_writing import write_bundle

    embedded = load_bundle("embedded").learner
    preprocessing = dataclasses.replace(embedded.preprocessing, patch_zyx=patch_zyx)
    write_bundle(folder, embedded.load_network(), embedded.network_name, embedded.network_arguments,
                 embedded.label_space, preprocessing, name, "1.0", LICENCES, [], {}, "The embedded model.",
                 precision=embedded.precision)
    return folder


def zip_model(folder, **facts):
    """A model's zip file beside `folder`."""
    return shutil.make_archive(str(folder), "zip", write_model(folder, **facts))
