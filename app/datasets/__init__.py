"""Datasets: rows to learn or evaluate from, with vectors of several models, side-information, labels, raw input."""
