"""Segmenting for others: `serve` answers requests over HTTP or SSH, `segment --on` asks. Nothing is kept."""
