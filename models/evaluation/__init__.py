"""How good a search is: retrieval metrics, their intervals, and searches of one model's vectors by another's."""
