"""Small models for the tests: random weights, quick to train and to install."""

from __future__ import annotations

import shutil

LICENCES = {"code": "Apache-2.0", "weights": "CC0-1.0", "data": "CC BY 4.0 <clinic>"}


def write_model(folder, name="small", organs=("liver", "spleen", "left_kidney"), metrics=None):
    """A bundle in `folder` (made), as a training run leaves it."""
    from PartialOrganSegLib.models.bundle import Preprocessing, write_bundle
    from PartialOrganSegLib.networks import build_network
    from PartialOrganSegLib.organs import label_space_of_names

    space, network = label_space_of_names("own", organs), {"channels": [4, 4]}
    write_bundle(folder, build_network("light_unet", 1, space.class_count, **network), "light_unet", network, space,
                 Preprocessing((10.0, 10.0, 10.0), (-300.0, 500.0), 60.0, 150.0, (8, 16, 16)), name, "1.0", LICENCES,
                 ["a data set"], metrics or {}, "Blocks.")
    return folder


def zip_model(folder, **facts):
    """A model's zip file beside `folder`."""
    return shutil.make_archive(str(folder), "zip", write_model(folder, **facts))
