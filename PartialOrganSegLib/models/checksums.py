"""SHA-256 of every file of a bundle, kept in configs/checksums.json and compared before the bundle is used."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path, PurePosixPath

from ..atomic import whole_file
from ..errors import Code, UserError, kind_of
from ..json_file import read_json

MANIFEST = "configs/checksums.json"
# What a bundle may hold: weights without code, settings and texts. Pickles (.pt, .pth, .pkl, .ckpt) can run code.
ALLOWED_SUFFIXES = frozenset({".safetensors", ".json", ".yaml", ".yml", ".md", ".txt", ".png"})


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    digest = hashlib.sha256()
    with open(path, "rb") as handle:
        while chunk := handle.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def check_suffix(name: str, source: str) -> None:
    """Raises UserError when a bundle's file is of a kind that no bundle needs."""
    path = PurePosixPath(name)
    if path.suffix.lower() not in ALLOWED_SUFFIXES and path.name != "LICENSE":
        raise UserError(code=Code.UNSAFE_FILE, subject=f"{source}: '{name}' is refused",
                        expected=f"only {', '.join(sorted(ALLOWED_SUFFIXES))} files (pickled models can run code)")


def bundle_files(folder: Path) -> list[str]:
    """Every file of a bundle but the manifest, relative with forward slashes; hidden files are the system's."""
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    return sorted(n for n in names if n != MANIFEST and not any(p.startswith(".") for p in PurePosixPath(n).parts))


def write_checksums(folder: Path) -> None:
    """Writes the manifest of all files in `folder`."""
    sums = {name: sha256(folder / name) for name in bundle_files(folder)}
    with whole_file(folder / MANIFEST) as temporary:
        temporary.write_text(json.dumps(sums, indent=1) + "\n", encoding="utf-8")


def verify_bundle(folder: Path | str) -> None:
    """Raises UserError naming the first file that is missing, unlisted, refused or has another SHA-256."""
    folder = Path(folder)
    manifest = folder / MANIFEST
    try:
        expected = read_json(manifest, "the bundle's SHA-256 list", Code.BUNDLE_BROKEN)
    except FileNotFoundError:
        raise UserError(code=Code.BUNDLE_BROKEN, subject=manifest, expected="the bundle's SHA-256 list",
                        found="no such file") from None
    if not isinstance(expected, dict):
        raise UserError(code=Code.BUNDLE_BROKEN, subject=manifest, expected="file names and their SHA-256",
                        found=kind_of(expected))
    # A file that is not listed could have been added by anybody, so it is as wrong as one that was changed.
    names = bundle_files(folder)
    for name in names:
        check_suffix(name, str(folder))
        if name not in expected:
            raise UserError(code=Code.BUNDLE_BROKEN, subject=folder / name, expected=f"only files listed in {MANIFEST}",
                            found="this one beside them")
    for name, digest in expected.items():
        if name not in names:
            raise UserError(code=Code.BUNDLE_BROKEN, subject=folder / name, expected=f"by {MANIFEST}",
                            found="no such file")
        actual = sha256(folder / name)
        if actual != digest:
            raise UserError(code=Code.CHECKSUM_DIFFERS, subject=f"{folder / name}: wrong checksum",
                            expected=f"SHA-256 {digest}", found=actual)
