"""How the pages are built: `python -m sphinx -W --keep-going docs build/docs`. Nothing is fetched from anywhere."""

from __future__ import annotations

import re
import sys
from pathlib import Path

_DOCS = Path(__file__).resolve().parent
_FRONT_DOOR = _DOCS.parent / "PartialOrganSegLib" / "__init__.py"
_EXAMPLES = _DOCS.parent / "examples"

project = "PartialOrganSeg"
author = "PartialOrganSeg maintainers"
project_copyright = "PartialOrganSeg maintainers, Apache-2.0"
# Read as text, so that all pages but the gallery's can be built without the library's packages.
release = version = re.findall(r'__version__ = "(.+)"', _FRONT_DOOR.read_text(encoding="utf-8"))[0]

extensions = ["myst_parser"]
if _EXAMPLES.is_dir():
    extensions.append("sphinx_gallery.gen_gallery")
    sys.path.insert(0, str(_DOCS))  # gallery_pictures
sphinx_gallery_conf = {
    "examples_dirs": [str(_EXAMPLES)],
    "gallery_dirs": ["gallery"],
    "filename_pattern": "plot_",
    "image_scrapers": ("matplotlib", "gallery_pictures"),
    "abort_on_example_error": True,
    "download_all_examples": False,
    "show_memory": False,
    "show_signature": False,
    "min_reported_time": 0,
    "write_computation_times": False,  # its page loads a table script from elsewhere
    "remove_config_comments": True,
    "within_subsection_order": "FileNameSortKey",
}
root_doc = "index"
exclude_patterns = ["build", "gallery/*.ipynb", "gallery/*.py"]
myst_heading_anchors = 4
myst_links_external_new_tab = False
nitpicky = True  # a reference to nothing is a warning, and -W makes it an error
# The project may lie in a folder whose name has blanks; no example's name has one.
suppress_warnings = ["sphinx_gallery.space_in_filename"]

html_theme = "furo"
html_title = f"PartialOrganSeg {release}"
html_static_path = ["static"]
html_css_files = ["pages.css"]
html_copy_source = False
html_show_sourcelink = False
# Furo's search is an index file beside the pages, so it works without a server and without internet.
html_theme_options = {"navigation_with_keys": True}
