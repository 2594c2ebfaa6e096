"""YAML files that users write (recipes, manifests): read with one clear line when they cannot be."""

from __future__ import annotations

from pathlib import Path

import yaml

from .errors import Code, UserError


def read_yaml(path: Path, noun: str) -> object:
    """The file's content. Raises UserError naming the file and, as `noun`, what was expected there."""
    try:
        # Never `yaml.load`, which can run code that a file from elsewhere holds.
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(code=Code.FILE_MISSING, subject=path, found=f"{noun} expected, none found") from None
    except OSError as error:
        raise UserError(code=Code.NOT_READABLE, subject=path, expected=f"a {noun} file", found=error.strerror) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(code=Code.WRONG_FORMAT, subject=path, expected="YAML",
                        found=" ".join(str(error).split())) from None
