"""The installed models: list, find, install from a folder, a zip or a URL."""

from __future__ import annotations

import contextlib
import shutil
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from ..atomic import put_in_place
from ..errors import Code, Problem, UserError
from ..resources import resource
from ..scratch import replace_folder, scratch_folder
from .bundle import MEMBERS, METADATA, Bundle, load_bundle
from .checksums import bundle_files, check_suffix, sha256
from .folders import INSTALLING, NNUNET_HINT, find_folder, free_folder, model_folders, user_models
from .http_file import fetch_file
from .joined import join_bundles
from .zip_entries import entries_of, inner_path, unpack

_EXPECTED = "a readable zip of a model bundle"


def list_models(on_broken: Callable[[Problem], None] = lambda problem: None) -> list[Bundle]:
    """Every installed model with valid metadata, called as it is found; checksums are left to `verify_bundle`.

    `on_broken` gets what is wrong with each other one.
    """
    bundles = []
    for name, folder in model_folders().items():
        try:
            # Somebody may have copied or renamed the folder.
            bundles.append(replace(load_bundle(folder, verify=False), name=name))
        except UserError as error:
            on_broken(error.problem)
    return bundles


def find_model(name: str | Path) -> Bundle:
    """The verified model called `name`, or in the folder `name`. Raises UserError with the nearest name."""
    return load_bundle(find_folder(name))


def install_model(source: str | Path, checksum: str | None = None, replace: bool = False) -> Bundle:
    """Installs a bundle from a folder, a zip or an http(s) URL of a zip into the user's model folder.

    `checksum` is the SHA-256 the zip must have. Nothing is installed unless every file has its listed SHA-256.
    Raises UserError for anything unsafe or wrong, and for a name that is taken unless `replace`.
    """
    root = user_models()
    try:
        root.mkdir(parents=True, exist_ok=True)
        # On the same file system as its place, where a rename is all or nothing.
        with scratch_folder(root, INSTALLING) as scratch:
            with _local(source, scratch) as local:
                if checksum is not None:
                    _check_sum(local, checksum, str(source))
                _unpack(local, scratch / "new", str(source))
            return _put_in_place(scratch, root, replace, str(source))
    except OSError as error:
        raise UserError(code=Code.NOT_WRITABLE, subject=source,
                        found=f"could not be installed in {root}: {error.strerror or error}") from None


def install_joined(bundles: Sequence[Bundle], organs: Sequence[Sequence[str]], name: str,
                   replace: bool = False) -> Bundle:
    """Joins bundles (see `joined.join_bundles`) into a model installed in the user's model folder.

    Raises UserError for what cannot be joined, and for a name that is taken unless `replace`.
    """
    return install_made(lambda folder: join_bundles(folder, bundles, name, organs=organs), name, replace)


def install_made(write: Callable[[Path], object], name: str, replace: bool = False) -> Bundle:
    """Installs the bundle that `write` puts into the new folder that it is given; what fails leaves nothing behind.

    Raises UserError where the folder of models cannot be written, and for a name that is taken unless `replace`, were
    it by another process meanwhile.
    """
    root = free_folder(name, replace).parent
    try:
        root.mkdir(parents=True, exist_ok=True)
        with scratch_folder(root, INSTALLING) as scratch:
            write(scratch / "new")
            return _put_in_place(scratch, root, replace, name)
    except OSError as error:
        raise UserError(code=Code.NOT_WRITABLE, subject=f"model {name}",
                        found=f"could not be installed in {root}: {error.strerror or error}") from None


def _put_in_place(scratch: Path, root: Path, replace: bool, source: str) -> Bundle:
    # Read and verified where nobody uses it yet.
    name = load_bundle(scratch / "new").name
    if (resource("models") / name).exists():
        raise UserError(code=Code.NAME_TAKEN, subject=source, found=f"model name '{name}' is that of a shipped model",
                        hint="expected another name")
    if replace:
        if (root / name).exists() and not (root / name / METADATA).is_file():
            raise UserError(code=Code.FILE_EXISTS, subject=root / name, expected="a model to replace",
                            found="other files")
        replace_folder(scratch / "new", root / name, scratch)
        return load_bundle(root / name)
    try:
        put_in_place(scratch / "new", root / name)  # fails where another process was quicker
    except OSError:
        if not (root / name).exists():
            raise
        raise UserError(code=Code.MODEL_INSTALLED, subject=source,
                        found=f"model '{name}' is already installed in {root / name}",
                        hint="ask to replace it") from None
    return load_bundle(root / name)


@contextlib.contextmanager
def _local(source: str | Path, scratch: Path) -> Iterator[Path]:
    """`source` as a path; a URL is downloaded first."""
    if "://" not in str(source):
        yield Path(source)
        return
    target = scratch / "download.zip"
    fetch_file(str(source), target)
    yield target


def _check_sum(path: Path, expected: str, source: str) -> None:
    checksum = sha256(path) if path.is_file() else "no file"
    if checksum.lower() != expected.strip().lower():
        raise UserError(code=Code.CHECKSUM_DIFFERS, subject=f"{source}: wrong checksum", expected=f"SHA-256 {expected}",
                        found=checksum)


def _unpack(local: Path, target: Path, source: str) -> None:
    """Brings the bundle in `local` (folder or zip) into the new folder `target`."""
    if local.is_dir():
        find_folder(local)
        for name in [*bundle_files(local), "configs/checksums.json"]:
            check_suffix(name, source)
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            if not (local / name).is_file():
                raise UserError(code=Code.BUNDLE_BROKEN, subject=local / name, expected="in a model bundle",
                                found="no such file")
            shutil.copyfile(local / name, target / name)
    elif local.is_file() and zipfile.is_zipfile(local):
        _unzip(local, target, source)
    else:
        raise UserError(code=Code.WRONG_FORMAT, subject=source, expected="a model bundle's folder, zip or URL",
                        found="another kind of file" if local.exists() else "no such file")


def _unzip(archive: Path, target: Path, source: str) -> None:
    """Extracts the bundle's own files only; no entry may point outside of `target`, be a link or be oversized."""
    entries = {entry: inner_path(entry, source) for entry in entries_of(archive, source, _EXPECTED)}
    roots = []
    for path in entries.values():
        if path.parts[-2:] == PurePosixPath(METADATA).parts:
            roots.append(path.parent.parent)
    # The members of a joined model are bundles themselves: the one that they lie in counts.
    outer = [root for root in roots if not _is_member(root, roots)]
    if len(outer) != 1:
        of_nnunet = any(path.name == "plans.json" for path in entries.values())
        raise UserError(code=Code.BUNDLE_BROKEN, subject=source, expected=f"one {METADATA} in the zip",
                        found=len(outer), hint=NNUNET_HINT if of_nnunet else "")
    root = outer[0]
    places = {}
    for entry, path in entries.items():
        if not path.is_relative_to(root) or path.name.startswith(".") or "__MACOSX" in path.parts:
            continue
        check_suffix(entry.filename, source)
        places[entry] = target / path.relative_to(root)
    unpack(archive, places, source, _EXPECTED)


def _is_member(root: PurePosixPath, roots: Sequence[PurePosixPath]) -> bool:
    """Whether a bundle in a zip is a member of another one of the `roots`."""
    return any(root.is_relative_to(bundle / MEMBERS) for bundle in roots)
