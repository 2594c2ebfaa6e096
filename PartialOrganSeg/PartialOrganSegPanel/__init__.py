"""The panel of the Slicer module PartialOrganSeg: sections, their logic and the child process that does the work.

    panel.py    makes the sections and calls them
    segment/, review/, scribble/, finetune/, models/    a section each; none imports another
    scene/      what lies in the scene: CTs, organs and their states, strokes
    shell/      what every section stands on: child process, installer, dialogs, progress, parameters, model list

Imports go down this list, never up.
"""
