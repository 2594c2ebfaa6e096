"""Segmenting the way nnU-Net v2 does, for models imported from it."""
