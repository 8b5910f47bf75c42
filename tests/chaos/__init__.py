"""Faults at random moments under concurrent load, and a checker of what the clients saw."""
