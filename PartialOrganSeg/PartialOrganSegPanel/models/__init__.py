"""Section Models: what is installed, installing and removing."""
