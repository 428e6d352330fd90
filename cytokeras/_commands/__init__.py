"""The commands, one a file: ``add`` describes its arguments; ``_run`` imports what it needs, then works."""
