"""Section Work list: CTs to go through, one after the other."""
