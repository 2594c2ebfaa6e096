"""`python -m PartialOrganSegLib` is the command `partialorganseg`."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
