"""Fine-tuning: from a finished model and a few cases to a better model, in minutes and without forgetting."""
