"""Section Review: check, correct and accept organs."""
