"""Segments abdominal organs of a CT and learns from whatever was annotated: full, partial, coarse, scribbled or not."""

__version__ = "0.1.0"
