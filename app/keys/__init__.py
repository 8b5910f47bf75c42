"""API keys: who may do what, in which galleries, and how often."""
