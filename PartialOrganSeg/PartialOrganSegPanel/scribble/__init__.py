"""Section Scribble: strokes in place of full masks."""
