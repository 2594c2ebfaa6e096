"""The figures of the concepts are what their scripts draw today."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from Testing.helpers.pages import DOCS
from Testing.helpers.repository import import_script

SCRIPTS = ("draw_candidate_sets", "draw_losses", "draw_checks")


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_figure_is_what_the_script_draws(name: str) -> None:
    script = import_script(name)
    with Image.open(script.PICTURE) as shipped:
        expected = np.asarray(shipped.convert("RGB"), np.float32)
    drawn = np.asarray(script.draw(), np.float32)
    assert drawn.shape == expected.shape
    # Another release of the font or of PyTorch may change a few pixels.
    assert np.abs(drawn - expected).mean() < 2


def test_every_figure_has_a_script() -> None:
    drawn = {import_script(name).PICTURE for name in SCRIPTS}
    assert drawn == set((DOCS / "figures").glob("*.png"))
