"""A segmented CT corrected by strokes, in seconds: what is drawn spreads to what looks alike around it."""
