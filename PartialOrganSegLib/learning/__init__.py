"""From a folder of CTs and what was drawn on some of them to a checked model and one page: `partialorganseg learn`."""
