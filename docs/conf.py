"""How the pages are built: `python -m sphinx -W --keep-going docs build/docs`. Nothing is fetched from anywhere."""

from __future__ import annotations

import re
from pathlib import Path

_FRONT_DOOR = Path(__file__).resolve().parent.parent / "PartialOrganSegLib" / "__init__.py"

project = "PartialOrganSeg"
author = "PartialOrganSeg maintainers"
project_copyright = "PartialOrganSeg maintainers, Apache-2.0"
# Read as text: building pages needs none of the library's packages.
release = version = re.findall(r'__version__ = "(.+)"', _FRONT_DOOR.read_text(encoding="utf-8"))[0]

extensions = ["myst_parser"]
root_doc = "index"
exclude_patterns = ["build"]
myst_heading_anchors = 4
myst_links_external_new_tab = False
nitpicky = True  # a reference to nothing is a warning, and -W makes it an error
suppress_warnings: list[str] = []

html_theme = "furo"
html_title = f"PartialOrganSeg {release}"
html_copy_source = False
html_show_sourcelink = False
# Furo's search is an index file beside the pages, so it works without a server and without internet.
html_theme_options = {"navigation_with_keys": True}
