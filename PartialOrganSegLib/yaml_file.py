"""YAML files that users write (recipes, manifests): read with one clear line when they cannot be."""

from __future__ import annotations

from pathlib import Path

import yaml

from .errors import UserError


def read_yaml(path: Path, noun: str) -> object:
    """The file's content. Raises UserError naming the file and, as `noun`, what was expected there."""
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: {noun} expected, none found") from None
    except OSError as error:
        raise UserError(f"{path}: expected a {noun} file, found {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: expected YAML, found {' '.join(str(error).split())}") from None
