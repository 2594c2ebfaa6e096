"""The subcommands of `partialorganseg`, one file each. Light to import; `run` imports what it needs."""
