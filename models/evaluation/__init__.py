"""Evaluation of retrieval: metrics, confidence intervals, and comparisons of searches and of model versions."""
