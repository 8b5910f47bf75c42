"""The guard of spaces: whether vectors come from the model that they are said to come from."""
