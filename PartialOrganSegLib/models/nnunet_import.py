"""Makes a bundle of a model that nnU-Net v2 trained: same network, same preprocessing, labels mapped to organs."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from ..errors import Code, Problem, UserError
from ..events import Reporter
from ..networks import build_network
from ..networks.nnunet_v2 import NNUNetV2
from ..organs import label_space_of_names
from ..scratch import scratch_folder
from .bundle import Bundle
from .bundle_writing import write_bundle
from .checksums import sha256
from .ensemble import write_ensemble
from .folders import LONGEST_NAME, free_folder
from .label_map import Mapped, map_labels, read_label_map
from .metadata import Orientation
from .nnunet_folder import Results, named_folds, read_results
from .nnunet_plans import model_labels, planned
from .store import install_made

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
    results = read_results(folder, folds[0])
    name = name or _name(results)
    # Before a network is built and filled: a name that is taken costs no work.
    free_folder(name, replace)
    single = len(folds) == 1
    first = _converted(results, name if single else _fold_name(name, folds[0]), label_map, orientation, licence,
                       reporter, single and bool(results.other_folds))
    if single:
        return install_made(first, name, replace)

    def write_each(target: Path) -> Bundle:
        # Beside the model's folder, as large as it is.
        with scratch_folder(target.parent, ".folds-") as scratch:
            bundles = [first(scratch / folds[0])]
            for other in folds[1:]:
                # What is said of the labels is the same of every fold.
                write = _converted(read_results(folder, other), _fold_name(name, other), label_map, orientation,
                                   licence, Reporter(), False)
                bundles.append(write(scratch / other))
            about = bundles[0].metadata.description
            return write_ensemble(target, bundles, name, description=f"{about} Folds {', '.join(folds)}.")

    reporter.warning(Problem(Code.SETTING_SLOW, f"model {name}", hint="import one with --fold",
                             found=f"{len(folds)} folds are averaged, which takes {len(folds)} times as long"))
    return install_made(write_each, name, replace)


def _fold_name(name: str, fold: str) -> str:
    return f"{name[:LONGEST_NAME - 9]}-fold{fold}"


def _converted(results: Results, name: str, label_map: str | Path | None, orientation: Orientation | None,
               licence: str | None, reporter: Reporter, other_folds: bool) -> Callable[[Path], Bundle]:
    """What writes the bundle of one fold into a folder; `other_folds`: whether to say that there are more."""
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
    return partial(
        write_bundle, network=network, network_name=NETWORK, network_arguments=arguments,
        label_space=mapped.label_space, preprocessing=plan.preprocessing, name=name, version="1.0.0",
        licences={"code": "Apache-2.0", "weights": licence or UNKNOWN,
                  "data": str(stated) if stated else UNKNOWN},
        training_data=[{"name": dataset, "cases": results.dataset.get("numTraining"), "fold": results.fold,
                        "trainer": results.trainer, "configuration": results.configuration,
                        "checkpoint_sha256": sha256(results.checkpoint)}],
        metrics={},
        description=f"nnU-Net v2 model of {dataset}, {results.configuration}, fold {results.fold}, imported.",
        card=_card(name, dataset, results, mapped, notes, licence), nnunet=plan.nnunet)


def _mapped(results: Results, label_map: str | Path | None) -> Mapped:
    labels = model_labels(results)
    if label_map is not None:
        content = read_label_map(label_map)
        try:
            return map_labels(labels, content, Path(label_map).stem)
        except UserError as error:
            raise error.within(label_map) from None
    # Names of organs are words of a command line and keys of files, so blanks and signs become underscores.
    names = [re.sub(r"\W+", "_", name).strip("_") for name in sorted(labels, key=lambda label: labels[label])]
    try:
        space = label_space_of_names("imported", names)
    except UserError as error:
        problem = error.problem.within(results.folder / "dataset.json")
        raise UserError(replace(problem, hint="give them other names with --map")) from None
    return Mapped(space, list(range(len(names) + 1)), [])


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
    broken = [key for key, value in weights.items() if not torch.isfinite(value).all()]
    if broken:
        raise UserError(code=Code.MODEL_UNFIT, subject=results.checkpoint, expected="numbers as weights",
                        found=f"NaN or infinite ones in {broken[0]}")
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
