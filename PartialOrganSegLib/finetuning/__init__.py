"""Fine-tuning: from a finished model and a few cases to a better model, in minutes and without forgetting."""

REPLAY_WORDS = PHANTOMS, NONE = "phantoms", "none"  # what may stand for a manifest of cases to replay
