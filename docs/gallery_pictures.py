"""Shows in the gallery the picture (PIL) that a block of an example calls `picture`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PIL import Image
from sphinx_gallery.scrapers import figure_rst


def _get_sg_image_scraper() -> Callable[..., str]:
    # Sphinx-Gallery asks a module that conf.py names for a function of this name.
    return scrape


def scrape(block: Any, block_vars: dict[str, Any], gallery_conf: dict[str, Any]) -> str:
    """reStructuredText of the block's picture; empty where it made none."""
    variables = block_vars["example_globals"]
    picture = variables.pop("picture", None)
    if not isinstance(picture, Image.Image):
        return ""
    path = next(block_vars["image_path_iterator"])
    picture.save(path)
    return figure_rst([path], gallery_conf["src_dir"])
