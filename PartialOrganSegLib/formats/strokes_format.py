"""The format of strokes and outlines that people drew: JSON, see `strokes`."""

from __future__ import annotations

from pathlib import Path

from .registry import register_format
from .strokes import FORMAT_NAME, Strokes, read_strokes, write_strokes


@register_format
class StrokeFile:
    """Strokes and outlines in patient coordinates, as JSON."""

    name = "strokes"
    suffixes = (".json",)

    def reads(self, path: Path) -> bool:
        """By what stands at its beginning: many things are JSON."""
        if path.suffix.lower() not in self.suffixes or not path.is_file():
            return False
        # A folder may hold large JSON files of other programs, so only the beginning is looked at.
        with open(path, encoding="utf-8", errors="replace") as stream:
            return FORMAT_NAME in stream.read(200)

    def read_strokes(self, path: Path) -> Strokes:
        """See `read_strokes`."""
        return read_strokes(path)

    def write_strokes(self, path: Path, strokes: Strokes) -> None:
        """See `write_strokes`."""
        write_strokes(path, strokes)
