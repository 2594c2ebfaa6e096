"""`partialorganseg models`: lists, describes and verifies models, and installs, imports, joins or exports them."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import Code, Problem, UserError, one_line
from ..events import Reporter
from .options import add_common_options

if TYPE_CHECKING:
    from ..models.bundle import Bundle

HELP = "List, describe, verify, install, import, join or export models."
EXAMPLE = "partialorganseg models list\n  partialorganseg models info embedded\n  partialorganseg models verify\n" \
          "  partialorganseg models install my-model.zip\n" \
          "  partialorganseg models import nnunet RESULTS_FOLDER --map total_to_word.yaml\n" \
          "  partialorganseg models join embedded our-own --name embedded-and-ours\n" \
          "  partialorganseg models export embedded --onnx embedded.onnx"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="list|info|verify|install|import|join|export")
    actions.add_parser("list", help="list the installed models and those that can be downloaded",
                       epilog="example: partialorganseg models list")
    info = actions.add_parser("info", help="describe a model: organs, network, licences and its model card",
                              epilog="example: partialorganseg models info embedded")
    info.add_argument("name", help="an installed model's name or a bundle's folder")
    verify = actions.add_parser("verify", help="compare every file with its SHA-256",
                                epilog="example: partialorganseg models verify embedded")
    verify.add_argument("name", nargs="?", help="an installed model's name or a bundle's folder (default: all)")
    install = actions.add_parser("install", help="install a bundle: a folder, a zip file, a URL or a listed download",
                                 epilog="example: partialorganseg models install my-model.zip")
    install.add_argument("source", help="folder, zip file, http(s) URL of a zip, or the name of a listed download")
    install.add_argument("--sha256", help="the SHA-256 that the zip file must have")
    install.add_argument("--replace", action="store_true", help="replace an installed model of the same name")
    importing = actions.add_parser(
        "import", help="make a bundle from a model that nnU-Net version 2 trained",
        epilog="example: partialorganseg models import nnunet "
               "Dataset291/nnUNetTrainer__nnUNetPlans__3d_fullres --map total_to_word.yaml")
    importing.add_argument("kind", choices=["nnunet"], help="the program that trained the model")
    importing.add_argument("folder", type=Path, help="its results folder, with plans.json, dataset.json and fold_X")
    importing.add_argument("--map", metavar="NAME|FILE", help="a shipped or written map from its "
                           "labels to ours (default: the model's labels as they are)")
    importing.add_argument("--fold", metavar="N|each|all",
                           help="which of several folds: a number, several as 0,1,2, or each, which are averaged; all "
                                "is the one trained on all cases (default: all, else the lowest)")
    importing.add_argument("--orientation", choices=["stored", "RAS", "LPS"],
                           help="the orientation of the arrays it was trained on (default: as the plans say)")
    importing.add_argument("--name", help="the name to install the model under")
    importing.add_argument("--licence", help="the licence of the weights, stored with them")
    importing.add_argument("--replace", action="store_true", help="replace an installed model of the same name")
    joining = actions.add_parser(
        "join", help="join several models into one: each keeps its weights and decides on its organs",
        epilog="example: partialorganseg models join embedded our-own --name embedded-and-ours")
    joining.add_argument("models", nargs="+", metavar="MODEL",
                         help="installed models' names or bundles' folders; the first with an organ decides on it")
    joining.add_argument("--organs", action="append", default=[], metavar="MODEL=A,B",
                         help="the organs that a model decides on instead, and no others (may be repeated)")
    joining.add_argument("--name", help="the name to install the model under (default: the names joined by hyphens)")
    joining.add_argument("--replace", action="store_true", help="replace an installed model of the same name")
    exporting = actions.add_parser(
        "export", help="write a model's networks as ONNX files, for other viewers and runtimes",
        epilog="example: partialorganseg models export embedded --onnx embedded.onnx")
    exporting.add_argument("name", help="an installed model's name or a bundle's folder")
    exporting.add_argument("--onnx", type=Path, required=True, metavar="FILE",
                           help="the file; of a model of several networks, each is written to NAME.MEMBER.onnx")
    exporting.add_argument("--overwrite", action="store_true", help="replace files of an earlier export")
    for action in actions.choices.values():
        add_common_options(action)


def run(arguments: argparse.Namespace, reporter: Reporter) -> int:
    """Runs one of the actions; `verify` returns 1 if a model is damaged."""
    action = {"list": _list, "info": _info, "verify": _verify, "install": _install, "import": _import,
              "join": _join, "export": _export}
    return action[arguments.action](arguments, reporter)


def _list(arguments: argparse.Namespace, reporter: Reporter) -> int:
    """Prints the installed models, and the listed downloads that are not among them."""
    from ..models.downloads import downloads
    from ..models.store import list_models

    bundles = list_models(reporter.warning)
    for bundle in bundles:
        reporter.result(name=bundle.name, version=bundle.metadata.version, organs=bundle.label_space.names,
                        folder=bundle.folder)
        print(one_line(f"{bundle.name:<20} {bundle.metadata.version:<10} {len(bundle.label_space.organs):>3} organs  "
                       f"{bundle.folder}"))
    if not bundles:
        reporter.warning(Problem(Code.NO_MODEL, found="no model is installed",
                                 hint="see: partialorganseg models install --help"))
    installed = {bundle.name for bundle in bundles}
    # Below the installed ones, with all that a user must know before a download: where from, and under which terms.
    for download in downloads().values():
        if download.name not in installed:
            reporter.result(download=download.name, **download.model_dump(exclude={"name"}))
            print(f"{download.name:<20} not installed: {download.title}\n{'':<20} "
                  f"partialorganseg models install {download.name}\n{'':<20} {download.url}\n{'':<20} "
                  f"{download.megabytes} MB, licence: {download.licence}\n{'':<20} "
                  f"SHA-256: {download.sha256 or 'not known'}")
    return 0


def _info(arguments: argparse.Namespace, reporter: Reporter) -> int:
    from ..models.store import find_model

    bundle = find_model(arguments.name)
    details = bundle.metadata.partialorganseg
    facts = {
        "name": bundle.name, "version": bundle.metadata.version, "description": bundle.metadata.description,
        "folder": bundle.folder, "organs": ", ".join(bundle.label_space.names), **_networks(bundle),
        "licence of the code": details.licences.code, "licence of the weights": details.licences.weights,
        "licence of the data": details.licences.data,
    }
    reporter.result(**facts, metrics=details.metrics, training_data=details.training_data)
    print("\n".join(one_line(f"{key:<24}{value}") for key, value in facts.items()))
    card = bundle.folder / "README.md"
    if card.is_file():
        print(one_line(f"{'model card':<24}{card}"))
    return 0


def _networks(bundle: Bundle) -> dict[str, str]:
    """A model's network and its spacing, or those of each member of a joined model."""
    if not bundle.members:
        spacing = " x ".join(f"{mm:g}" for mm in bundle.preprocessing.spacing_zyx)
        network = bundle.network_name
        if bundle.folds:
            network = f"{network}, an ensemble of {len(bundle.folds)}"
        return {"network": network, "spacing": f"{spacing} mm (z, y, x)"}
    facts = {}
    for member in bundle.members:
        network = ", ".join(_networks(member.bundle).values())
        facts[f"member {member.bundle.name}"] = f"{network}: {', '.join(member.organs)}"
    return facts


def _verify(arguments: argparse.Namespace, reporter: Reporter) -> int:
    from ..models.bundle import load_bundle
    from ..models.folders import find_folder, model_folders

    folders = model_folders()
    if arguments.name:
        folders = {arguments.name: find_folder(arguments.name)}
    if not folders:
        raise UserError(code=Code.NO_MODEL, subject="models verify", expected="at least one installed model",
                        found="none")
    damaged = 0
    for name, folder in folders.items():
        try:
            load_bundle(folder)  # with its checksums, and all that is said in its metadata
        except UserError as error:
            damaged += 1
            reporter.error(error.problem)
            continue
        reporter.result(name=name, verified=True, folder=folder)
        print(one_line(f"{name:<20} ok  {folder}"))
    return int(damaged > 0)


def _install(arguments: argparse.Namespace, reporter: Reporter) -> int:
    from ..models.downloads import downloads, fetch
    from ..models.store import install_model

    download = downloads().get(arguments.source)
    # A file or folder of that name goes before a listed download, so that no path changes its meaning.
    if download is not None and not os.path.exists(arguments.source):
        if arguments.sha256 is not None:
            download = download.model_copy(update={"sha256": arguments.sha256.strip().lower()})
        bundle = fetch(download, arguments.replace, reporter)
    else:
        source: str | Path = Path(arguments.source)
        if "://" in arguments.source:  # a path would lose one of the slashes
            source = arguments.source
        bundle = install_model(source, checksum=arguments.sha256, replace=arguments.replace)
    return _installed(bundle, reporter)


def _import(arguments: argparse.Namespace, reporter: Reporter) -> int:
    from ..models.nnunet_import import import_nnunet

    return _installed(import_nnunet(
        arguments.folder, arguments.map, arguments.fold, arguments.orientation, arguments.name, arguments.licence,
        arguments.replace, reporter), reporter)


def _join(arguments: argparse.Namespace, reporter: Reporter) -> int:
    from ..models.bundle import load_bundle
    from ..models.folders import LONGEST_NAME
    from ..models.joined import divided, without_owner
    from ..models.store import install_joined

    bundles = [load_bundle(model) for model in arguments.models]
    chosen: dict[str, list[str]] = {}
    for text in arguments.organs:
        model, names = _division(text)
        chosen.setdefault(model, []).extend(names)
    organs = divided(bundles, chosen)
    name = arguments.name or "-".join(bundle.name for bundle in bundles)[:LONGEST_NAME]
    lost = without_owner(bundles, organs)
    if lost:
        reporter.warning(Problem(Code.MODEL_NOTE, f"model {name}", hint="name them in --organs to keep them",
                                 found=f"none of the models decides on {', '.join(lost)}: it will not have them"))
    return _installed(install_joined(bundles, organs, name, arguments.replace), reporter)


def _division(text: str) -> tuple[str, list[str]]:
    """Model and organs of one `--organs`. Raises UserError for text of another form."""
    model, separator, names = text.partition("=")
    organs = [name.strip() for name in names.split(",") if name.strip()]
    if not separator or not organs:
        raise UserError(code=Code.VALUE_UNFIT, subject="--organs", expected="MODEL=organ,organ", found=f"'{text}'")
    return model.strip(), organs


def _export(arguments: argparse.Namespace, reporter: Reporter) -> int:
    from ..models.onnx_export import export_onnx, onnx_files
    from ..models.store import find_model
    from ..outputs import refuse_existing, writable_folder

    bundle = find_model(arguments.name)
    # Exporting takes a while: what is in the way shows before.
    refuse_existing(onnx_files(bundle, arguments.onnx), arguments.overwrite)
    writable_folder(arguments.onnx.parent)
    for path in export_onnx(bundle, arguments.onnx):
        reporter.result(name=bundle.name, onnx=path)
        print(one_line(f"wrote {path}"))
    return 0


def _installed(bundle: Bundle, reporter: Reporter) -> int:
    """Reports a model that was just installed."""
    reporter.result(name=bundle.name, version=bundle.metadata.version, folder=bundle.folder,
                    organs=bundle.label_space.names)
    print(one_line(f"installed {bundle.name} {bundle.metadata.version} in {bundle.folder}"))
    return 0
