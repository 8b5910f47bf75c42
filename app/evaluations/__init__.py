"""Evaluations: how well one model's queries search another's vectors, at any time, without an upgrade."""
