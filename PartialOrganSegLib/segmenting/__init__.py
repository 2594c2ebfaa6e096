"""From a CT and a model bundle to organs on the CT's own grid, with checks a person can read."""
