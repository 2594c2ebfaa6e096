"""A model of ours as a results folder of nnU-Net v2, for its own predictor to use."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from PartialOrganSegLib.models.bundle import Bundle

from .nnunet_folder import plans_of


def write_nnunet_folder(bundle: Bundle, folder: Path) -> list[str]:
    """Writes plans, data set and checkpoint of a plain network; the names of its classes from 0 on.

    Classes that the bundle counts as another (`more`) come last, as classes of their own. The network sees the axes as
    they are stored in the file: a CT must be listed as `bundle` turns it, see `flips`.
    """
    arguments, settings = bundle.network_arguments, bundle.preprocessing
    more = [f"more_{number}" for number in range(len(arguments.get("more", [])))]
    names = ["background", *bundle.label_space.names, *more]
    plans = plans_of(spacing=settings.spacing_zyx, patch=settings.patch_zyx)
    plans["foreground_intensity_properties_per_channel"] = {"0": {
        "mean": settings.subtract, "std": settings.divide, "percentile_00_5": settings.clip_hu[0],
        "percentile_99_5": settings.clip_hu[1], "min": -1024.0, "max": 3071.0, "median": settings.subtract}}
    configuration = plans["configurations"]["3d_fullres"]
    # nnU-Net resamples a mask of where the image is not zero, too.
    configuration |= {"resampling_fn_seg": "resample_data_or_seg_to_shape",
                      "resampling_fn_seg_kwargs": {"is_seg": True, "order": 1, "order_z": 0, "force_separate_z": None}}
    architecture = configuration["architecture"]["arch_kwargs"]
    architecture |= {"n_stages": len(arguments["features"]), "features_per_stage": arguments["features"],
                     "kernel_sizes": arguments["kernels"], "strides": arguments["strides"],
                     "n_conv_per_stage": arguments["encoder"], "n_conv_per_stage_decoder": arguments["decoder"]}
    (folder / "fold_all").mkdir(parents=True)
    (folder / "plans.json").write_text(json.dumps(plans))
    (folder / "dataset.json").write_text(json.dumps({
        "channel_names": {"0": "CT"}, "labels": {name: number for number, name in enumerate(names)}, "numTraining": 1,
        "file_ending": ".nii.gz"}))
    torch.save({"network_weights": _weights(bundle, len(names)), "trainer_name": "nnUNetTrainer",
                "init_args": {"configuration": "3d_fullres"}, "inference_allowed_mirroring_axes": None},
               folder / "fold_all" / "checkpoint_final.pth")
    return names


def _weights(bundle: Bundle, classes: int) -> dict[str, torch.Tensor]:
    """The weights under all names that nnU-Net's own network gives them."""
    weights: dict[str, torch.Tensor] = {}
    state = {name.removeprefix("own_axes."): value for name, value in bundle.load_network().state_dict().items()}
    for name, value in state.items():
        if ".more_layers." in name:
            continue
        if ".seg_layers." in name:
            extra = state.get(name.replace("seg_layers", "more_layers"))
            weights[name] = value if extra is None else torch.cat([value, extra])
            continue
        weights[name] = value
        for part, number in (("conv", 0), ("norm", 1)):
            # nnU-Net's blocks hold each layer a second time in a list.
            stem, found, parameter = name.rpartition(f".{part}.")
            if found:
                weights[f"{stem}.all_modules.{number}.{parameter}"] = value
    # Of the coarsest stage, whose prediction serves training alone.
    features = bundle.network_arguments["features"]
    weights["decoder.seg_layers.0.weight"] = torch.zeros(classes, features[-2], 1, 1, 1)
    weights["decoder.seg_layers.0.bias"] = torch.zeros(classes)
    return weights | {f"decoder.{name}": value for name, value in weights.items() if name.startswith("encoder.")}
