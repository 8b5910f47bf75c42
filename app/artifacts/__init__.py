"""What upgrades leave on disk: where each file is, and what search and galleries read from it."""
