"""Backups of a whole service, taken while it runs: its database, and the files of its data directory."""
