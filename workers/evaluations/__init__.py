"""Evaluations carried out: rows read, spaces crossed, searches measured, and what is said of them."""
