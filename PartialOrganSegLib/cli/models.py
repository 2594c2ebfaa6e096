"""`partialorganseg models`: which models are here, what they are, whether they are whole, and new ones."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import Code, Problem, UserError
from ..events import Reporter
from .options import add_common_options

if TYPE_CHECKING:
    from ..models.bundle import Bundle

HELP = "List, describe, verify, install, import or join models."
EXAMPLE = "partialorganseg models list\n  partialorganseg models info embedded\n  partialorganseg models verify\n" \
          "  partialorganseg models install my-model.zip\n" \
          "  partialorganseg models import nnunet RESULTS_FOLDER --map total_to_word.yaml\n" \
          "  partialorganseg models join embedded our-own --name embedded-and-ours"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="list|info|verify|install|import|join")
    actions.add_parser("list", help="the installed models, and those to be had on request",
                       epilog="example: partialorganseg models list")
    info = actions.add_parser("info", help="one model's card: organs, data, licences, figures",
                              epilog="example: partialorganseg models info embedded")
    info.add_argument("name", help="an installed model's name or a bundle's folder")
    verify = actions.add_parser("verify", help="compare every file with its SHA-256",
                                epilog="example: partialorganseg models verify embedded")
    verify.add_argument("name", nargs="?", help="an installed model's name or a bundle's folder (default: all)")
    install = actions.add_parser("install", help="install a bundle from a folder, a zip or a URL, or a listed download",
                                 epilog="example: partialorganseg models install my-model.zip")
    install.add_argument("source", help="folder, zip file, http(s) URL of a zip, or the name of a listed download")
    install.add_argument("--sha256", help="the SHA-256 which the zip must have")
    install.add_argument("--replace", action="store_true", help="replace an installed model of the same name")
    importing = actions.add_parser(
        "import", help="make a bundle of a model that nnU-Net version 2 trained",
        epilog="example: partialorganseg models import nnunet "
               "Dataset291/nnUNetTrainer__nnUNetPlans__3d_fullres --map total_to_word.yaml")
    importing.add_argument("kind", choices=["nnunet"], help="what trained it")
    importing.add_argument("folder", type=Path, help="results folder: plans.json, dataset.json, fold_X")
    importing.add_argument("--map", help="label map, a file or the name of a shipped one (default: its own labels)")
    importing.add_argument("--fold", metavar="N|all", help="one of several folds (default: all, else the lowest)")
    importing.add_argument("--orientation", choices=["stored", "RAS", "LPS"],
                           help="how the voxels of all training files were listed (default: as the plans say)")
    importing.add_argument("--name", help="name to install it under")
    importing.add_argument("--licence", help="terms of the weights, kept with them")
    importing.add_argument("--replace", action="store_true", help="replace an installed model of the same name")
    joining = actions.add_parser(
        "join", help="make one model of several: each keeps its weights and has the say of its own organs",
        epilog="example: partialorganseg models join embedded our-own --name embedded-and-ours")
    joining.add_argument("models", nargs="+", metavar="MODEL",
                         help="installed models' names or bundles' folders; an organ that several know is the first's")
    joining.add_argument("--organs", action="append", default=[], metavar="MODEL=A,B",
                         help="the organs of which a model has the say, instead (may be given for several models)")
    joining.add_argument("--name", help="name to install it under (default: the names with a hyphen between)")
    joining.add_argument("--replace", action="store_true", help="replace an installed model of the same name")
    for action in actions.choices.values():
        add_common_options(action)


def run(arguments: argparse.Namespace, reporter: Reporter) -> int:
    """Runs one of the actions; `verify` returns 1 when a model is not whole."""
    action = {"list": _list, "info": _info, "verify": _verify, "install": _install, "import": _import,
              "join": _join}
    return action[arguments.action](arguments, reporter)


def _list(arguments: argparse.Namespace, reporter: Reporter) -> int:
    from ..models.downloads import downloads
    from ..models.store import list_models

    bundles = list_models()
    for bundle in bundles:
        reporter.result(name=bundle.name, version=bundle.metadata.version, organs=bundle.label_space.names,
                        folder=bundle.folder)
        print(f"{bundle.name:<20} {bundle.metadata.version:<10} {len(bundle.label_space.organs):>3} organs  "
              f"{bundle.folder}")
    if not bundles:
        reporter.warning(Problem(Code.NO_MODEL, found="no model is installed",
                                 hint="see: partialorganseg models install --help"))
    there = [bundle.name for bundle in bundles]
    for download in downloads().values():
        if download.name not in there:
            reporter.result(download=download.name, **download.model_dump(exclude={"name"}))
            print(f"{download.name:<20} not installed: {download.title}\n{'':<20} "
                  f"partialorganseg models install {download.name}\n{'':<20} {download.url}\n{'':<20} "
                  f"licence: {download.licence}\n{'':<20} SHA-256: {download.sha256 or 'not known'}")
    return 0


def _info(arguments: argparse.Namespace, reporter: Reporter) -> int:
    from ..models.store import find_model

    bundle = find_model(arguments.name)
    own = bundle.metadata.partialorganseg
    facts = {
        "name": bundle.name, "version": bundle.metadata.version, "description": bundle.metadata.description,
        "folder": bundle.folder, "organs": ", ".join(bundle.label_space.names), **_networks(bundle),
        "licence of the code": own.licences.code, "licence of the weights": own.licences.weights,
        "licence of the data": own.licences.data,
    }
    reporter.result(**facts, metrics=own.metrics, training_data=own.training_data)
    print("\n".join(f"{key:<24}{value}" for key, value in facts.items()))
    card = bundle.folder / "README.md"
    if card.is_file():
        print(f"{'model card':<24}{card}")
    return 0


def _networks(bundle: Bundle) -> dict[str, str]:
    """What a model's network is, or each of a joined model's."""
    if not bundle.members:
        spacing = " x ".join(f"{mm:g}" for mm in bundle.preprocessing.spacing_zyx)
        return {"network": bundle.network_name, "spacing": f"{spacing} mm (z, y, x)"}
    facts = {}
    for member in bundle.members:
        what = ", ".join([*_networks(member.bundle).values()])
        facts[f"member {member.bundle.name}"] = f"{what}: {', '.join(member.organs)}"
    return facts


def _verify(arguments: argparse.Namespace, reporter: Reporter) -> int:
    from ..models.checksums import verify_bundle
    from ..models.folders import find_folder, model_folders

    folders = {arguments.name: find_folder(arguments.name)} if arguments.name else model_folders()
    if not folders:
        raise UserError(code=Code.NO_MODEL, subject="models verify", expected="at least one installed model",
                        found="none")
    bad = 0
    for name, folder in folders.items():
        try:
            verify_bundle(folder)
        except UserError as error:
            bad += 1
            reporter.error(error.problem)
            continue
        reporter.result(name=name, verified=True, folder=folder)
        print(f"{name:<20} ok  {folder}")
    return 1 if bad else 0


def _install(arguments: argparse.Namespace, reporter: Reporter) -> int:
    from ..models.downloads import downloads, fetch
    from ..models.store import install_model

    download = downloads().get(arguments.source)
    if download is not None and not Path(arguments.source).exists():
        if arguments.sha256 is not None:
            download = download.model_copy(update={"sha256": arguments.sha256.strip().lower()})
        bundle = fetch(download, arguments.replace, reporter)
    else:
        source = arguments.source if "://" in arguments.source else Path(arguments.source)
        bundle = install_model(source, checksum=arguments.sha256, replace=arguments.replace)
    return _installed(bundle, reporter)


def _import(arguments: argparse.Namespace, reporter: Reporter) -> int:
    from ..models.nnunet_import import import_nnunet

    return _installed(import_nnunet(
        arguments.folder, arguments.map, arguments.fold, arguments.orientation, arguments.name, arguments.licence,
        arguments.replace, reporter), reporter)


def _join(arguments: argparse.Namespace, reporter: Reporter) -> int:
    from ..models.bundle import load_bundle
    from ..models.joined import divided
    from ..models.store import install_joined

    bundles = [load_bundle(model) for model in arguments.models]
    organs = divided(bundles, dict(_division(text) for text in arguments.organs))
    name = arguments.name or "-".join(bundle.name for bundle in bundles)
    return _installed(install_joined(bundles, organs, name, arguments.replace), reporter)


def _division(text: str) -> tuple[str, list[str]]:
    """Model and organs of one `--organs`. Raises UserError for text of another form."""
    model, separator, names = text.partition("=")
    organs = [name.strip() for name in names.split(",") if name.strip()]
    if not separator or not organs:
        raise UserError(code=Code.VALUE_UNFIT, subject="--organs", expected="MODEL=organ,organ", found=f"'{text}'")
    return model.strip(), organs


def _installed(bundle: Bundle, reporter: Reporter) -> int:
    reporter.result(name=bundle.name, version=bundle.metadata.version, folder=bundle.folder,
                    organs=bundle.label_space.names)
    print(f"installed {bundle.name} {bundle.metadata.version} in {bundle.folder}")
    return 0
