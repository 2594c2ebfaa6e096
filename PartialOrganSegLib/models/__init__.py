"""Model bundles: how a network is stored, checked, installed and found."""
