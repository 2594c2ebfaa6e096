"""Section Segment."""
