"""Evaluations carried out: rows are read, spaces crossed, searches measured, and the figures put into a result."""
