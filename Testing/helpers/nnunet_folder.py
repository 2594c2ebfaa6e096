"""Miniature nnU-Net v2 results folders in its exact form, and its network stated a second time, as plain functions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import yaml

FOREGROUND = {"mean": 40.0, "std": 120.0, "percentile_00_5": -300.0, "percentile_99_5": 400.0}
LABELS = {"background": 0, "liver": 1, "kidney_left": 2, "lung": 3, "kidney_right": 4}


def plans_of(axes: int = 3, residual: bool = False, transpose: Sequence[int] = (0, 1, 2), reader: str = "SimpleITKIO",
             spacing: Sequence[float] = (4.0, 3.0, 3.0), patch: Sequence[int] = (8, 16, 16), **changes: Any) -> dict:
    """plans.json with one configuration of two stages; `changes` are of the configuration."""
    first = 3 - axes
    name = "2d" if axes == 2 else "3d_fullres"
    blocks = "n_blocks_per_stage" if residual else "n_conv_per_stage"
    network = "residual_unet.ResidualEncoderUNet" if residual else "unet.PlainConvUNet"
    resampling = {"is_seg": False, "order_z": 0, "force_separate_z": None}
    settings = {
        "data_identifier": f"nnUNetPlans_{name}", "preprocessor_name": "DefaultPreprocessor", "batch_size": 4,
        "patch_size": list(patch[first:]), "spacing": list(spacing[first:]),
        "normalization_schemes": ["CTNormalization"], "use_mask_for_norm": [False],
        "resampling_fn_data": "resample_data_or_seg_to_shape", "resampling_fn_data_kwargs": {**resampling, "order": 3},
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities_kwargs": {**resampling, "order": 1},
        "architecture": {
            "network_class_name": f"dynamic_network_architectures.architectures.{network}",
            "arch_kwargs": {
                "n_stages": 3, "features_per_stage": [4, 6, 6], "conv_op": f"torch.nn.modules.conv.Conv{axes}d",
                "kernel_sizes": [[1, 3, 3][first:], [3] * axes, [3] * axes],
                "strides": [[1] * axes, [1, 2, 2][first:], [2] * axes], blocks: [2, 2, 1],
                "n_conv_per_stage_decoder": [1, 2], "conv_bias": True,
                "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{axes}d",
                "norm_op_kwargs": {"eps": 1e-05, "affine": True}, "dropout_op": None, "dropout_op_kwargs": None,
                "nonlin": "torch.nn.LeakyReLU", "nonlin_kwargs": {"inplace": True}},
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"]},
        "batch_dice": True, **changes}
    return {"dataset_name": "Dataset900_blocks", "plans_name": "nnUNetPlans",
            "original_median_spacing_after_transp": list(spacing), "image_reader_writer": reader,
            "transpose_forward": list(transpose), "transpose_backward": [list(transpose).index(a) for a in range(3)],
            "configurations": {name: settings}, "foreground_intensity_properties_per_channel": {"0": FOREGROUND}}


def weights_of(plans: dict, classes: int, seed: int = 0) -> dict[str, torch.Tensor]:
    """Random weights under the names that nnU-Net's networks give their parameters, second names included."""
    settings = next(iter(plans["configurations"].values()))
    arguments = settings["architecture"]["arch_kwargs"]
    residual = "n_blocks_per_stage" in arguments
    features, kernels, strides = arguments["features_per_stage"], arguments["kernel_sizes"], arguments["strides"]
    axes, generator = len(kernels[0]), torch.Generator().manual_seed(seed)
    weights: dict[str, torch.Tensor] = {}

    def random(*shape: int, scale: float = 1.0) -> torch.Tensor:
        return torch.randn(shape, generator=generator) * scale

    def layer(name: str, inputs: int, outputs: int, kernel: Sequence[int], bias: bool = True) -> None:
        parameters = {"conv.weight": random(outputs, inputs, *kernel, scale=0.5),
               "norm.weight": 1 + random(outputs, scale=0.3), "norm.bias": random(outputs, scale=0.3)}
        parameters |= {"conv.bias": random(outputs)} if bias else {}
        for part, value in parameters.items():
            weights[f"{name}.{part}"] = value
            # nnU-Net's blocks hold each layer a second time in a list, and so do its checkpoints.
            weights[f"{name}.all_modules.{'0' if part.startswith('conv') else '1'}.{part.rpartition('.')[2]}"] = value

    inputs = 1
    if residual:
        layer("encoder.stem.convs.0", 1, features[0], kernels[0])
        inputs = features[0]
    for stage, (outputs, kernel, stride) in enumerate(zip(features, kernels, strides, strict=True)):
        for n in range(arguments["n_blocks_per_stage" if residual else "n_conv_per_stage"][stage]):
            start = inputs if n == 0 else outputs
            if not residual:
                layer(f"encoder.stages.{stage}.0.convs.{n}", start, outputs, kernel)
                continue
            block = f"encoder.stages.{stage}.blocks.{n}"
            layer(f"{block}.conv1", start, outputs, kernel)
            layer(f"{block}.conv2", outputs, outputs, kernel)
            # A skip of another width has a convolution of its own, behind the pooling where there is one.
            if start != outputs:
                pooled = int(n == 0 and max(stride) > 1)
                layer(f"{block}.skip.{pooled}", start, outputs, [1] * axes, bias=False)
        inputs = outputs
    for number, level in enumerate(range(len(features) - 2, -1, -1)):
        weights[f"decoder.transpconvs.{number}.weight"] = random(features[level + 1], features[level],
                                                                 *strides[level + 1])
        weights[f"decoder.transpconvs.{number}.bias"] = random(features[level])
        for n in range(arguments["n_conv_per_stage_decoder"][number]):
            layer(f"decoder.stages.{number}.convs.{n}", features[level] * (2 if n == 0 else 1), features[level],
                  kernels[level])
        weights[f"decoder.seg_layers.{number}.weight"] = random(classes, features[level], *[1] * axes)
        weights[f"decoder.seg_layers.{number}.bias"] = random(classes)
    # The decoder keeps its encoder, so that checkpoints have all of it twice.
    return weights | {f"decoder.{name}": value for name, value in weights.items() if name.startswith("encoder.")}


def reference_network(plans: dict, weights: dict[str, torch.Tensor], image: torch.Tensor) -> torch.Tensor:
    """nnU-Net's logits (B, classes, *spatial) of `image` (B, 1, *spatial), from the weights by name."""
    arguments = next(iter(plans["configurations"].values()))["architecture"]["arch_kwargs"]
    residual = "n_blocks_per_stage" in arguments
    convolution, transposed, pool = ((F.conv2d, F.conv_transpose2d, F.avg_pool2d) if image.ndim == 4 else
                                     (F.conv3d, F.conv_transpose3d, F.avg_pool3d))

    def layer(x: torch.Tensor, name: str, stride: Sequence[int] | int = 1, linear: bool = False) -> torch.Tensor:
        kernel = weights[f"{name}.conv.weight"]
        x = convolution(x, kernel, weights.get(f"{name}.conv.bias"), stride, [size // 2 for size in kernel.shape[2:]])
        x = F.instance_norm(x, weight=weights[f"{name}.norm.weight"], bias=weights[f"{name}.norm.bias"])
        return x if linear else F.leaky_relu(x)

    x, skips = image, []
    if residual:
        x = layer(x, "encoder.stem.convs.0")
    for stage, stride in enumerate(arguments["strides"]):
        for n in range(arguments["n_blocks_per_stage" if residual else "n_conv_per_stage"][stage]):
            step = stride if n == 0 else [1] * len(stride)
            if not residual:
                x = layer(x, f"encoder.stages.{stage}.0.convs.{n}", step)
                continue
            block, skip = f"encoder.stages.{stage}.blocks.{n}", x
            x = layer(layer(x, f"{block}.conv1", step), f"{block}.conv2", linear=True)
            if max(step) > 1:
                skip = pool(skip, step, step)
            for place in (0, 1):
                if f"{block}.skip.{place}.conv.weight" in weights:
                    skip = layer(skip, f"{block}.skip.{place}", linear=True)
            x = F.leaky_relu(x + skip)
        skips.append(x)
    for number, skip in enumerate(skips[-2::-1]):
        stride = arguments["strides"][-1 - number]
        enlarge = f"decoder.transpconvs.{number}"
        x = transposed(x, weights[f"{enlarge}.weight"], weights[f"{enlarge}.bias"], stride)
        x = torch.cat([x, skip], 1)
        for n in range(arguments["n_conv_per_stage_decoder"][number]):
            x = layer(x, f"decoder.stages.{number}.convs.{n}")
    last = len(skips) - 2
    return convolution(x, weights[f"decoder.seg_layers.{last}.weight"], weights[f"decoder.seg_layers.{last}.bias"])


def write_results(folder: Path, plans: dict, labels: dict[str, Any] | None = None, fold: str = "0", prefix: str = "",
                  mirror_axes: Sequence[int] | None = (0, 1), seed: int = 0, **extra: Any) -> dict[str, torch.Tensor]:
    """A results folder with one trained fold; gives its weights, others for each `seed`.

    `extra` is added to the checkpoint.
    """
    labels = LABELS if labels is None else labels
    classes = len([name for name in labels if name != "ignore"])
    (folder / f"fold_{fold}").mkdir(parents=True)
    (folder / "plans.json").write_text(json.dumps(plans))
    (folder / "dataset.json").write_text(json.dumps({
        "channel_names": {"0": "CT"}, "labels": labels, "numTraining": 2, "file_ending": ".nii.gz"}))
    weights = weights_of(plans, classes, seed)
    torch.save({
        "network_weights": {prefix + name: value for name, value in weights.items()},
        "optimizer_state": {"state": {}, "param_groups": [{"lr": 0.01}]}, "grad_scaler_state": None,
        "logging": {"ema_fg_dice": [np.float64(0.1), np.float32(0.2)], "epoch_start_timestamps": [1.0]},
        "_best_ema": np.float32(0.2), "current_epoch": 1, "trainer_name": "nnUNetTrainer",
        "init_args": {"plans": plans, "configuration": next(iter(plans["configurations"])), "fold": 0,
                      "dataset_json": {}, "device": torch.device("cpu")},
        "inference_allowed_mirroring_axes": None if mirror_axes is None else tuple(mirror_axes), **extra,
    }, folder / f"fold_{fold}" / "checkpoint_final.pth")
    return weights


def write_map(path: Path, labels: dict[str, str | None], **settings: object) -> Path:
    """A label map for `import_nnunet`: names of the model to organs of word16, None for what is dropped."""
    path.write_text(yaml.safe_dump({"labels": labels, **settings}, sort_keys=False), encoding="utf-8")
    return path
