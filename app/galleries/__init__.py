"""Galleries: the items searched against, every vector stamped with the model that made it."""
