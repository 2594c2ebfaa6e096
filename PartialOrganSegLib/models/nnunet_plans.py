"""What nnU-Net v2's plans say of a model, as our settings: network, preprocessing, prediction, labels.

Whatever would make the imported model segment differently and is not known here is refused, never ignored.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ..errors import Code, UserError, brief
from .bundle import Preprocessing
from .metadata import NNUNetEntry, Orientation
from .nnunet_folder import Results

ORIENTATIONS: dict[str, Orientation] = {"SimpleITKIO": "stored", "NibabelIO": "stored", "NibabelIOWithReorient": "RAS",
                "SimpleITKIOWithReorient": "RAS"}
# nnU-Net's networks, and what each calls the number of convolutions or blocks of a stage.
NETWORKS = {"PlainConvUNet": "n_conv_per_stage", "ResidualEncoderUNet": "n_blocks_per_stage"}
RESAMPLING = "resample_data_or_seg_to_shape"
# Other schemes than CTNormalization do not clip.
ANY_HU = (-32768.0, 32767.0)
# Settings of the architecture that our networks are built with, whether the plans name them or not.
BUILT_IN: dict[str, tuple[Any, ...]] = {
    "dropout_op": (None,), "norm_op_kwargs": ({"eps": 1e-5, "affine": True},), "nonlin_first": (False, None),
    "nonlin_kwargs": ({"inplace": True}, {"inplace": True, "negative_slope": 0.01}, {"negative_slope": 0.01}),
    "pool": ("conv",), "pool_type": ("conv",), "stem_channels": (None,), "bottleneck_channels": (None,),
    "squeeze_excitation": (False,), "stochastic_depth_p": (0.0,), "disable_default_stem": (False,),
    "deep_supervision": (False, True, None)}
TAKEN = {"n_stages", "features_per_stage", "conv_op", "kernel_sizes", "strides", "n_conv_per_stage",
         "n_blocks_per_stage", "n_conv_per_stage_decoder", "conv_bias", "norm_op", "nonlin", "dropout_op_kwargs"}


@dataclass(frozen=True)
class Planned:
    """`arguments` of our network "nnunet_v2" but for its classes, and how a CT goes in and labels come out."""

    arguments: dict[str, Any]
    preprocessing: Preprocessing
    nnunet: NNUNetEntry


def planned(results: Results, orientation: Orientation | None = None) -> Planned:
    """The settings of a results folder; `orientation` overrides what the file reader of the plans says.

    Raises UserError, naming the setting, for plans that we cannot follow exactly.
    """
    source = results.folder / "plans.json"
    try:
        plans, settings = results.plans, _configuration(results.plans, results.configuration, source)
        return _planned(results, plans, settings, source, orientation)
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise UserError(code=Code.MODEL_UNSUPPORTED, subject=source,
                        expected="the plans of nnU-Net version 2", found=f"none or another kind of {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(code=Code.MODEL_UNSUPPORTED, subject=f"{source}: {'.'.join(map(str, first['loc']))}",
                        found=f"{first['msg']}, found {brief(first['input'])}") from None


def model_labels(results: Results) -> dict[str, int]:
    """The model's labels, name to value 1..n, without background and the ignore label.

    Raises UserError for regions (labels that overlap) and for values that are not consecutive.
    """
    source = results.folder / "dataset.json"
    labels = results.dataset.get("labels")
    if not isinstance(labels, dict) or not labels:
        raise UserError(code=Code.MODEL_UNSUPPORTED, subject=f"{source}: labels", expected="names and values",
                        found=brief(labels))
    if "regions_class_order" in results.dataset or any(isinstance(value, list) for value in labels.values()):
        raise UserError(code=Code.MODEL_UNSUPPORTED, subject=f"{source}: labels", expected="one value for each label",
                        found="regions (labels that overlap)", hint="models trained on regions are not supported")
    try:
        values = {str(name): int(value) for name, value in labels.items() if str(name) != "ignore"}
    except (TypeError, ValueError):
        raise UserError(code=Code.MODEL_UNSUPPORTED, subject=f"{source}: labels", expected="whole numbers",
                        found=list(labels.values())) from None
    organs = {name: value for name, value in values.items() if value != 0}
    if sorted(organs.values()) != list(range(1, len(organs) + 1)):
        raise UserError(code=Code.MODEL_UNSUPPORTED, subject=f"{source}: labels", expected="values 1..n",
                        found=sorted(organs.values()))
    return organs


def _configuration(plans: dict[str, Any], name: str, source: Path, heirs: tuple[str, ...] = ()) -> dict[str, Any]:
    """A configuration with what it inherits."""
    configurations = plans["configurations"]
    if name not in configurations or name in heirs:  # a configuration that inherits from itself has no end
        raise UserError(code=Code.UNKNOWN_NAME, subject=source, expected=f"configuration '{name}'",
                        found=", ".join(configurations))
    settings = dict(configurations[name])
    parent = settings.pop("inherits_from", None)
    if parent is not None:
        settings = _configuration(plans, parent, source, (*heirs, name)) | settings
    return settings


def _planned(results: Results, plans: dict[str, Any], settings: dict[str, Any], source: Path,
             orientation: Orientation | None) -> Planned:
    _expect(source, "previous_stage", settings.get("previous_stage"), (None,), "cascades are not supported")
    _expect(source, "preprocessor_name", settings["preprocessor_name"], ("DefaultPreprocessor",))
    _expect(source, "image_reader_writer", plans["image_reader_writer"], tuple(ORIENTATIONS))
    channels = results.dataset.get("channel_names", results.dataset.get("modality", {}))
    _expect(source.with_name("dataset.json"), "channel_names", len(channels), (1,), "a CT is one channel")
    data, scores = (settings.get(f"resampling_fn_{of}_kwargs", {}) for of in ("data", "probabilities"))
    for of in ("data", "probabilities"):
        _expect(source, f"resampling_fn_{of}", settings[f"resampling_fn_{of}"], (RESAMPLING,))
    # The function's own defaults, where the plans leave them out.
    separate = data.get("force_separate_z", False)
    _expect(source, "resampling_fn_probabilities_kwargs.order", scores.get("order", 3), (1,))
    _expect(source, "resampling_fn_probabilities_kwargs.order_z", scores.get("order_z", 0), (0,))
    _expect(source, "resampling_fn_probabilities_kwargs.force_separate_z", scores.get("force_separate_z", False),
            (separate,))

    transpose, spacing, patch = plans["transpose_forward"], settings["spacing"], settings["patch_size"]
    scheme = settings["normalization_schemes"][0]
    nnunet = NNUNetEntry(
        orientation=orientation or ORIENTATIONS[plans["image_reader_writer"]], transpose=transpose, spacing=spacing,
        patch=patch, normalisation=scheme, masked_normalisation=bool(settings["use_mask_for_norm"][0]),
        order=data.get("order", 3), order_z=data.get("order_z", 0), separate_z=separate,
        mirror_axes=results.mirror_axes)
    spacing_3d, patch_3d = list(spacing), list(patch)
    if len(patch) == 2:  # slices: for training, as many of them as nnU-Net took for a step, at their usual distance
        spacing_3d.insert(0, plans["original_median_spacing_after_transp"][0])
        patch_3d.insert(0, settings["batch_size"])
    clip, subtract, divide = ANY_HU, 0.0, 1.0
    if scheme == "CTNormalization":
        key = "foreground_intensity_properties_"
        channels = plans.get(f"{key}per_channel") or plans[f"{key}by_modality"]  # the latter up to version 2.0
        foreground = channels["0"]
        clip = float(foreground["percentile_00_5"]), float(foreground["percentile_99_5"])
        subtract, divide = float(foreground["mean"]), max(float(foreground["std"]), 1e-8)
    flips = (False, True, True) if nnunet.orientation == "RAS" else (False, False, False)
    arguments = _architecture(settings, len(patch), source) | {"transpose": list(transpose), "flips": list(flips)}
    return Planned(arguments, Preprocessing(_patient_order(spacing_3d, transpose), clip, subtract, divide,
                                            _patient_order(patch_3d, transpose)), nnunet)


def _patient_order(values: list[Any], transpose: list[int]) -> tuple[Any, Any, Any]:
    """z, y, x of numbers listed along nnU-Net's axes."""
    z, y, x = (values[transpose.index(axis)] for axis in range(3))
    return z, y, x


def _architecture(settings: dict[str, Any], axes: int, source: Path) -> dict[str, Any]:
    """Arguments of our network."""
    if "architecture" in settings:
        name = settings["architecture"]["network_class_name"].rpartition(".")[2]
        planned_net = settings["architecture"]["arch_kwargs"]
    else:  # plans of version 2.0 to 2.3
        name, stages = settings["UNet_class_name"], len(settings["n_conv_per_stage_encoder"])
        first, limit = settings["UNet_base_num_features"], settings["unet_max_num_features"]
        features = [min(first * 2**level, limit) for level in range(stages)]
        planned_net = {
            "n_stages": stages, "features_per_stage": features, "kernel_sizes": settings["conv_kernel_sizes"],
            "strides": settings["pool_op_kernel_sizes"], NETWORKS.get(name, ""): settings["n_conv_per_stage_encoder"],
            "n_conv_per_stage_decoder": settings["n_conv_per_stage_decoder"], "conv_bias": True}
    _expect(source, "network", name, tuple(NETWORKS))
    for key, ends in (("conv_op", f"Conv{axes}d"), ("norm_op", f"InstanceNorm{axes}d"), ("nonlin", "LeakyReLU")):
        _expect(source, f"architecture.{key}", str(planned_net.get(key, ends)).rpartition(".")[2], (ends,))
    for key, value in planned_net.items():
        if key not in TAKEN:
            _expect(source, f"architecture.{key}", value, BUILT_IN.get(key, ()))
    stages = planned_net["n_stages"]

    # A number counts for every stage, and for every axis.
    def each_stage(value: Any, count: int) -> list[Any]:
        return [value] * count if isinstance(value, int) else list(value)

    def sizes(value: Any) -> list[list[int]]:
        return [each_stage(size, axes) for size in each_stage(value, stages)]

    return {"features": each_stage(planned_net["features_per_stage"], stages),
            "kernels": sizes(planned_net["kernel_sizes"]), "strides": sizes(planned_net["strides"]),
            "encoder": each_stage(planned_net[NETWORKS[name]], stages),
            "decoder": each_stage(planned_net["n_conv_per_stage_decoder"], stages - 1),
            "bias": bool(planned_net["conv_bias"]), "residual": name == "ResidualEncoderUNet"}


def _expect(source: Path, setting: str, value: object, supported: tuple[object, ...], why: str = "") -> None:
    """Raises UserError for a value of a setting that is not among those `supported`."""
    if value not in supported:
        options = " or ".join(map(str, supported)) or "a setting known here"
        raise UserError(code=Code.MODEL_UNSUPPORTED, subject=f"{source}: {setting}", expected=options,
                        found=brief(value), hint=why)
