"""What lies in the scene and its files: CTs, organs and their states, strokes, results. No widgets."""
