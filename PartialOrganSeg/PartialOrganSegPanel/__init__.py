"""The panel of the Slicer module PartialOrganSeg: sections, their logic and the child process that does the work."""
