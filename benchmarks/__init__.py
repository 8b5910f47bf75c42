"""Accuracy, speed and hostility: each module is a command that prints one table."""
