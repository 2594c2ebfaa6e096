"""Section Fine-tune: learn from what was accepted and drawn."""
