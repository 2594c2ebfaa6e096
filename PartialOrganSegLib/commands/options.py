"""Options that every command has."""

from __future__ import annotations

import argparse
import re

JSON_EVENTS = "--json-events"


def add_common_options(parser: argparse.ArgumentParser) -> None:
    """Adds --device and --json-events."""
    parser.add_argument("--device", type=_device, default="auto", metavar="auto|cpu|cuda[:N]|mps",
                        help="where networks run (default: auto)")
    parser.add_argument(JSON_EVENTS, action="store_true", help="print one JSON object a line on stdout, only that")


def _device(text: str) -> str:
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", text):
        raise argparse.ArgumentTypeError(f"expected auto, cpu, cuda, cuda:N or mps, found '{text}'")
    return text
