"""The token by which a server knows whom it may work for: in a file that only its owner can read."""

from __future__ import annotations

import hmac
import os
import secrets
import sys
from dataclasses import replace
from pathlib import Path

from ..errors import Code, UserError
from ..models.folders import user_models

LEAST_LENGTH, LONGEST = 20, 4096
_OF_OTHERS = 0o077


def default_token_file() -> Path:
    """Beside the user's models. Raises UserError where these have no folder."""
    try:
        return user_models().parent / "serve-token"
    except UserError as error:
        raise UserError(replace(error.problem, hint="--token-file names a file of its own")) from None


def make_token(path: Path) -> bool:
    """Makes a file with a new token where there is none; whether it did. Raises UserError."""
    if path.exists():
        return False
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # made with its rights: between making and changing them somebody could read it
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(secrets.token_urlsafe(32) + "\n")
    except OSError as error:
        raise UserError(code=Code.NOT_WRITABLE, subject=path, expected="a file for the token",
                        found=error.strerror or error) from None
    return True


def read_token(path: Path) -> str:
    """The token. Raises UserError for a file that others can read, and for a token that could be guessed."""
    try:
        status = path.stat()
        text = path.read_text(encoding="ascii")[:LONGEST].strip()
    except (OSError, ValueError) as error:
        raise UserError(code=Code.FILE_MISSING, subject=path, expected="a file that holds the server's token",
                        found=getattr(error, "strerror", None) or "something else") from None
    if sys.platform != "win32" and status.st_mode & _OF_OTHERS:
        raise UserError(code=Code.UNSAFE_FILE, subject=path, expected="a token that only its owner can read",
                        found=f"mode {status.st_mode & 0o777:o}", hint=f"chmod 600 {path}")
    if len(text) < LEAST_LENGTH or not text.isprintable() or " " in text:
        raise UserError(code=Code.VALUE_UNFIT, subject=path, expected=f"a token of {LEAST_LENGTH} letters or more",
                        found=f"{len(text)} letters")
    return text


def is_token(header: str | None, token: str) -> bool:
    """Whether an Authorization header holds the token; takes as long whatever it holds."""
    scheme, _, shown_token = (header or "").partition(" ")
    return scheme == "Bearer" and hmac.compare_digest(shown_token.encode("utf-8", "replace"), token.encode())
