"""Transformations h: old space → new space, and how the best one is selected."""
