"""Synthetic CTs and simulated strokes."""
