"""Makes a bundle of a model that nnU-Net v2 trained: same network, same preprocessing, labels mapped to organs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import torch

from ..errors import Code, Problem, UserError
from ..events import Reporter
from ..networks import build_network
from ..networks.nnunet_v2 import NNUNetV2
from ..organs import label_space_of_names
from ..resources import resource
from ..scratch import scratch_folder
from .bundle import METADATA, Bundle, write_bundle
from .checksums import sha256
from .ensemble import write_ensemble
from .folders import user_models
from .label_map import Mapped, map_labels, read_label_map
from .metadata import LONGEST_NAME, Orientation
from .nnunet_folder import Results, named_folds, read_results
from .nnunet_plans import model_labels, planned

NETWORK = "nnunet_v2"
UNKNOWN = "not stated in the imported folder; ask who trained the model"
HEADS = "decoder.seg_layers."


def import_nnunet(folder: Path | str, label_map: str | Path | None = None, fold: str | None = None,
                  orientation: Orientation | None = None, name: str | None = None, licence: str | None = None,
                  replace: bool = False, reporter: Reporter | None = None) -> Bundle:
    """Installs the model of an nnU-Net v2 results folder as a bundle and reports what became of its labels.

    `fold`: a number or "all" (the one trained on all cases), or several, "0,1,2", or "each": these become an ensemble,
    averaged as nnU-Net does. `label_map`: a file or a shipped map; without one the model's labels are its organs.
    `orientation` ("stored", "RAS",
    "LPS"): how the voxels of all training files were listed, where the plans do not say. `licence` of the weights.
    Raises UserError for a folder that cannot be read safely or followed exactly, and a name that is taken.
    """
    reporter = reporter or Reporter()
    folds = named_folds(folder, fold)
    if len(folds) > 1:
        return _import_each(folder, folds, label_map, orientation, name, licence, replace, reporter)
    results = read_results(folder, folds[0])
    name = name or _name(results)
    # Before a network is built and filled: a name that is taken costs no work.
    target = free_folder(name, replace)
    return _import_one(target, name, results, label_map, orientation, licence, reporter, bool(results.other_folds))


def _import_each(folder: Path | str, folds: Sequence[str], label_map: str | Path | None,
                 orientation: Orientation | None, name: str | None, licence: str | None, replace: bool,
                 reporter: Reporter) -> Bundle:
    """Installs an ensemble of the folds."""
    bundles = []
    name = name or _name(read_results(folder, folds[0]))
    target = free_folder(name, replace)
    target.parent.mkdir(parents=True, exist_ok=True)
    # Beside the model's folder, as large as it is.
    with scratch_folder(target.parent, ".folds-") as scratch:
        for number, fold in enumerate(folds):
            results = read_results(folder, fold)
            # What is said of the labels is the same of every fold.
            listener = reporter if number == 0 else Reporter()
            bundles.append(_import_one(scratch / fold, f"{name[:LONGEST_NAME - 9]}-fold{fold}", results,
                                       label_map, orientation, licence, listener, False))
        reporter.warning(Problem(Code.SETTING_SLOW, f"model {name}", hint="import one with --fold",
                                 found=f"{len(folds)} folds are averaged, which takes {len(folds)} times as long"))
        first = bundles[0].metadata
        return write_ensemble(target, bundles, name, description=f"{first.description} Folds {', '.join(folds)}.")


def _import_one(target: Path, name: str, results: Results, label_map: str | Path | None,
                orientation: Orientation | None, licence: str | None, reporter: Reporter,
                other_folds: bool) -> Bundle:
    """Writes the bundle of one fold; `other_folds`: whether to say that there are more."""
    plan, mapped = planned(results, orientation), _mapped(results, label_map)
    notes = [*mapped.notes, *_warnings(results, plan.nnunet.orientation, orientation, other_folds)]
    merged, order = _order(mapped.targets, mapped.label_space.class_count)
    arguments = dict(plan.arguments)
    if merged:
        arguments["more"] = merged
    network = build_network(NETWORK, 1, mapped.label_space.class_count, **arguments)
    assert isinstance(network, NNUNetV2)
    _load(network, results, order, mapped.label_space.class_count)
    dataset = str(results.plans.get("dataset_name", results.folder.name))
    stated = results.dataset.get("licence") or results.dataset.get("license")
    for line in notes:
        reporter.warning(Problem.parsed(line, Code.MODEL_NOTE))
    return write_bundle(
        target, network, NETWORK, arguments, mapped.label_space, plan.preprocessing, name=name, version="1.0.0",
        licences={"code": "Apache-2.0", "weights": licence or UNKNOWN,
                  "data": str(stated) if stated else UNKNOWN},
        training_data=[{"name": dataset, "cases": results.dataset.get("numTraining"), "fold": results.fold,
                        "trainer": results.trainer, "configuration": results.configuration,
                        "checkpoint_sha256": sha256(results.checkpoint)}],
        metrics={},
        description=f"nnU-Net v2 model of {dataset}, {results.configuration}, fold {results.fold}, imported.",
        card=_card(name, dataset, results, mapped, notes, licence), nnunet=plan.nnunet)


def free_folder(name: str, replace: bool) -> Path:
    """Where a model `name` is installed. Raises UserError for a name that is taken, unless by a model to `replace`."""
    target = user_models() / name
    if (resource("models") / name).exists():
        raise UserError(code=Code.NAME_TAKEN, subject=f"model name '{name}'",
                        expected="another name than a shipped model's", hint="choose one with --name")
    # Even when asked to, no folder is replaced that is not a model: it may be a user's own.
    if target.exists() and not (replace and (target / METADATA).is_file()):
        raise UserError(code=Code.MODEL_INSTALLED, found=f"model '{name}' is already installed in {target}",
                        hint="ask to replace it, or choose another name")
    return target


def _mapped(results: Results, label_map: str | Path | None) -> Mapped:
    labels = model_labels(results)
    if label_map is not None:
        return map_labels(labels, read_label_map(label_map), Path(label_map).stem)
    # Names of organs are words of a command line and keys of files, so blanks and signs become underscores.
    names = [re.sub(r"\W+", "_", name).strip("_") for name in sorted(labels, key=lambda label: labels[label])]
    return Mapped(label_space_of_names("imported", names), list(range(len(names) + 1)), [])


def _name(results: Results) -> str:
    name = f"{results.plans.get('dataset_name', results.folder.name)}-{results.configuration}"
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._")[:LONGEST_NAME]


def _warnings(results: Results, orientation: str, chosen: str | None, other_folds: bool) -> list[str]:
    """What may make the imported model segment worse than nnU-Net does; `other_folds`: that others were left out."""
    warnings = []
    if other_folds:
        warnings.append(f"fold {results.fold} is taken of {len(results.other_folds) + 1} (others: "
                        f"{', '.join(results.other_folds)}); nnU-Net averages all, which takes as many times as long: "
                        "--fold each")
    if orientation == "stored" and chosen is None:
        warnings.append("nnU-Net read this model's files as they are stored, without turning them: CTs must be stored "
                        "as the training files were. If those were all listed as RAS or LPS, say so with --orientation")
    return warnings


def _order(targets: list[int], classes: int) -> tuple[list[int], list[int]]:
    """The network's argument `more`, and the model's labels in the order of our network's outputs: one for each class,
    then those of `more`, which count as a class that has one already."""
    first = [targets.index(index) for index in range(classes)]
    further = [value for value in range(len(targets)) if value not in first]
    return [targets[value] for value in further], first + further


def _load(network: NNUNetV2, results: Results, order: list[int], classes: int) -> None:
    """Puts the checkpoint's weights into the network, its prediction layers' rows sorted and split."""
    weights: dict[str, torch.Tensor] = {}
    expected = network.own_axes.state_dict()
    # A 2D network lies within one that takes volumes slice by slice.
    prefix = "network." if any(key.startswith("network.") for key in expected) else ""
    for key, value in results.weights.items():
        if not key.startswith(HEADS):
            weights[prefix + key] = value
            continue
        if len(value) != len(order):
            raise UserError(code=Code.MODEL_UNFIT, subject=f"{results.checkpoint}: {key}",
                            expected=f"{len(order)} classes as in dataset.json", found=len(value))
        if prefix + key in expected:  # nnU-Net's coarsest prediction is not used
            value = value.index_select(0, torch.tensor(order))
            weights[prefix + key] = value[:classes]
            if len(order) > classes:
                weights[prefix + key.replace("seg_layers", "more_layers")] = value[classes:]
    try:
        network.own_axes.load_state_dict(weights)
    except RuntimeError as error:
        detail = " ".join(str(error).split())[:300]
        raise UserError(code=Code.MODEL_UNFIT, subject=results.checkpoint,
                        expected=f"the weights of the network in plans.json (trainer {results.trainer})",
                        found=detail) from None


def _card(name: str, dataset: str, results: Results, mapped: Mapped, notes: list[str], licence: str | None) -> str:
    cases = results.dataset.get("numTraining", "an unknown number of")
    lines = [f"# {name}", "", "Research only. Not for clinical use.", "",
             f"Trained with nnU-Net version 2 on {dataset} ({cases} cases), configuration "
             f"{results.configuration}, trainer {results.trainer}, fold {results.fold}; imported "
             "with the labels mapped as below. nnU-Net: Isensee et al., Nature Methods 2021.", "",
             f"Licence of the weights: {licence or UNKNOWN}.", "", "| label of the model | organ |", "|---|---|"]
    labels = model_labels(results)
    for label, value in labels.items():
        index = mapped.targets[value]
        lines.append(f"| {label} | {mapped.label_space.names[index - 1] if index else '-'} |")
    return "\n".join([*lines, "", *(f"- {line}" for line in notes)]).rstrip() + "\n"
