"""The five papers' tables in small: data, rows, runs and reports of `scripts/reproduce.py`."""
