"""Where the files that ship with the project are: models, recipes, strokes, terminology."""

from pathlib import Path

RESOURCES = Path(__file__).resolve().parent.parent / "Resources"


def resource(*parts: str) -> Path:
    """Path of a shipped file, e.g. `resource("recipes", "embedded.yaml")`."""
    return RESOURCES.joinpath(*parts)
